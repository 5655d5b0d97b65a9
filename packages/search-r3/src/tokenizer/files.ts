/**
 * The files of a tokenizer in a Hugging Face folder. Only `tokenizer.json` is required. `merging.ts` merges the files
 * into one tokenizer. Unknown fields are kept and saved again.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { readIfThere, readJson, readText, writeFileAtomic, writeJsonAtomic } from '../run/files.js';
import { validate } from '../run/validate.js';
import {
  addedTokenSchema,
  MAX_ID,
  type NumberedToken,
  numberedTokenSchema,
  tokenSchema,
} from './added-tokens.js';

const tokenizerJsonSchema = z.looseObject({
  added_tokens: z.array(numberedTokenSchema).nullish(),
  padding: z.looseObject({ pad_token: z.string().optional() }).nullish(),
  model: z.looseObject({
    type: z.string().nullish(),
    vocab: z.unknown().optional(),
    merges: z.unknown().optional(),
  }),
});

/** The roles of special tokens, in the order in which transformers adds them. */
export const SPECIAL_TOKEN_ROLES = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const;

export type SpecialTokenRole = (typeof SPECIAL_TOKEN_ROLES)[number];

/** The variables that every template gets; `TemplateVariables` cannot replace them. */
export const TEMPLATE_GIVEN: readonly string[] = [
  'messages',
  'tools',
  'documents',
  'add_generation_prompt',
  ...SPECIAL_TOKEN_ROLES,
];

const roles = Object.fromEntries(SPECIAL_TOKEN_ROLES.map((role) => [role, tokenSchema.nullish()])) as Record<
  SpecialTokenRole,
  z.ZodOptional<z.ZodNullable<typeof tokenSchema>>
>;

const specialTokensSchema = z.looseObject({
  ...roles,
  additional_special_tokens: z.array(tokenSchema).nullish(),
  extra_special_tokens: z.union([z.array(tokenSchema), z.record(z.string(), tokenSchema)]).nullish(),
});

const tokenizerConfigSchema = specialTokensSchema.extend({
  added_tokens_decoder: z.record(z.string().regex(/^\d+$/, 'expected an id'), addedTokenSchema).optional(),
  tokenizer_class: z.string().nullish(),
  add_prefix_space: z.boolean().nullish(),
  legacy: z.boolean().nullish(),
  split_special_tokens: z.boolean().nullish(),
  /** One template, or several with names. */
  chat_template: z
    .union([
      z.string(),
      z.array(z.looseObject({ name: z.string(), template: z.string() })),
      z.record(z.string(), z.string()),
    ])
    .nullish(),
});

/** The fields of `config.json` that decide how the tokenizer is read. */
const modelConfigSchema = z.looseObject({
  model_type: z.string().nullish(),
  tokenizer_class: z.string().nullish(),
});

export type TokenizerJson = z.output<typeof tokenizerJsonSchema>;
export type TokenizerConfig = z.output<typeof tokenizerConfigSchema>;

/** The contents of each file, before merging. */
export interface FolderFiles {
  tokenizer: TokenizerJson;
  config: TokenizerConfig;
  specialTokensMap: z.output<typeof specialTokensSchema> | undefined;
  /** `added_tokens.json`: the id of each token. */
  addedTokens: Record<string, number> | undefined;
  model: z.output<typeof modelConfigSchema> | undefined;
  templates: TemplateFiles;
}

/** Chat templates in separate files. They take precedence over the configuration. */
export interface TemplateFiles {
  /** `chat_template.jinja`. */
  main?: string | undefined;
  /** `additional_chat_templates/*.jinja`, by name. */
  additional?: Record<string, string> | undefined;
}

/** A merged tokenizer. Its JSON objects are replaced, never modified. */
export interface TokenizerFiles {
  /** `tokenizer.json` with every added token. */
  tokenizer: TokenizerJson & { added_tokens: NumberedToken[] };
  config: TokenizerConfig;
  /** Special tokens by name: roles, and names that the model defines, such as `image_token`. */
  named: Readonly<Record<string, string>>;
  templates: TemplateFiles;
}

const TEMPLATE_FILE = 'chat_template.jinja';
const TEMPLATE_FOLDER = 'additional_chat_templates';
const TEMPLATE_ENDING = '.jinja';

/** Reads the files of `folder`. @throws InputError that names the file and the missing or invalid field. */
export async function readTokenizerFiles(folder: string): Promise<FolderFiles> {
  const path = join(folder, 'tokenizer.json');
  await refuseSlowTokenizer(folder);
  const tokenizer = checkTokenizerJson(await readJson(path), path);
  const optional = <T>(name: string, schema: z.ZodType<T>): Promise<T | undefined> =>
    readIfThere(join(folder, name), async (at) => validate(schema, await readJson(at), at));
  return {
    tokenizer,
    config: (await optional('tokenizer_config.json', tokenizerConfigSchema)) ?? {},
    specialTokensMap: await optional('special_tokens_map.json', specialTokensSchema),
    addedTokens: await optional('added_tokens.json', z.record(z.string(), z.int().nonnegative().max(MAX_ID))),
    model: await optional('config.json', modelConfigSchema),
    templates: await readTemplates(folder),
  };
}

/** The files of a folder that has only these two. @throws InputError as `readTokenizerFiles`. */
export function asFolderFiles(json: { tokenizer: unknown; config: unknown }, folder: string): FolderFiles {
  return {
    tokenizer: checkTokenizerJson(json.tokenizer, join(folder, 'tokenizer.json')),
    config: validate(tokenizerConfigSchema, json.config, join(folder, 'tokenizer_config.json')),
    specialTokensMap: undefined,
    addedTokens: undefined,
    model: undefined,
    templates: {},
  };
}

/** Files from which transformers can create a `tokenizer.json`. */
const SLOW_FILES = ['tokenizer.model', 'vocab.json'];

/** @throws InputError if a folder has one of `SLOW_FILES` instead of `tokenizer.json`. */
async function refuseSlowTokenizer(folder: string): Promise<void> {
  const names = await readdir(folder).catch((): string[] => []);
  const found = names.includes('tokenizer.json')
    ? undefined
    : SLOW_FILES.find((name) => names.includes(name));
  if (found === undefined) return;
  throw new InputError({
    source: join(folder, 'tokenizer.json'),
    expected: 'a readable file',
    found: `only ${found}`,
    remedy: 'Write it with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER).',
  });
}

async function readTemplates(folder: string): Promise<TemplateFiles> {
  const main = await readIfThere(join(folder, TEMPLATE_FILE), readText);
  const names = await readIfThere(join(folder, TEMPLATE_FOLDER), (at) => readdir(at));
  const files = (names ?? []).filter((name) => name.endsWith(TEMPLATE_ENDING)).sort();
  const additional: Record<string, string> = {};
  for (const name of files) {
    additional[name.slice(0, -TEMPLATE_ENDING.length)] = await readText(join(folder, TEMPLATE_FOLDER, name));
  }
  return { main, ...(files.length > 0 && { additional }) };
}

/** Writes each file atomically. `readTokenizerFiles` and `mergeFiles` restore an equal tokenizer from them. */
export async function writeTokenizerFiles(folder: string, files: TokenizerFiles): Promise<void> {
  const { tokenizer, config, templates } = files;
  await writeJsonAtomic(join(folder, 'tokenizer.json'), tokenizer);
  await writeJsonAtomic(join(folder, 'tokenizer_config.json'), { ...config, ...AS_WRITTEN });
  if (templates.main !== undefined) await writeFileAtomic(join(folder, TEMPLATE_FILE), templates.main);
  for (const [name, text] of Object.entries(templates.additional ?? {})) {
    await writeFileAtomic(join(folder, TEMPLATE_FOLDER, name + TEMPLATE_ENDING), text);
  }
}

/** Marks a `tokenizer.json` that contains the whole pipeline, regardless of `tokenizer_class`. */
const AS_WRITTEN = { search_r3: { pipeline: 'tokenizer.json' } };

/** Whether `writeTokenizerFiles` wrote these files. */
export function isAsWritten({ search_r3 }: TokenizerConfig): boolean {
  return JSON.stringify(search_r3) === JSON.stringify(AS_WRITTEN.search_r3);
}

/** The chat template in use and its file; undefined if there is none. */
export function chatTemplate({
  config,
  templates,
}: Pick<TokenizerFiles, 'config' | 'templates'>): { text: string; file: string } | undefined {
  if (templates.main !== undefined) return { text: templates.main, file: TEMPLATE_FILE };
  if (templates.additional !== undefined) {
    const text = templates.additional.default;
    return text === undefined ? undefined : { text, file: `${TEMPLATE_FOLDER}/default${TEMPLATE_ENDING}` };
  }
  const given = config.chat_template;
  const text =
    typeof given === 'string'
      ? given
      : Array.isArray(given)
        ? given.find(({ name }) => name === 'default')?.template
        : given?.default;
  return text === undefined ? undefined : { text, file: 'tokenizer_config.json: chat_template' };
}

/**
 * Checks what the library does not check: each id is in range and belongs to only one token.
 * @returns `json`, always with `added_tokens`.
 */
export function checkTokenizerJson(json: unknown, source: string): TokenizerFiles['tokenizer'] {
  const { model, added_tokens } = validate(tokenizerJsonSchema, json, source);
  const byId = new Map<number, string>();
  const ids = new Map<string, number>();
  const claim = (token: string, id: unknown, field: string) => {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > MAX_ID) {
      const expected = `an id from 0 to ${MAX_ID}`;
      throw new InputError({ source, field: `${field}["${token}"]`, expected, found: JSON.stringify(id) });
    }
    const other = byId.get(id);
    if (other !== undefined && other !== token) {
      const found = `"${other}" and "${token}"`;
      throw new InputError({ source, field, expected: `one token with the id ${id}`, found });
    }
    const before = ids.get(token);
    if (before !== undefined && before !== id) {
      const found = `${before} and ${id}`;
      throw new InputError({ source, field, expected: `one id for "${token}"`, found });
    }
    byId.set(id, token);
    ids.set(token, id);
  };
  // In a list, the position is the id. If a token occurs twice, the last position counts.
  const entries = vocabularyEntries(model.vocab, source);
  if (Array.isArray(model.vocab)) for (const [token, id] of entries) ids.set(token, id as number);
  else for (const [token, id] of entries) claim(token, id, 'model.vocab');
  for (const { content, id } of added_tokens ?? []) claim(content, id, 'added_tokens');
  // The model is not changed, because the library checks which keys exist.
  return { ...(json as TokenizerFiles['tokenizer']), added_tokens: added_tokens ?? [] };
}

/**
 * `tokenizer` as it will be read back. The schema sets the order of the fields of added tokens; tokens that were added
 * in memory may have a different order.
 */
export function asLoaded(tokenizer: TokenizerFiles['tokenizer']): TokenizerJson {
  return { ...tokenizer, added_tokens: tokenizerJsonSchema.shape.added_tokens.parse(tokenizer.added_tokens) };
}

/** The token and id of each vocabulary entry. Most models have an object; Unigram has a list of tokens and scores. */
export function vocabularyEntries(vocab: unknown, source: string): [string, unknown][] {
  if (Array.isArray(vocab)) {
    return vocab.map((pair: unknown, id) => {
      const token: unknown = Array.isArray(pair) ? pair[0] : undefined;
      if (typeof token === 'string') return [token, id];
      const expected = 'a pair of token and score';
      throw new InputError({ source, field: `model.vocab[${id}]`, expected, found: JSON.stringify(pair) });
    });
  }
  if (typeof vocab === 'object' && vocab !== null) return Object.entries(vocab);
  const found = vocab === undefined ? 'nothing' : JSON.stringify(vocab);
  throw new InputError({
    source,
    field: 'model.vocab',
    expected: 'an object that maps tokens to ids',
    found,
  });
}
