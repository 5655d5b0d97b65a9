/**
 * The files of a tokenizer in a Hugging Face folder: `tokenizer.json`, `tokenizer_config.json`,
 * `special_tokens_map.json` and `chat_template.jinja`; all but the first may be missing. Fields not used here are kept
 * and saved again.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { readIfThere, readJson, readText, writeFileAtomic, writeJsonAtomic } from '../run/files.js';
import { validate } from '../run/validate.js';

const addedTokenSchema = z.looseObject({
  id: z.int().nonnegative(),
  content: z.string().min(1),
  special: z.boolean().default(false),
});

export type AddedToken = z.output<typeof addedTokenSchema>;

const addedTokensSchema = z.array(addedTokenSchema);

const tokenizerJsonSchema = z.looseObject({
  added_tokens: addedTokensSchema.nullish(),
  model: z.looseObject({
    type: z.string().nullish(),
    vocab: z.unknown().optional(),
    merges: z.unknown().optional(),
  }),
});

/** A token in the configuration: its text, or an object that holds it. */
const tokenSchema = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();

const specialTokensSchema = z.looseObject({
  bos_token: tokenSchema,
  eos_token: tokenSchema,
  pad_token: tokenSchema,
  unk_token: tokenSchema,
});

const tokenizerConfigSchema = specialTokensSchema.extend({
  added_tokens_decoder: z.record(z.string(), z.unknown()).optional(),
  clean_up_tokenization_spaces: z.boolean().nullish(),
  /** One template, or several of which one is named "default". */
  chat_template: z
    .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
    .nullish(),
});

/** The parts that special tokens play. */
export const SPECIAL_TOKEN_ROLES = ['bos_token', 'eos_token', 'pad_token', 'unk_token'] as const;

export type SpecialTokenRole = (typeof SPECIAL_TOKEN_ROLES)[number];

/** What the files hold. The JSON objects are changed only by replacing them. */
export interface TokenizerFiles {
  tokenizer: z.output<typeof tokenizerJsonSchema>;
  config: z.output<typeof tokenizerConfigSchema>;
  specialTokensMap: z.output<typeof specialTokensSchema> | undefined;
  /** The text of `chat_template.jinja`, which goes before the configuration's. */
  chatTemplateFile: string | undefined;
}

/** Ids above this are not believed: vocabularies are arrays indexed by id. */
const MAX_ID = 2 ** 24;

/** Reads the files of `folder`. @throws InputError naming the file and the field that is missing or garbled. */
export async function readTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const path = join(folder, 'tokenizer.json');
  const json = await readJson(path);
  const checked = checkTokenizerJson(json, path);
  const optional = <T>(name: string, read: (path: string) => Promise<T>) =>
    readIfThere(join(folder, name), read);
  const config = await optional('tokenizer_config.json', async (at) =>
    validate(tokenizerConfigSchema, await readJson(at), at),
  );
  const specialTokensMap = await optional('special_tokens_map.json', async (at) =>
    validate(specialTokensSchema, await readJson(at), at),
  );
  const chatTemplateFile = await optional('chat_template.jinja', readText);
  return { tokenizer: checked, config: config ?? {}, specialTokensMap, chatTemplateFile };
}

/** Writes the files, each whole or not at all. Equal files come back from `readTokenizerFiles`. */
export async function writeTokenizerFiles(folder: string, files: TokenizerFiles): Promise<void> {
  await writeJsonAtomic(join(folder, 'tokenizer.json'), files.tokenizer);
  await writeJsonAtomic(join(folder, 'tokenizer_config.json'), files.config);
  if (files.specialTokensMap !== undefined) {
    await writeJsonAtomic(join(folder, 'special_tokens_map.json'), files.specialTokensMap);
  }
  if (files.chatTemplateFile !== undefined) {
    await writeFileAtomic(join(folder, 'chat_template.jinja'), files.chatTemplateFile);
  }
}

/** The text of a special token; the configuration goes before `special_tokens_map.json`. */
export function specialToken(files: TokenizerFiles, role: SpecialTokenRole): string | undefined {
  const token = files.config[role] ?? files.specialTokensMap?.[role];
  return typeof token === 'string' ? token : token?.content;
}

/** The chat template and the file it stands in; undefined where there is none. */
export function chatTemplate(files: TokenizerFiles): { text: string; file: string } | undefined {
  if (files.chatTemplateFile !== undefined)
    return { text: files.chatTemplateFile, file: 'chat_template.jinja' };
  const template = files.config.chat_template;
  const text =
    typeof template === 'string' ? template : template?.find(({ name }) => name === 'default')?.template;
  return text === undefined ? undefined : { text, file: 'tokenizer_config.json: chat_template' };
}

/**
 * Checks what the tokenizer library takes on trust: ids in range, each for one token.
 * @returns `json` with `added_tokens` present.
 */
export function checkTokenizerJson(json: unknown, source: string): TokenizerFiles['tokenizer'] {
  const { model, added_tokens } = validate(tokenizerJsonSchema, json, source);
  const tokens = vocabularyEntries(model.vocab, source);
  const byId = new Map<number, string>();
  const ids = new Map<string, number>();
  const claim = (token: string, id: unknown, field: string) => {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= MAX_ID) {
      const expected = `an id from 0 to ${MAX_ID - 1}`;
      throw new InputError({ source, field: `${field}["${token}"]`, expected, found: JSON.stringify(id) });
    }
    const other = byId.get(id);
    if (other !== undefined && other !== token) {
      const found = `"${other}" and "${token}"`;
      throw new InputError({ source, field, expected: `one token with the id ${id}`, found });
    }
    const before = ids.get(token);
    if (before !== undefined && before !== id) {
      throw new InputError({
        source,
        field,
        expected: `one id for "${token}"`,
        found: `${before} and ${id}`,
      });
    }
    byId.set(id, token);
    ids.set(token, id);
  };
  for (const [token, id] of tokens) claim(token, id, 'model.vocab');
  for (const { content, id } of added_tokens ?? []) claim(content, id, 'added_tokens');
  // The model as it was: the library looks at which keys are there.
  return { ...(json as TokenizerFiles['tokenizer']), added_tokens: added_tokens ?? [] };
}

/**
 * `tokenizer` as it comes back from its file: the schema puts the fields of added tokens in an order of its own, which
 * those that were added in memory do not have.
 */
export function asLoaded(tokenizer: TokenizerFiles['tokenizer']): TokenizerFiles['tokenizer'] {
  return { ...tokenizer, added_tokens: addedTokensSchema.parse(tokenizer.added_tokens ?? []) };
}

/** Token and id of each vocabulary entry: an object in most models, a list of token and score in Unigram. */
function vocabularyEntries(vocab: unknown, source: string): [string, unknown][] {
  if (Array.isArray(vocab)) {
    return vocab.map((pair: unknown, id) => {
      const token: unknown = Array.isArray(pair) ? pair[0] : undefined;
      if (typeof token === 'string') return [token, id];
      const expected = 'pairs of token and score';
      throw new InputError({ source, field: `model.vocab[${id}]`, expected, found: JSON.stringify(pair) });
    });
  }
  if (typeof vocab === 'object' && vocab !== null) return Object.entries(vocab);
  const found = vocab === undefined ? 'nothing' : JSON.stringify(vocab);
  throw new InputError({ source, field: 'model.vocab', expected: 'an object of token and id', found });
}

/** The highest id + 1, added tokens included. */
export function vocabularySize({ model, added_tokens }: TokenizerFiles['tokenizer']): number {
  let highest = -1;
  for (const [, id] of vocabularyEntries(model.vocab, 'tokenizer.json'))
    highest = Math.max(highest, id as number);
  for (const { id } of added_tokens ?? []) highest = Math.max(highest, id);
  return highest + 1;
}
