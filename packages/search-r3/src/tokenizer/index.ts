export { type ByteLevelBpeOptions, trainByteLevelBpe } from './byte-level-bpe.js';
export { CHATML_TEMPLATE, type ChatMessage } from './chat-template.js';
export {
  type ChatOptions,
  type DecodeOptions,
  type EncodeOptions,
  type LoadTokenizerOptions,
  Tokenizer,
} from './tokenizer.js';
export { trainWordLevel, type WordLevelOptions } from './word-level.js';
