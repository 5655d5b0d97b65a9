/**
 * Loads the config of a command: the YAML file (a resumed run uses its own), then flags, then `--set`; later ones win.
 * The merged config is checked against the command's schema. Errors name the file and line, or the flag, that set the
 * value.
 */
import { join } from 'node:path';
import type { Command } from 'commander';
import { LineCounter, parse, parseDocument } from 'yaml';
import type { z } from 'zod';
import { InputError } from '../run/errors.js';
import { exists, readText } from '../run/files.js';
import { isRunConfig, isRunFolder, RUN_CONFIG } from '../run/run-folder.js';
import { nodesAt, type SchemaNode } from '../run/schema-tree.js';
import { validate } from '../run/validate.js';
import { configFlagsOf } from './options.js';
import { promptsFrom } from './prompt-file.js';

type Path = readonly PropertyKey[];

/** One origin of settings: the paths it sets, and its name in errors. */
interface Layer {
  touches(path: Path): boolean;
  name(path: Path): string;
}

/** A setting given on the command line. */
interface Setting {
  /** How the user gave it, for example `--steps` or `--set sft.temperature`. */
  source: string;
  key: string;
  value: unknown;
}

/**
 * Reads, merges and checks the settings of a command made with `withConfig`.
 * @param config the file with settings. Default: that of `--config`.
 * @throws InputError
 */
export async function loadConfig<T>(
  command: Command,
  schema: z.ZodType<T>,
  config = command.opts<Flags>().config,
): Promise<T> {
  const { resume, out } = command.opts<Flags>();
  if (resume === true && out !== undefined && !(await exists(out))) {
    throw new InputError({ source: out, expected: 'a run to resume', found: 'nothing there' });
  }
  const resumed = config === undefined && resume === true && out !== undefined && (await isRunFolder(out));
  const path = resumed ? join(out, RUN_CONFIG) : config;
  const file = path === undefined ? undefined : parseConfig(path, await readText(path));
  return mergeConfig(
    schema,
    file && (await withPrompts(file)),
    await Promise.all(settingsGiven(command).map(named)),
  );
}

/** The file with the prompts that it names, if they are in a file of their own. */
async function withPrompts(file: ParsedFile): Promise<ParsedFile> {
  const value = file.value as Record<string, unknown>;
  if (typeof value.prompts !== 'string') return file;
  return { ...file, value: { ...value, prompts: await promptsFrom(value.prompts, file.name(['prompts'])) } };
}

/** A setting, or for prompts in a file of their own what they are. */
async function named(setting: Setting): Promise<Setting> {
  const { source, key, value } = setting;
  if (key !== 'prompts' || typeof value !== 'string' || value.includes(':')) return setting;
  return { ...setting, value: await promptsFrom(value, source) };
}

/** Settings from flags, then from `--set`, which wins. */
function settingsGiven(command: Command): Setting[] {
  const { set = [], promptFile } = command.opts<Flags>();
  const prompts =
    promptFile === undefined ? [] : [{ source: '--prompt-file', key: 'prompts', value: promptFile }];
  const flags = configFlagsOf(command)
    .filter(({ name }) => command.getOptionValueSource(name) === 'cli')
    .map(({ flag, name, key }) => ({ source: flag, key, value: command.getOptionValue(name) as unknown }));
  return [...flags, ...prompts, ...set.map(parseSet)];
}

/**
 * Makes an error that was found after loading name the flag, `--set` or file that gave the setting. Returns any other
 * error unchanged.
 *
 * @param source the source that such errors name: the config file, `settings`, or options of the library.
 * @param keyOf maps a field of the error to its setting. Default: the same name.
 */
export function asGiven(
  command: Command,
  error: unknown,
  source: string,
  keyOf = (field: string): string => field,
): unknown {
  if (!(error instanceof InputError)) return error;
  const { problem } = error;
  if (problem.source !== source || problem.field === undefined) return error;
  const { config = 'settings' } = command.opts<Flags>();
  const given = settingsGiven(command);
  const keys = problem.field.split(', ').map(keyOf);
  const sources = keys.map(
    (own) => given.findLast(({ key }) => own === key || own.startsWith(`${key}.`))?.source ?? config,
  );
  return new InputError({
    ...problem,
    source: [...new Set(sources)].join(', '),
    field: keys.join(', '),
  });
}

interface Flags {
  config?: string;
  set?: string[];
  promptFile?: string;
  resume?: boolean;
  out?: string;
}

interface ParsedFile extends Layer {
  value: unknown;
}

/** Parses settings from YAML. @throws InputError naming the line if the text is not valid YAML or not a mapping. */
export function parseConfig(source: string, text: string): ParsedFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const error = document.errors[0];
  if (error !== undefined) {
    const at = lines.linePos(error.pos[0]).line;
    const found = (error.message.split('\n')[0] ?? '').replace(/ at line \d+.*$/, '').replace(/[.:]$/, '');
    throw new InputError({ source: `${source}:${at}`, expected: 'valid YAML', found });
  }
  const value: unknown = document.toJS() ?? {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new InputError({
      source,
      expected: 'settings as "key: value" lines',
      found: JSON.stringify(value),
    });
  }
  // Fingerprints of data and models are the run's own notes, not settings.
  if (isRunConfig(text)) delete (value as { fingerprints?: unknown }).fingerprints;
  return {
    value,
    touches: (path) => document.hasIn(path),
    name: (path) => {
      const offset = keyOffset(document.contents, path);
      return offset === undefined ? source : `${source}:${lines.linePos(offset).line}`;
    },
  };
}

/** Offset in the text of the key at `path`, or of the list entry. */
function keyOffset(root: unknown, path: Path): number | undefined {
  let node = root as YamlNode | null;
  let offset: number | undefined;
  for (const key of path) {
    const items: YamlNode[] = node?.items ?? [];
    const item = items.find((entry, index) =>
      entry.key === undefined ? String(index) === String(key) : String(entry.key.value) === String(key),
    );
    if (item === undefined) return undefined;
    offset = (item.key ?? item).range?.[0];
    node = item.key === undefined ? item : (item.value as YamlNode | null);
  }
  return offset;
}

/** The parts of yaml's nodes and pairs used here. */
interface YamlNode {
  items?: YamlNode[];
  key?: { value?: unknown; range?: [number, number, number] };
  value?: unknown;
  range?: [number, number, number];
}

function parseSet(text: string): Setting {
  const equals = text.indexOf('=');
  if (equals < 1) {
    throw new InputError({ source: '--set', expected: 'key=value', found: JSON.stringify(text) });
  }
  const key = text.slice(0, equals);
  return { source: `--set ${key}`, key, value: text.slice(equals + 1) };
}

/** Applies `settings` in order over those of the file and validates the result. */
export function mergeConfig<T>(
  schema: z.ZodType<T>,
  file: ParsedFile | undefined,
  settings: readonly Setting[],
): T {
  const merged = structuredClone(file?.value ?? {}) as Record<string, unknown>;
  const layers: Layer[] = file === undefined ? [] : [file];
  for (const { source, key, value } of settings) {
    const path = key.split('.');
    if (path.includes('__proto__') || path.includes('')) {
      throw new InputError({ source, expected: 'a dotted key', found: JSON.stringify(key) });
    }
    setIn(merged, path, fromCommandLine(value, nodesAt(schema, path), source));
    layers.push({
      touches: (at) => path.every((part, i) => i >= at.length || part === String(at[i])),
      name: () => source,
    });
  }
  return validate(schema, merged, (path) => {
    const layer = layers.findLast(({ touches }) => touches(path)) ?? file;
    return layer?.name(path) ?? 'settings';
  });
}

function setIn(root: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let node = root;
  for (const key of path.slice(0, -1)) {
    const inner = Object.hasOwn(node, key) ? node[key] : undefined;
    if (typeof inner !== 'object' || inner === null) node[key] = {};
    node = node[key] as Record<string, unknown>;
  }
  node[path.at(-1) ?? ''] = value;
}

/** Parses a value from the command line as YAML, but keeps it as text if the schema expects text. */
function fromCommandLine(value: unknown, nodes: readonly SchemaNode[], source: string): unknown {
  if (Array.isArray(value)) {
    const items = nodes.flatMap((node) => node.items || []);
    return value.map((item) => fromCommandLine(item, items, source));
  }
  if (typeof value !== 'string') return value;
  const accepted = new Set(nodes.flatMap((node) => node.type ?? []));
  let parsed: unknown;
  try {
    parsed = parse(value);
  } catch {
    if (accepted.has('string')) return value;
    throw new InputError({ source, expected: 'a YAML value', found: JSON.stringify(value) });
  }
  return accepted.has('string') && !acceptsTypeOf(accepted, parsed) ? value : parsed;
}

function acceptsTypeOf(accepted: ReadonlySet<string>, value: unknown): boolean {
  if (value === null) return accepted.has('null');
  if (Array.isArray(value)) return accepted.has('array');
  if (typeof value === 'number') {
    return accepted.has('number') || (accepted.has('integer') && Number.isInteger(value));
  }
  return accepted.has(typeof value);
}
