/**
 * The tokenizer of a GGUF file, as the `tokenizer.json` and `tokenizer_config.json` that the model would have. Keys and
 * defaults are those of llama.cpp (`llama-vocab.cpp`); pipelines are those of transformers
 * (docs/decisions/011-gguf-files.md).
 */
import { type LoadTokenizerOptions, Tokenizer } from '../../tokenizer/index.js';
import { byteLevelModel, type TokenizerModel } from './byte-level.js';
import type { Metadata } from './metadata.js';
import { sentencePieceModel } from './sentencepiece.js';
import {
  isAdded,
  isSpecial,
  ROLES,
  type RoleIds,
  readVocabulary,
  type TokenRole,
  type Vocabulary,
} from './vocabulary.js';

const KEY = 'tokenizer.ggml.';

/** Further tokens that end a turn or a message, and so a generation. */
const ENDS = ['eot_token_id', 'eom_token_id'];

export interface GgufTokenizer {
  tokenizer: Tokenizer;
  ids: RoleIds;
  /** Ids that end a generation. */
  ends: number[];
  notes: string[];
}

/** @throws InputError naming the key that is missing, invalid or not supported. */
export function tokenizerOf(metadata: Metadata, options: LoadTokenizerOptions): GgufTokenizer {
  const vocabulary = readVocabulary(metadata);
  const { model, notes } = modelOf(metadata, vocabulary);
  const ids: RoleIds = { ...model.ids };
  for (const role of Object.keys(ROLES) as TokenRole[]) {
    const id = readId(metadata, ROLES[role], vocabulary, notes);
    if (id !== undefined) ids[role] = id;
  }
  const ends = ENDS.map((name) => readId(metadata, name, vocabulary, notes));
  const roles = Object.fromEntries(
    Object.entries(ids).map(([role, id]) => [role, vocabulary.tokens[id] as string]),
  );
  const addBos = metadata.boolean(`${KEY}add_bos_token`) ?? model.addBos;
  const addEos = metadata.boolean(`${KEY}add_eos_token`) ?? false;
  const chatTemplate = metadata.string('tokenizer.chat_template');
  const json = {
    tokenizer: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      normalizer: model.normalizer,
      pre_tokenizer: model.pre_tokenizer,
      post_processor: around({ addBos, addEos }, ids, roles),
      decoder: model.decoder,
      model: model.model,
    },
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      ...roles,
      add_bos_token: addBos,
      add_eos_token: addEos,
      clean_up_tokenization_spaces: false,
      ...(chatTemplate !== undefined && { chat_template: chatTemplate }),
    },
  };
  const tokenizer = Tokenizer.fromJson(json, metadata.source, {
    defaultChatTemplate: options.defaultChatTemplate,
  });
  return {
    tokenizer,
    ids,
    ends: [...new Set([ids.eos_token, ...ends])].filter((id) => id !== undefined),
    notes,
  };
}

function modelOf(metadata: Metadata, vocabulary: Vocabulary): { model: TokenizerModel; notes: string[] } {
  const name = metadata.required(`${KEY}model`, metadata.string(`${KEY}model`));
  if (name === 'gpt2') return byteLevelModel(metadata, vocabulary);
  if (name === 'llama') return { model: sentencePieceModel(metadata, vocabulary), notes: [] };
  throw metadata.error(`${KEY}model`, 'gpt2 (byte-level BPE) or llama (SentencePiece)', name);
}

/** An id of the vocabulary. As in llama.cpp, one beyond it does not count. */
function readId(
  metadata: Metadata,
  name: string,
  { tokens }: Vocabulary,
  notes: string[],
): number | undefined {
  const id = metadata.number(KEY + name);
  if (id === undefined || tokens[id] !== undefined) return id;
  notes.push(`${KEY}${name} ${id} is not one of the ${tokens.length} tokens, and ignored.`);
  return undefined;
}

function addedTokens(vocabulary: Vocabulary): object[] {
  return vocabulary.tokens.flatMap((content, id) =>
    isAdded(vocabulary, id)
      ? {
          id,
          content,
          single_word: false,
          lstrip: false,
          rstrip: false,
          normalized: false,
          special: isSpecial(vocabulary, id),
        }
      : [],
  );
}

/** Puts the tokens of begin and end around a text. */
function around(
  { addBos, addEos }: { addBos: boolean; addEos: boolean },
  ids: RoleIds,
  roles: Readonly<Record<string, string>>,
): object | null {
  const used = (['bos_token', 'eos_token'] as const).filter(
    (role) => (role === 'bos_token' ? addBos : addEos) && ids[role] !== undefined,
  );
  if (used.length === 0) return null;
  const special = (role: 'bos_token' | 'eos_token', type_id: number) =>
    used.includes(role) ? [{ SpecialToken: { id: roles[role], type_id } }] : [];
  const sequence = (id: 'A' | 'B', type_id: number) => [
    ...special('bos_token', type_id),
    { Sequence: { id, type_id } },
    ...special('eos_token', type_id),
  ];
  return {
    type: 'TemplateProcessing',
    single: sequence('A', 0),
    pair: [...sequence('A', 0), ...sequence('B', 1)],
    special_tokens: Object.fromEntries(
      used.map((role) => [roles[role], { id: roles[role], ids: [ids[role]], tokens: [roles[role]] }]),
    ),
  };
}
