/**
 * Which class of transformers reads a folder, and what that class uses instead of the pipeline in `tokenizer.json`.
 * Since version 5, the class of a model family takes the vocabulary, merges and post-processor from the file and builds
 * the rest in code (docs/decisions/008-tokenizer-files.md). The classes are those of transformers 5.24.
 */
import { InputError } from '../run/errors.js';
import type { FolderFiles, SpecialTokenRole, TokenizerConfig, TokenizerJson } from './files.js';

/** A class with its own pipeline. */
export interface PipelineClass {
  name: string;
  /** The `model.type` of `tokenizer.json` that it accepts. */
  model: 'BPE' | 'WordPiece';
  /** Default special tokens for roles that the configuration does not set. */
  roles: Partial<Record<SpecialTokenRole, string>>;
  /** The pad token comes from this class, not from `padding` in `tokenizer.json`. */
  ownPadding: boolean;
  /** All special tokens are added again, without flags. */
  plainSpecials: boolean;
  /** The parts that replace those in `tokenizer.json`. */
  parts(config: TokenizerConfig, roles: Readonly<Record<string, string>>): PipelineParts;
}

/** The parts of a `tokenizer.json` that a class builds in code; `model` has neither vocabulary nor merges. */
export interface PipelineParts {
  normalizer: object | null;
  pre_tokenizer: object;
  decoder: object;
  model: Record<string, unknown>;
}

const END = '<|endoftext|>';

const byteLevel = (addPrefixSpace: boolean, useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: addPrefixSpace,
  trim_offsets: true,
  use_regex: useRegex,
});

const BPE = {
  type: 'BPE',
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  ignore_merges: false,
};

/** How Qwen2 splits text: contractions, words with one leading mark, single digits, punctuation, white space. */
export const QWEN2_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const CLASSES: readonly PipelineClass[] = [
  {
    name: 'LlamaTokenizer',
    model: 'BPE',
    roles: { unk_token: '<unk>', bos_token: '<s>', eos_token: '</s>' },
    ownPadding: false,
    plainSpecials: false,
    parts: ({ add_prefix_space, legacy }) => {
      const prefix = add_prefix_space !== false;
      const scheme = prefix ? (legacy === true ? 'always' : 'first') : 'never';
      return {
        normalizer: null,
        pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: scheme, split: false },
        decoder: {
          type: 'Sequence',
          decoders: [
            { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
            { type: 'ByteFallback' },
            { type: 'Fuse' },
            ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
          ],
        },
        model: { ...BPE, fuse_unk: true, byte_fallback: true },
      };
    },
  },
  {
    name: 'Qwen2Tokenizer',
    model: 'BPE',
    roles: { unk_token: END, eos_token: END, pad_token: END },
    ownPadding: true,
    plainSpecials: true,
    parts: ({ add_prefix_space }) => ({
      normalizer: { type: 'NFC' },
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Split', pattern: { Regex: QWEN2_PATTERN }, behavior: 'Isolated', invert: false },
          byteLevel(add_prefix_space === true, false),
        ],
      },
      decoder: byteLevel(true, true),
      model: BPE,
    }),
  },
  {
    name: 'GPT2Tokenizer',
    model: 'BPE',
    roles: { unk_token: END, bos_token: END, eos_token: END },
    ownPadding: true,
    plainSpecials: false,
    parts: ({ add_prefix_space }) => ({
      normalizer: null,
      pre_tokenizer: byteLevel(add_prefix_space === true, true),
      decoder: byteLevel(true, true),
      model: BPE,
    }),
  },
  {
    name: 'BertTokenizer',
    model: 'WordPiece',
    roles: {
      unk_token: '[UNK]',
      sep_token: '[SEP]',
      pad_token: '[PAD]',
      cls_token: '[CLS]',
      mask_token: '[MASK]',
    },
    ownPadding: true,
    plainSpecials: false,
    parts: (
      { do_lower_case = true, tokenize_chinese_chars = true, strip_accents = null },
      { unk_token },
    ) => ({
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: tokenize_chinese_chars,
        strip_accents,
        lowercase: do_lower_case,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
      model: {
        type: 'WordPiece',
        unk_token,
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
      },
    }),
  },
];

/** The pipeline that a class builds, with its default special tokens. */
export function classParts(
  name: 'LlamaTokenizer' | 'Qwen2Tokenizer' | 'GPT2Tokenizer',
  config: TokenizerConfig = {},
): PipelineParts {
  const found = CLASSES.find((one) => one.name === name) as PipelineClass;
  return found.parts(config, found.roles);
}

/** Classes of transformers whose own pipelines are not implemented here. */
const UNKNOWN = new Set(
  (
    'Albert Bart Barthez Bartpho BertGeneration BertJapanese Bertweet BigBird BioGpt Blenderbot BlenderbotSmall ByT5 ' +
    'CLIP CTRL Camembert Canine Clvp CodeLlama Cohere CpmAnt Cpm DPRQuestionEncoder Deberta DebertaV2 Dia Esm Esmc ' +
    'FSMT Flaubert Funnel GPTNeoXJapanese GPTNeoX GPTSw3 Gemma Herbert LED Lasr LayoutLMv2 LayoutLMv3 LayoutXLM Luke ' +
    'Lxmert M2M100 MBart50 MBart MLuke MPNet Marian MarkupLM Mgpstr MobileBert Mvp MyT5 Nllb Nougat OpenAIGPT PLBart ' +
    'Pegasus Perceiver Phobert ProphetNet Qwen3_5 Rag Reformer RemBert RoCBert RoFormer Roberta SeamlessM4T Siglip2 ' +
    'Siglip Speech2Text SpeechT5 Splinter T5 Tapas Tipsv2 Udop VideoPrism Vits Wav2Vec2CTC Wav2Vec2PhonemeCTC Whisper ' +
    'XGLM XLMRoberta XLM XLNet'
  )
    .split(' ')
    .map((name) => `${name}Tokenizer`),
);

/**
 * The class that `AutoTokenizer` picks for the folder; undefined if that class uses `tokenizer.json` unchanged.
 * @throws InputError if the pipeline of the class is not implemented here.
 */
export function pipelineClass(files: FolderFiles, folder: string): PipelineClass | undefined {
  const { config, model, tokenizer } = files;
  const own = plainName(config.tokenizer_class);
  const declared = own ?? plainName(model?.tokenizer_class);
  const type = model?.model_type ?? '';
  const registered = type === 'qwen2' || type === 'qwen3' ? 'Qwen2Tokenizer' : undefined;
  // Llama 3 and other models specify the wrong class.
  if (
    declared === 'LlamaTokenizer' &&
    type !== 'qwen2' &&
    JSON.stringify(tokenizer).includes('"ByteLevel"')
  ) {
    return undefined;
  }
  // transformers ignores the class that a Qwen2 folder specifies.
  const name = type === 'qwen2' ? registered : (declared ?? registered);
  if (name === undefined) return undefined;
  const found = CLASSES.find((one) => one.name === name);
  if (found !== undefined) return forModel(found, files, folder);
  if (!UNKNOWN.has(name)) return undefined;
  throw new InputError({
    source: `${folder}/${own === undefined ? 'config.json' : 'tokenizer_config.json'}`,
    field: 'tokenizer_class',
    expected: `one of ${CLASSES.map((one) => one.name).join(', ')} or PreTrainedTokenizerFast`,
    found: name,
    remedy:
      'This class has its own pipeline in transformers. If tokenizer.json contains the pipeline that the model was ' +
      'trained with, set tokenizer_class to PreTrainedTokenizerFast.',
  });
}

function plainName(name: string | null | undefined): string | undefined {
  return name ? name.replace(/Fast$/, '') : undefined;
}

function forModel(found: PipelineClass, { tokenizer }: FolderFiles, folder: string): PipelineClass {
  const { type, merges } = tokenizer.model;
  if ((type ?? found.model) === found.model && (found.model !== 'BPE' || Array.isArray(merges))) return found;
  throw new InputError({
    source: `${folder}/tokenizer.json`,
    field: 'model',
    expected: `a ${found.model} model, because transformers reads the folder with ${found.name}`,
    found: String(type),
    remedy: 'Set tokenizer_class in tokenizer_config.json to the class of the tokenizer.',
  });
}

/** `tokenizer.json` as the class rebuilds it, without added tokens. */
export function withClassPipeline(
  tokenizer: TokenizerJson,
  { parts, name }: PipelineClass,
  config: TokenizerConfig,
  roles: Readonly<Record<string, string>>,
  idOf: (token: string) => number | undefined,
): TokenizerJson {
  const { normalizer, pre_tokenizer, decoder, model } = parts(config, roles);
  const { vocab, merges } = tokenizer.model;
  const rebuilt = {
    ...tokenizer,
    added_tokens: [],
    normalizer,
    pre_tokenizer,
    decoder,
    model: { ...model, vocab, ...(merges !== undefined && { merges }) },
  };
  return name === 'BertTokenizer'
    ? { ...rebuilt, post_processor: aroundSequence(roles.cls_token ?? '', roles.sep_token ?? '', idOf) }
    : rebuilt;
}

/** [CLS] text [SEP], and [CLS] text [SEP] other [SEP]. */
function aroundSequence(cls: string, sep: string, idOf: (token: string) => number | undefined): object {
  const special = (id: string, type_id: number) => ({ SpecialToken: { id, type_id } });
  const sequence = (id: 'A' | 'B', type_id: number) => ({ Sequence: { id, type_id } });
  const entry = (token: string, otherwise: number) => ({
    id: token,
    ids: [idOf(token) ?? otherwise],
    tokens: [token],
  });
  return {
    type: 'TemplateProcessing',
    single: [special(cls, 0), sequence('A', 0), special(sep, 0)],
    pair: [special(cls, 0), sequence('A', 0), special(sep, 0), sequence('B', 1), special(sep, 1)],
    special_tokens: { [cls]: entry(cls, 2), [sep]: entry(sep, 3) },
  };
}
