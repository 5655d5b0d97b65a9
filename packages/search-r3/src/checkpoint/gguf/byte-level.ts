/** Byte-level BPE (`tokenizer.ggml.model` gpt2): the pre-tokenizers by their names in llama.cpp. */
import { classParts, type PipelineParts } from '../../tokenizer/class-pipelines.js';
import type { Metadata } from './metadata.js';
import { type RoleIds, readMerges, type Vocabulary, vocabularyObject } from './vocabulary.js';

/** What depends on the kind of model. */
export interface TokenizerModel extends PipelineParts {
  /** Tokens of roles that the file may leave out. */
  ids: RoleIds;
  /** Whether texts begin with the bos token, if the file does not say. */
  addBos: boolean;
}

const PRE = 'tokenizer.ggml.pre';

const split = (pattern: string) => ({
  type: 'Split',
  pattern: { Regex: pattern },
  behavior: 'Isolated',
  invert: false,
});

const bytes = (useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});

const sequence = (...pretokenizers: object[]) => ({ type: 'Sequence', pretokenizers });

/** Words with one leading mark, up to three digits, punctuation, white space. */
const LLAMA3_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Where the file does not name a pre-tokenizer: punctuation, GPT-2's words, digits by three. */
const DEFAULT_PATTERNS = [
  '[\\p{P}\\$\\+<=>\\^~\\|]+',
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)",
  '\\p{N}+',
  '[0-9][0-9][0-9]',
];

const gpt2 = () => classParts('GPT2Tokenizer');
const qwen2 = () => classParts('Qwen2Tokenizer');
const digitByDigit = () => ({
  ...gpt2(),
  pre_tokenizer: sequence({ type: 'Digits', individual_digits: true }, bytes(true)),
});
const llama3 = (): PipelineParts => {
  const parts = gpt2();
  return {
    ...parts,
    pre_tokenizer: sequence(split(LLAMA3_PATTERN), bytes(false)),
    model: { ...parts.model, ignore_merges: true },
  };
};

/** The pipelines by the names of their pre-tokenizers. */
const PIPELINES: ReadonlyMap<string, () => PipelineParts> = new Map([
  ['gpt-2', gpt2],
  ['smollm', digitByDigit],
  ['starcoder', digitByDigit],
  ['qwen2', qwen2],
  // The same splitting, but no normalizer.
  ['deepseek-r1-qwen', () => ({ ...qwen2(), normalizer: null })],
  ['llama-bpe', llama3],
  ['llama3', llama3],
  ['llama-v3', llama3],
  ['default', () => ({ ...gpt2(), pre_tokenizer: sequence(...DEFAULT_PATTERNS.map(split), bytes(false)) })],
]);

/** @throws InputError if the pre-tokenizer is not one of these, or if the merges are missing or invalid. */
export function byteLevelModel(
  metadata: Metadata,
  vocabulary: Vocabulary,
): { model: TokenizerModel; notes: string[] } {
  const pre = metadata.string(PRE);
  const pipeline = PIPELINES.get(pre ?? 'default');
  if (pipeline === undefined) {
    throw metadata.error(PRE, `one of ${[...PIPELINES.keys()].join(', ')}`, String(pre));
  }
  const merges = metadata.required('tokenizer.ggml.merges', readMerges(metadata, vocabulary));
  const { model, ...parts } = pipeline();
  return {
    model: {
      ...parts,
      model: { ...model, vocab: vocabularyObject(vocabulary), merges },
      ids: {},
      addBos: pipeline === llama3,
    },
    notes:
      pre === undefined
        ? [
            `The file does not name its pre-tokenizer (${PRE}), so words may be split differently than in training.`,
          ]
        : [],
  };
}
