/** Tokenizers of every kind in the format of `tokenizer.json`, with small, handwritten vocabularies. */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export type Files = Record<string, object | string>;

/** Writes files (objects as JSON) to a new folder. */
export async function folderOf(files: Files): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tokenizer-'));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return folder;
}

/** An added token of `tokenizer.json`; special by default. */
export const added = (id: number, content: string, flags: object = {}) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
  ...flags,
});

/** The same token as the other files contain it, without its id. */
export const token = (content: string, flags: object = {}) => {
  const { id: _, ...rest } = added(0, content, flags);
  return rest;
};

export const CHATML =
  "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** The 256 characters that represent bytes, in the order of GPT-2. */
export const BYTES: string[] = (() => {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const moved = bytes.filter((byte) => !printable(byte));
  return bytes.map((byte) => String.fromCodePoint(printable(byte) ? byte : 0x100 + moved.indexOf(byte)));
})();

export const WORDS = [
  'the',
  'ing',
  'and',
  'one',
  'two',
  'cat',
  'in',
  'er',
  'on',
  'ca',
  'th',
  'an',
  '12',
  '1',
];

/** A vocabulary, and merges that build the words from left to right. */
function bpe(
  alphabet: readonly string[],
  words: readonly string[],
  first = 0,
): { vocab: Record<string, number>; merges: string[] } {
  const tokens = [...alphabet];
  const merges: string[] = [];
  for (const word of words) {
    const characters = [...word];
    let left = characters[0] ?? '';
    for (const right of characters.slice(1)) {
      if (!tokens.includes(left + right)) {
        tokens.push(left + right);
        merges.push(`${left} ${right}`);
      }
      left += right;
    }
  }
  return { vocab: Object.fromEntries(tokens.map((one, i) => [one, first + i])), merges };
}

export const idsOf = (tokens: readonly string[]) => Object.fromEntries(tokens.map((one, id) => [one, id]));

export const BYTE_LEVEL = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
export const PLAIN = { version: '1.0', truncation: null, padding: null };
export const EMPTY = {
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
};

/** Byte-level BPE: 256 bytes and the tokens of the words. Added tokens get the ids from `BYTE_LEVEL_SIZE` on. */
export const byteVocabulary = bpe(BYTES, [...WORDS, 'Ġthe', 'Ġand', 'Ġcat']);
export const BYTE_LEVEL_SIZE = Object.keys(byteVocabulary.vocab).length;

export const byteLevel = (changes: object = {}, model: object = {}) => ({
  ...PLAIN,
  ...EMPTY,
  pre_tokenizer: BYTE_LEVEL,
  decoder: BYTE_LEVEL,
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    ...byteVocabulary,
    ...model,
  },
  ...changes,
});

export const FALLBACK = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
);
export const LETTERS = [
  ...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?\'"()<>|/_-',
  '\ufffd',
];
export const CONTROL = ['<unk>', '<s>', '</s>'];
export const CONTROLS = CONTROL.map((content, id) => added(id, content));

export const metaspace = (prepend_scheme: string, split = true) => ({
  type: 'Metaspace',
  replacement: '▁',
  prepend_scheme,
  split,
});

export const LLAMA_DECODER = {
  type: 'Sequence',
  decoders: [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: 1, stop: 0 },
  ],
};

/** The first Llama models: SentencePiece BPE with byte fallback. */
export const llama2 = (changes: object = {}) => {
  const { vocab, merges } = bpe(
    [...CONTROL, ...FALLBACK, '▁', ...LETTERS],
    [...WORDS, '▁the', '▁and', '▁a', '▁cat'],
  );
  return {
    ...PLAIN,
    ...EMPTY,
    added_tokens: CONTROLS,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: LLAMA_DECODER,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab,
      merges,
    },
    ...changes,
  };
};

/** The number of tokens in the model. Added tokens get the ids from here on. */
export const LLAMA2_SIZE = Object.keys(llama2().model.vocab).length;

export const PIECES = [...WORDS, '▁the', '▁and', '▁a', '▁cat', '▁', ...LETTERS];

export const unigram = (byteFallback: boolean, changes: object = {}) => ({
  ...PLAIN,
  ...EMPTY,
  added_tokens: CONTROLS,
  normalizer: { type: 'NFKC' },
  pre_tokenizer: metaspace('always'),
  decoder: byteFallback ? LLAMA_DECODER : metaspace('always'),
  model: {
    type: 'Unigram',
    unk_id: 0,
    byte_fallback: byteFallback,
    vocab: [
      ...CONTROL.map((piece) => [piece, 0]),
      ...(byteFallback ? FALLBACK : []).map((piece) => [piece, -20]),
      ...PIECES.map((piece, i) => [piece, piece.length > 1 ? -3 - i / 7 : -9 - i / 100]),
    ],
  },
  ...changes,
});

export const BERT = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];

export const wordPiece = (changes: object = {}) => {
  const letters = [...'abcdefghijklmnopqrstuvwxyz0123456789'];
  const vocab = idsOf([
    ...BERT,
    ...letters,
    ...letters.map((x) => `##${x}`),
    'the',
    'cat',
    '##ing',
    'and',
    '.',
    ',',
    '!',
  ]);
  return {
    ...PLAIN,
    ...EMPTY,
    added_tokens: BERT.map((content, id) => added(id, content)),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'BertProcessing',
      sep: ['[SEP]', 3],
      cls: ['[CLS]', 2],
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    },
    ...changes,
  };
};

export const WORD_PIECE_SIZE = Object.keys(wordPiece().model.vocab).length;

export const wordLevel = {
  ...PLAIN,
  ...EMPTY,
  added_tokens: [added(0, '<unk>'), added(1, '<end>')],
  normalizer: { type: 'Lowercase' },
  pre_tokenizer: { type: 'Whitespace' },
  model: {
    type: 'WordLevel',
    vocab: idsOf(['<unk>', '<end>', 'the', 'cat', 'and', ',', '.', '12']),
    unk_token: '<unk>',
  },
};

export const END = BYTE_LEVEL_SIZE;
export const QWEN_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
export const split = (pattern: string, behavior = 'Isolated', invert = false) => ({
  type: 'Split',
  pattern: { Regex: pattern },
  behavior,
  invert,
});
export const bytesOnly = { ...BYTE_LEVEL, use_regex: false };
export const sequence = (...pretokenizers: object[]) => ({ type: 'Sequence', pretokenizers });

export const QWEN = byteLevel({
  normalizer: { type: 'NFC' },
  pre_tokenizer: sequence(split(QWEN_PATTERN), { ...bytesOnly, trim_offsets: false }),
  post_processor: { ...BYTE_LEVEL, trim_offsets: false },
  added_tokens: ['<|endoftext|>', '<|im_start|>', '<|im_end|>'].map((content, i) => added(END + i, content)),
});
export const QWEN_CONFIG = {
  tokenizer_class: 'Qwen2Tokenizer',
  bos_token: null,
  eos_token: '<|im_end|>',
  pad_token: '<|endoftext|>',
  unk_token: null,
  additional_special_tokens: ['<|im_start|>', '<|im_end|>'],
  added_tokens_decoder: Object.fromEntries(
    ['<|endoftext|>', '<|im_start|>', '<|im_end|>'].map((content, i) => [END + i, token(content)]),
  ),
  split_special_tokens: false,
  chat_template: CHATML,
};
