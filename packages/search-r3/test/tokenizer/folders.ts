/**
 * Realistic tokenizer folders: every model and pipeline of the library, with settings spread over the files in every
 * way that transformers supports.
 */
import {
  added,
  BERT,
  BYTE_LEVEL,
  byteLevel,
  bytesOnly,
  CHATML,
  CONTROLS,
  EMPTY,
  END,
  type Files,
  idsOf,
  LLAMA2_SIZE,
  llama2,
  metaspace,
  PLAIN,
  QWEN,
  QWEN_CONFIG,
  sequence,
  split,
  token,
  unigram,
  WORD_PIECE_SIZE,
  wordLevel,
  wordPiece,
} from './pipelines.js';

/** Every combination of the four flags that determine where a token matches, on tokens like those of real folders. */
const FLAGGED = Array.from({ length: 16 }, (_, bits) => ({
  content: `<f${bits}>`,
  flags: {
    single_word: (bits & 1) > 0,
    lstrip: (bits & 2) > 0,
    rstrip: (bits & 4) > 0,
    normalized: (bits & 8) > 0,
    special: bits % 3 > 0,
  },
}));

const flaggedInFile = byteLevel({
  normalizer: { type: 'Lowercase' },
  added_tokens: FLAGGED.map(({ content, flags }, i) => added(END + i, content, flags)),
});
const flaggedInConfig = {
  tokenizer_class: 'PreTrainedTokenizerFast',
  added_tokens_decoder: Object.fromEntries(
    FLAGGED.map(({ content, flags }, i) => [END + i, token(content, { ...flags, rstrip: !flags.rstrip })]),
  ),
  eos_token: '<f3>',
  chat_template: CHATML,
};

/** Folders by name. AutoTokenizer can load each of them. */
export const FOLDERS: Record<string, Files> = {
  'byte-level BPE': { 'tokenizer.json': byteLevel(), 'tokenizer_config.json': {} },
  'byte-level BPE, prefix space': {
    'tokenizer.json': byteLevel({ pre_tokenizer: { ...BYTE_LEVEL, add_prefix_space: true } }),
    'tokenizer_config.json': {
      tokenizer_class: 'PreTrainedTokenizerFast',
      clean_up_tokenization_spaces: true,
    },
  },
  'Llama 2, by its class': {
    'tokenizer.json': llama2(),
    'tokenizer_config.json': {
      tokenizer_class: 'LlamaTokenizer',
      add_bos_token: true,
      add_eos_token: false,
      bos_token: { __type: 'AddedToken', ...token('<s>') },
      eos_token: { __type: 'AddedToken', ...token('</s>') },
      unk_token: { __type: 'AddedToken', ...token('<unk>') },
      legacy: false,
      chat_template:
        "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}{% endfor %}",
    },
    'special_tokens_map.json': { bos_token: token('<s>'), eos_token: token('</s>'), pad_token: '</s>' },
  },
  'Llama 2, legacy, other added tokens': {
    'config.json': { model_type: 'llama' },
    'tokenizer.json': llama2({
      added_tokens: [
        ...CONTROLS,
        added(LLAMA2_SIZE, '<pad>'),
        added(LLAMA2_SIZE + 1, 'tool', { special: false }),
      ],
    }),
    'tokenizer_config.json': { tokenizer_class: 'LlamaTokenizerFast', legacy: true, pad_token: '<pad>' },
  },
  'Llama 2, no prefix': {
    'tokenizer.json': llama2(),
    'tokenizer_config.json': {
      tokenizer_class: 'LlamaTokenizer',
      add_prefix_space: false,
      extra_special_tokens: ['<x>', '<y>'],
    },
  },
  'Llama 2, as its file has it': {
    'tokenizer.json': llama2(),
    'tokenizer_config.json': {
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: '<s>',
      eos_token: '</s>',
    },
  },
  ...Object.fromEntries(
    (['always', 'first', 'never'] as const).flatMap((scheme) =>
      [true, false].map((splitting) => [
        `Metaspace ${scheme}, ${splitting ? 'split' : 'whole'}`,
        {
          'tokenizer.json': llama2({
            normalizer: null,
            pre_tokenizer: metaspace(scheme, splitting),
            decoder: metaspace(scheme, splitting),
          }),
          'special_tokens_map.json': { bos_token: '<s>', eos_token: token('</s>', { rstrip: true }) },
        },
      ]),
    ),
  ),
  Unigram: { 'tokenizer.json': unigram(false), 'tokenizer_config.json': { unk_token: '<unk>' } },
  'Unigram, byte fallback': { 'tokenizer.json': unigram(true), 'tokenizer_config.json': {} },
  'WordPiece, by its class': {
    'tokenizer.json': wordPiece(),
    'tokenizer_config.json': {
      tokenizer_class: 'BertTokenizer',
      do_lower_case: true,
      unk_token: '[UNK]',
      cls_token: '[CLS]',
    },
  },
  WordPiece: {
    'tokenizer.json': wordPiece({
      added_tokens: [...BERT.map((content, id) => added(id, content)), added(WORD_PIECE_SIZE, '[EXTRA]')],
    }),
    'special_tokens_map.json': {
      cls_token: '[CLS]',
      sep_token: '[SEP]',
      mask_token: token('[MASK]', { lstrip: true }),
    },
  },
  WordLevel: {
    'tokenizer.json': wordLevel,
    'tokenizer_config.json': { unk_token: '<unk>', eos_token: '<end>' },
  },
  'Llama 3': {
    'config.json': { model_type: 'llama' },
    'tokenizer.json': byteLevel(
      {
        pre_tokenizer: sequence(
          split(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
          ),
          bytesOnly,
        ),
        added_tokens: [
          '<|begin_of_text|>',
          '<|end_of_text|>',
          '<|eot_id|>',
          '<|im_start|>',
          '<|im_end|>',
        ].map((content, i) => added(END + i, content)),
        post_processor: {
          type: 'Sequence',
          processors: [
            BYTE_LEVEL,
            {
              type: 'TemplateProcessing',
              single: [
                { SpecialToken: { id: '<|begin_of_text|>', type_id: 0 } },
                { Sequence: { id: 'A', type_id: 0 } },
              ],
              pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
              special_tokens: {
                '<|begin_of_text|>': { id: '<|begin_of_text|>', ids: [END], tokens: ['<|begin_of_text|>'] },
              },
            },
          ],
        },
      },
      { ignore_merges: true },
    ),
    'tokenizer_config.json': {
      tokenizer_class: 'LlamaTokenizerFast',
      clean_up_tokenization_spaces: true,
      bos_token: '<|begin_of_text|>',
      eos_token: '<|eot_id|>',
      chat_template: CHATML,
    },
  },
  'Qwen 2': {
    'config.json': { model_type: 'qwen2' },
    'tokenizer.json': QWEN,
    'tokenizer_config.json': QWEN_CONFIG,
  },
  'Qwen 3, another pipeline in the file': {
    'config.json': { model_type: 'qwen3' },
    'tokenizer.json': { ...QWEN, normalizer: { type: 'Lowercase' }, pre_tokenizer: BYTE_LEVEL },
    'tokenizer_config.json': QWEN_CONFIG,
  },
  'Qwen 3, another class': {
    'config.json': { model_type: 'qwen3' },
    'tokenizer.json': { ...QWEN, normalizer: { type: 'Lowercase' } },
    'tokenizer_config.json': { ...QWEN_CONFIG, tokenizer_class: 'PreTrainedTokenizerFast' },
  },
  'Qwen 2, a class that is not believed': {
    'config.json': { model_type: 'qwen2' },
    'tokenizer.json': { ...QWEN, normalizer: { type: 'Lowercase' }, added_tokens: [] },
    'tokenizer_config.json': {
      ...QWEN_CONFIG,
      tokenizer_class: 'LlamaTokenizerFast',
      additional_special_tokens: ['<a>', '<b>'],
    },
  },
  'SmolLM 2': {
    'config.json': { model_type: 'llama' },
    'tokenizer.json': byteLevel({
      pre_tokenizer: sequence({ type: 'Digits', individual_digits: true }, BYTE_LEVEL),
      added_tokens: ['<|endoftext|>', '<|im_start|>', '<|im_end|>'].map((content, i) =>
        added(END + i, content),
      ),
    }),
    'tokenizer_config.json': {
      tokenizer_class: 'GPT2Tokenizer',
      bos_token: '<|im_start|>',
      eos_token: '<|im_end|>',
      unk_token: '<|endoftext|>',
      add_prefix_space: false,
      chat_template: CHATML,
    },
  },
  'tokens in added_tokens_decoder alone': {
    'tokenizer.json': byteLevel(),
    'tokenizer_config.json': {
      eos_token: '<|im_end|>',
      pad_token: '<pad>',
      image_token: '<img>',
      added_tokens_decoder: {
        [END]: token('<|im_start|>'),
        [END + 1]: token('<|im_end|>'),
        [END + 2]: { content: 'tool' },
      },
      chat_template: CHATML,
    },
    // Ignored if there is an added_tokens_decoder.
    'special_tokens_map.json': { eos_token: '<|im_start|>', pad_token: '<other>' },
    'added_tokens.json': { '<ignored>': END },
  },
  'flags in tokenizer.json': {
    'tokenizer.json': flaggedInFile,
    'tokenizer_config.json': { unk_token: '<f2>' },
  },
  'other flags in added_tokens_decoder': {
    'tokenizer.json': flaggedInFile,
    'tokenizer_config.json': flaggedInConfig,
  },
  'flags in added_tokens_decoder alone': {
    'tokenizer.json': { ...flaggedInFile, added_tokens: [] },
    'tokenizer_config.json': flaggedInConfig,
  },
  'special_tokens_map.json alone': {
    'tokenizer.json': byteLevel(),
    'special_tokens_map.json': {
      bos_token: token('<s>', { lstrip: true }),
      eos_token: '</s>',
      pad_token: null,
      additional_special_tokens: ['<|im_start|>', '<|im_end|>'],
    },
    'chat_template.jinja': CHATML,
  },
  'special_tokens_map.json against tokenizer_config.json': {
    'tokenizer.json': byteLevel({
      added_tokens: [added(END, '<s>'), added(END + 1, '</s>', { special: false, normalized: true })],
    }),
    'tokenizer_config.json': { bos_token: '</s>', eos_token: '<a>', extra_special_tokens: ['<e>'] },
    'special_tokens_map.json': { bos_token: '<s>', eos_token: '</s>', extra_special_tokens: ['<e>', '<d>'] },
  },
  'added_tokens.json alone': {
    'tokenizer.json': byteLevel(),
    'tokenizer_config.json': { eos_token: '<two>', additional_special_tokens: ['<three>'] },
    'added_tokens.json': { '<two>': END + 1, '<one>': END, '<three>': END + 2 },
  },
  'extra_special_tokens by name': {
    'tokenizer.json': byteLevel({ added_tokens: [added(END, '<img>', { special: false })] }),
    'tokenizer_config.json': {
      eos_token: '<end>',
      extra_special_tokens: { image_token: '<img>', audio_token: '<snd>', boi_token: '<boi>' },
    },
  },
  'templates in files of their own': {
    'tokenizer.json': QWEN,
    'tokenizer_config.json': { eos_token: '<|im_end|>', chat_template: 'not this' },
    'chat_template.jinja': CHATML,
    'additional_chat_templates/tool_use.jinja': 'nor this',
  },
  'several templates': {
    'tokenizer.json': QWEN,
    'tokenizer_config.json': {
      eos_token: '<|im_end|>',
      chat_template: [
        { name: 'tool_use', template: 'not this' },
        { name: 'default', template: CHATML },
      ],
    },
  },
  'truncation and padding': {
    'tokenizer.json': {
      ...QWEN,
      truncation: { direction: 'Right', max_length: 3, strategy: 'LongestFirst', stride: 0 },
      padding: {
        strategy: { Fixed: 9 },
        direction: 'Right',
        pad_to_multiple_of: null,
        pad_id: 0,
        pad_type_id: 0,
        pad_token: '!',
      },
    },
    'tokenizer_config.json': { eos_token: '<|im_end|>', chat_template: CHATML },
  },
  ...Object.fromEntries(
    Object.entries({
      Contiguous: split('\\s', 'Contiguous'),
      MergedWithNext: split('\\s', 'MergedWithNext'),
      MergedWithPrevious: split('\\s', 'MergedWithPrevious'),
      Removed: split(',', 'Removed'),
      inverted: split('\\p{L}+', 'Isolated', true),
      Punctuation: { type: 'Punctuation', behavior: 'Removed' },
      Digits: { type: 'Digits', individual_digits: true },
      WhitespaceSplit: { type: 'WhitespaceSplit' },
      CharDelimiterSplit: { type: 'CharDelimiterSplit', delimiter: 'e' },
      UnicodeScripts: { type: 'UnicodeScripts' },
      FixedLength: { type: 'FixedLength', length: 4 },
    }).map(([name, part]) => [
      `pre-tokenizer ${name}`,
      {
        'tokenizer.json': byteLevel({ pre_tokenizer: sequence(part, bytesOnly) }),
        'tokenizer_config.json': {},
      },
    ]),
  ),
  'BPE with prefixes of continued words': {
    'tokenizer.json': {
      ...PLAIN,
      ...EMPTY,
      added_tokens: [added(0, '<unk>')],
      pre_tokenizer: { type: 'Whitespace' },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: '<unk>',
        continuing_subword_prefix: '##',
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab: idsOf(['<unk>', 'c', 'a', 't', '##a', '##t', 'h', '##h', 'e', '##e', 'ca', 'th', 'the']),
        merges: ['c ##a', 't ##h', 'th ##e'],
      },
    },
    'tokenizer_config.json': {},
  },
};
