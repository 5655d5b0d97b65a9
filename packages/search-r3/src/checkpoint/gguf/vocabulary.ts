/** The tokens of a GGUF file with their types. */
import type { Metadata } from './metadata.js';

/** `llama_token_type` of llama.cpp. */
const TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Roles of tokens, with their keys after `tokenizer.ggml.`. */
export const ROLES = {
  bos_token: 'bos_token_id',
  eos_token: 'eos_token_id',
  unk_token: 'unknown_token_id',
  pad_token: 'padding_token_id',
} as const;

export type TokenRole = keyof typeof ROLES;

export type RoleIds = Partial<Record<TokenRole, number>>;

export interface Vocabulary {
  /** By id, each once. */
  tokens: readonly string[];
  types: readonly number[];
}

const TOKENS = 'tokenizer.ggml.tokens';
const TOKEN_TYPES = 'tokenizer.ggml.token_type';

/** @throws InputError if there are no tokens, or if one occurs twice. */
export function readVocabulary(metadata: Metadata): Vocabulary {
  const listed = metadata.required(TOKENS, metadata.strings(TOKENS));
  const types = metadata.numbers(TOKEN_TYPES) ?? listed.map(() => TYPES.normal);
  if (types.length !== listed.length) {
    throw metadata.error(TOKEN_TYPES, `a list of ${listed.length}, one for each token`, `${types.length}`);
  }
  const isFiller = (token: string, id: number) => types[id] === TYPES.unused && token === `[PAD${id}]`;
  // The converter names the rows of the embedding that have no token.
  const count = listed.findLastIndex((token, id) => !isFiller(token, id)) + 1;
  const tokens = listed.slice(0, count).map((token, id) => token || `[EMPTY_${id}]`);
  if (tokens.length === 0) throw metadata.error(TOKENS, 'tokens', 'none');
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const before = ids.get(token);
    if (before !== undefined) {
      throw metadata.error(
        TOKENS,
        'each token once',
        `${JSON.stringify(token)} with the ids ${before} and ${id}`,
      );
    }
    ids.set(token, id);
  }
  return { tokens, types: types.slice(0, tokens.length) };
}

/** Whether a token is matched in a text before the model splits it. */
export function isAdded({ types }: Vocabulary, id: number): boolean {
  return types[id] === TYPES.control || types[id] === TYPES.unknown || types[id] === TYPES.userDefined;
}

/** Whether a token is left out of decoded text if asked to. */
export function isSpecial({ types }: Vocabulary, id: number): boolean {
  return types[id] === TYPES.control || types[id] === TYPES.unknown;
}

/** Whether merges can give a token. */
export function isNormal({ types }: Vocabulary, id: number): boolean {
  return types[id] === TYPES.normal || types[id] === TYPES.userDefined;
}

export function vocabularyObject({ tokens }: Vocabulary): Record<string, number> {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

const MERGES = 'tokenizer.ggml.merges';

/** The pairs of `tokenizer.ggml.merges`, in order; undefined if the file has none. */
export function readMerges(metadata: Metadata, { tokens }: Vocabulary): [string, string][] | undefined {
  const known = new Set(tokens);
  return metadata.strings(MERGES)?.map((merge, i) => {
    // The first token may be a space.
    const space = merge.indexOf(' ', 1);
    const [left, right] = [merge.slice(0, space), merge.slice(space + 1)];
    if (space > 0 && known.has(left) && known.has(right) && known.has(left + right)) return [left, right];
    const expected = 'two tokens that, like their merged token, are in the vocabulary';
    throw metadata.error(`${MERGES}[${i}]`, expected, JSON.stringify(merge));
  });
}
