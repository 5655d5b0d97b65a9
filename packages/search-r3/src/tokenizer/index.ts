export { type ByteLevelBpeOptions, trainByteLevelBpe } from './byte-level-bpe.js';
export {
  CHATML_TEMPLATE,
  type ChatMessage,
  type ChatOptions,
  type ChatTemplate,
  compileChatTemplate,
  type TemplateVariables,
} from './chat-template.js';
export { TEMPLATE_GIVEN } from './files.js';
export {
  type DecodeOptions,
  type EncodeOptions,
  type LoadTokenizerOptions,
  Tokenizer,
} from './tokenizer.js';
export { trainWordLevel, type WordLevelOptions } from './word-level.js';
