/**
 * Merges the files of a folder into one tokenizer, as `AutoTokenizer` of transformers 5.24 does
 * (docs/decisions/008-tokenizer-files.md). The `tokenizer.json` of the result contains everything.
 */
import { InputError } from '../run/errors.js';
import {
  type AddedToken,
  AddedTokens,
  asAddedToken,
  contentOf,
  type GivenToken,
  type NumberedToken,
} from './added-tokens.js';
import { type PipelineClass, pipelineClass, withClassPipeline } from './class-pipelines.js';
import {
  type FolderFiles,
  isAsWritten,
  SPECIAL_TOKEN_ROLES,
  type SpecialTokenRole,
  type TokenizerConfig,
  type TokenizerFiles,
  vocabularyEntries,
} from './files.js';

/**
 * @param asWritten whether to use the pipeline of `tokenizer.json`, regardless of the class that the folder specifies.
 * @returns the tokenizer, and notes on how it differs from `tokenizer.json`.
 * @throws InputError if the files contradict each other.
 */
export function mergeFiles(
  files: FolderFiles,
  folder: string,
  asWritten: boolean,
): { files: TokenizerFiles; notes: string[] } {
  const pipeline = asWritten || isAsWritten(files.config) ? undefined : pipelineClass(files, folder);
  const config = mergedConfig(files);
  refuseSplitting(config, folder);
  const defaults = defaultRoles(files, pipeline);
  const declared = declaredTokens(files, config, defaults, folder);
  const special = specialTokens(config, declared, defaults);
  const vocabulary = new Map(vocabularyEntries(files.tokenizer.model.vocab, folder) as [string, number][]);
  const added = new AddedTokens(vocabulary, modelSize(files));
  if (pipeline === undefined) added.add(files.tokenizer.added_tokens ?? []);
  addDeclared(added, declared, special, folder);
  const contents = [...special.named.values(), ...special.extra].map(contentOf);
  if (pipeline?.plainSpecials) added.add(contents.map((content) => asAddedToken(content, { special: true })));

  const list = added.list();
  const named = Object.fromEntries([...special.named].map(([name, token]) => [name, contentOf(token)]));
  const ids = new Map([...vocabulary, ...list.map(({ content, id }) => [content, id] as const)]);
  const tokenizer =
    pipeline === undefined
      ? files.tokenizer
      : withClassPipeline(files.tokenizer, pipeline, config, named, (token) => ids.get(token));
  return {
    files: {
      tokenizer: { ...tokenizer, added_tokens: list },
      config: savedConfig(files, config, named, list),
      named,
      templates: files.templates,
    },
    notes: pipeline === undefined ? [] : changes(files.tokenizer, tokenizer, pipeline),
  };
}

function refuseSplitting({ split_special_tokens }: TokenizerConfig, folder: string): void {
  if (!split_special_tokens) return;
  throw new InputError({
    source: `${folder}/tokenizer_config.json`,
    field: 'split_special_tokens',
    expected: 'false',
    found: 'true, which would split special tokens in a prompt like other text',
  });
}

/** Counts entries rather than ids, as the library does. A vocabulary may have gaps. */
function modelSize({ tokenizer }: FolderFiles): number {
  const { vocab } = tokenizer.model;
  return Array.isArray(vocab) ? vocab.length : Object.keys(vocab as object).length;
}

/** The configuration. If it has no `added_tokens_decoder`, `special_tokens_map.json` takes precedence. */
function mergedConfig({ config, specialTokensMap }: FolderFiles): TokenizerConfig {
  const own = withExtraTokens(config);
  if (own.added_tokens_decoder !== undefined || specialTokensMap === undefined) return own;
  const { extra_special_tokens: more, ...others } = specialTokensMap;
  const merged: TokenizerConfig = { ...own, ...others };
  if (Array.isArray(more)) {
    const known = extraTokens(own);
    const names = new Set(known.map(contentOf));
    merged.extra_special_tokens = [...known, ...more.filter((token) => !names.has(contentOf(token)))];
  } else if (more !== undefined && more !== null) merged.extra_special_tokens = more;
  return withExtraTokens(merged);
}

/** Uses `additional_special_tokens`, the old name of `extra_special_tokens`, if the latter is empty. */
function withExtraTokens(config: TokenizerConfig): TokenizerConfig {
  const { additional_special_tokens: old, extra_special_tokens: extra } = config;
  const empty = extra === undefined || extra === null || (Array.isArray(extra) && extra.length === 0);
  return old && empty ? { ...config, extra_special_tokens: old } : config;
}

const extraTokens = ({ extra_special_tokens: extra }: TokenizerConfig): GivenToken[] =>
  Array.isArray(extra) ? extra : [];

const isRole = (name: string): name is SpecialTokenRole =>
  (SPECIAL_TOKEN_ROLES as readonly string[]).includes(name);

/** Special tokens with names that the model defines, such as `image_token`. */
function ownNames(config: TokenizerConfig): [string, GivenToken][] {
  const isToken = (value: unknown): value is GivenToken =>
    typeof value === 'string' || (typeof value === 'object' && value !== null && '__type' in value);
  const fields = Object.entries(config).filter(
    (entry): entry is [string, GivenToken] =>
      entry[0].endsWith('_token') && !isRole(entry[0]) && isToken(entry[1]),
  );
  const { extra_special_tokens: extra } = config;
  return extra && !Array.isArray(extra) ? [...fields, ...Object.entries(extra)] : fields;
}

type Roles = Partial<Record<SpecialTokenRole, string>>;

/** Defaults for roles that no file sets: those of the class, and the token of `padding` in `tokenizer.json`. */
function defaultRoles({ tokenizer }: FolderFiles, pipeline: PipelineClass | undefined): Roles {
  const padding = pipeline?.ownPadding ? undefined : tokenizer.padding?.pad_token;
  return { ...pipeline?.roles, ...(padding !== undefined && { pad_token: padding }) };
}

/** Tokens in order of id, each with the file that it comes from. */
type Declared = Map<number, { token: AddedToken; file: string }>;

/** The added tokens of all files. Those of `tokenizer.json` count, because a class builds its pipeline without them. */
function declaredTokens(
  files: FolderFiles,
  config: TokenizerConfig,
  defaults: Roles,
  folder: string,
): Declared {
  const own = files.tokenizer.added_tokens ?? [];
  const named = new Set(
    [
      ...SPECIAL_TOKEN_ROLES.map((role) => (config[role] === undefined ? defaults[role] : config[role])),
      ...ownNames(config).map(([, token]) => token),
    ].flatMap((token) => (token ? [contentOf(token)] : [])),
  );
  const asNamed = (token: GivenToken): AddedToken =>
    named.has(contentOf(token)) ? specialToken(token) : asAddedToken(token);
  const entries: [number, { token: AddedToken; file: string }][] = [];
  const { added_tokens_decoder: decoder } = files.config;
  if (decoder !== undefined) {
    for (const [id, token] of Object.entries(decoder)) {
      entries.push([Number(id), { token: asNamed(token), file: 'tokenizer_config.json' }]);
    }
  } else {
    const special = new Set(
      [...SPECIAL_TOKEN_ROLES.flatMap((role) => config[role] ?? []), ...extraTokens(config)].map(contentOf),
    );
    for (const [content, id] of Object.entries(files.addedTokens ?? {})) {
      for (const other of own) {
        const clash = (other.id === id) !== (other.content === content);
        if (clash) refuse(folder, 'added_tokens.json', { id, content }, other);
      }
      const token = asAddedToken(content, { special: special.has(content) });
      entries.push([id, { token, file: 'added_tokens.json' }]);
    }
    for (const { id, ...token } of own) entries.push([id, { token: asNamed(token), file: 'tokenizer.json' }]);
  }
  return new Map(entries.sort(([a], [b]) => a - b));
}

/** Marks a token special, regardless of its flag. */
const specialToken = (token: GivenToken): AddedToken =>
  asAddedToken(typeof token === 'string' ? { content: token, special: true } : { ...token, special: true });

interface SpecialTokens {
  /** Tokens by role or by a name that the model defines, in the order in which they are added. */
  named: Map<string, GivenToken>;
  extra: GivenToken[];
}

function specialTokens(config: TokenizerConfig, declared: Declared, defaults: Roles): SpecialTokens {
  const byContent = new Map([...declared.values()].map(({ token }) => [token.content, token]));
  const named = new Map<string, GivenToken>();
  for (const role of SPECIAL_TOKEN_ROLES) {
    const given = config[role];
    if (given) named.set(role, byContent.get(contentOf(given)) ?? given);
    // Null removes the default.
    else if (given === undefined && defaults[role]) named.set(role, defaults[role]);
  }
  for (const [name, token] of ownNames(config)) named.set(name, token);
  return { named, extra: extraTokens(config) };
}

/** Adds the declared tokens. @throws InputError if the library would give one of them a different id. */
function addDeclared(added: AddedTokens, declared: Declared, special: SpecialTokens, folder: string): void {
  const tokens = [...declared.values()].map(({ token }) => token);
  const known = new Set([...added.list(), ...tokens].map(({ content }) => content));
  const missing = (token: GivenToken): boolean => {
    const content = contentOf(token);
    if (content === '' || known.has(content)) return false;
    known.add(content);
    return true;
  };
  const named = [...special.named.values()].filter(missing).map(specialToken);
  const extra = special.extra.filter(missing).map((token) => asAddedToken(token, { special: true }));
  const ids = added.add([...tokens, ...named, ...extra]);
  for (const [i, [id, { token, file }]] of [...declared].entries()) {
    if (ids[i] === id) continue;
    const other = added.list().find((one) => one.id === id) ?? { ...token, id: ids[i] as number };
    refuse(folder, file, { id, content: token.content }, other);
  }
}

type Numbered = Pick<NumberedToken, 'id' | 'content'>;

function refuse(folder: string, file: string, token: Numbered, other: Numbered): never {
  const same = token.content === other.content;
  const reference = file === 'tokenizer.json' ? 'its vocabulary' : `${folder}/tokenizer.json`;
  throw new InputError({
    source: `${folder}/${file}`,
    field:
      { 'added_tokens.json': token.content, 'tokenizer.json': 'added_tokens' }[file] ??
      `added_tokens_decoder["${token.id}"]`,
    expected: same
      ? `the id ${other.id}, which "${token.content}" gets based on ${reference}`
      : `"${other.content}", which gets the id ${token.id} based on ${reference}`,
    found: same ? String(token.id) : `"${token.content}"`,
    ...(file !== 'tokenizer.json' && { remedy: 'Take both files from the same model.' }),
  });
}

/** The configuration to save. It repeats added tokens if readers would otherwise need files that are not written. */
function savedConfig(
  { config, specialTokensMap, addedTokens }: FolderFiles,
  merged: TokenizerConfig,
  named: Readonly<Record<string, string>>,
  list: readonly NumberedToken[],
): TokenizerConfig {
  const saved: TokenizerConfig = { ...merged };
  for (const role of SPECIAL_TOKEN_ROLES) {
    if (named[role] !== undefined) saved[role] = named[role];
    else if (merged[role] !== undefined) saved[role] = null;
  }
  const elsewhere = config.added_tokens_decoder ?? specialTokensMap ?? addedTokens;
  if (elsewhere !== undefined) {
    saved.added_tokens_decoder = Object.fromEntries(list.map(({ id, ...token }) => [id, token]));
  }
  return saved;
}

const PARTS = ['normalizer', 'pre_tokenizer', 'decoder'] as const;

/** Settings that change neither ids nor text. */
const IDLE: Record<string, readonly string[]> = {
  pre_tokenizer: ['trim_offsets'],
  decoder: ['trim_offsets', 'add_prefix_space', 'use_regex'],
};

function changes(before: object, after: object, { name }: PipelineClass): string[] {
  const shown = (tokenizer: object, part: string) =>
    JSON.stringify((tokenizer as Record<string, unknown>)[part] ?? null, (key, value: unknown) =>
      IDLE[part]?.includes(key) ? undefined : value,
    );
  const changed = PARTS.filter((part) => shown(before, part) !== shown(after, part));
  if (changed.length === 0) return [];
  return [
    `tokenizer.json: AutoTokenizer reads this folder with ${name}, which has its own ${changed.join(', ')}. Those in the file are not used.`,
  ];
}
