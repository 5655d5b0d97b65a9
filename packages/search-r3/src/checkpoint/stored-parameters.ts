/**
 * Matches stored tensors to parameters as `from_pretrained` of transformers 5.24 does (`core_model_loading.py`, and
 * `tie_weights` of `modeling_utils.py`): names with or without the prefix of the base model, tied heads, and tensors
 * that are not parameters.
 */
import { InputError } from '../run/errors.js';
import type { ModelConfig } from './config.js';
import { EMBEDDING_NAME, elementCount, HEAD_NAME, parameterShapes } from './parameters.js';
import type { TensorSource } from './safetensors.js';

const PREFIX = 'model.';

/** Old files contain the rotary table of each layer, although it follows from the configuration. */
const ROTARY_TABLE = /rotary_emb\.inv_freq/;

export interface StoredParameters {
  /** The name of the stored tensor of each parameter of `parameterShapes(config)`. */
  places: ReadonlyMap<string, string>;
  /** With an untied head if a tied one is stored with values of its own. */
  config: ModelConfig;
  /** Notes for the user about tensors that were ignored. */
  notes: string[];
}

/** Where a configuration comes from. */
export interface ConfigOrigin {
  /** The path of the model. */
  source: string;
  /** What declares the shapes. */
  shapesFrom: 'config.json' | 'metadata';
  /** Sizes that it leaves out: the first suspects if a shape is wrong. Default: none. */
  leftOut?: readonly string[];
}

/**
 * Finds the parameters of `config` among the stored tensors.
 * @throws InputError if one is missing, or has the wrong shape or an unsupported dtype.
 */
export async function findParameters(
  source: TensorSource,
  config: ModelConfig,
  origin: ConfigOrigin,
): Promise<StoredParameters> {
  // A tied model may still have a stored head.
  const shapes = parameterShapes({ ...config, tieWordEmbeddings: false });
  const { places, extra, notes } = matchNames([...source.entries.keys()], shapes);
  notes.unshift(...source.notes);
  const head = places.get(HEAD_NAME);
  if (config.tieWordEmbeddings && head !== undefined && !places.has(EMBEDDING_NAME)) {
    places.set(EMBEDDING_NAME, head);
  }
  const needed = [...parameterShapes(config).keys()];
  refuseMissing(needed, places, extra, config, origin);
  for (const [name, shape] of shapes) {
    const place = places.get(name);
    if (place === undefined) continue;
    refuseShape(name, source.entries.get(place)?.shape ?? [], shape, origin);
    source.check(place);
  }
  if (extra.length > 0) {
    const verb = extra.length === 1 ? 'tensor is not a parameter' : 'tensors are not parameters';
    notes.push(
      `${extra.length} stored ${verb} of a ${config.architecture} with this ${origin.shapesFrom}, and ignored: ${listed(extra)}.`,
    );
  }
  let actual = config;
  const embedding = places.get(EMBEDDING_NAME);
  if (config.tieWordEmbeddings && head !== undefined && embedding !== undefined) {
    if (head === embedding || (await equal(source, head, embedding))) places.delete(HEAD_NAME);
    else {
      actual = untied(config);
      notes.push(
        `config.json ties the output head to the embedding, but ${head} is stored with other values: ` +
          'it is used, and the two are not tied.',
      );
    }
  }
  return { places, config: actual, notes };
}

const untied = (config: ModelConfig): ModelConfig => ({
  ...config,
  tieWordEmbeddings: false,
  raw: { ...config.raw, tie_word_embeddings: false },
});

/** The parameters that the stored names refer to, and the names that refer to none. */
function matchNames(
  names: string[],
  shapes: ReadonlyMap<string, unknown>,
): { places: Map<string, string>; extra: string[]; notes: string[] } {
  const places = new Map<string, string>();
  const extra: string[] = [];
  const notes: string[] = [];
  for (const name of names.sort()) {
    const parameter = parameterOf(name, shapes);
    if (parameter === undefined) {
      if (!ROTARY_TABLE.test(name)) extra.push(name);
      continue;
    }
    const earlier = places.get(parameter);
    if (earlier === undefined) places.set(parameter, name);
    else notes.push(`${earlier} and ${name} are the same parameter: the former is used.`);
  }
  return { places, extra, notes };
}

/** Removes an extra base-model prefix, or adds a missing one. */
function parameterOf(name: string, shapes: ReadonlyMap<string, unknown>): string | undefined {
  const shorter = name.startsWith(PREFIX) ? name.slice(PREFIX.length) : undefined;
  return [shorter, `${PREFIX}${name}`, name].find((one) => one !== undefined && shapes.has(one));
}

function listed(names: readonly string[]): string {
  return names.slice(0, 8).join(', ') + (names.length > 8 ? `, ... (${names.length} in all)` : '');
}

const suspect = ({ leftOut = [] }: ConfigOrigin) =>
  leftOut.length === 0
    ? {}
    : { remedy: `config.json leaves out ${leftOut.join(', ')}: these defaults may be wrong for this model.` };

function refuseMissing(
  needed: readonly string[],
  places: ReadonlyMap<string, string>,
  extra: readonly string[],
  config: ModelConfig,
  origin: ConfigOrigin,
): void {
  const missing = needed.filter((name) => !places.has(name));
  const [first] = missing;
  if (first === undefined) return;
  const renamed = extra.find((name) => name.endsWith(`.${first}`));
  const onlyHead = missing.length === 1 && first === HEAD_NAME;
  throw new InputError({
    source: origin.source,
    field: 'tensors',
    expected: `the ${needed.length} of a ${config.architecture} of ${config.layers} layers`,
    found: `${listed(missing)} missing${extra.length > 0 ? `; ${listed(extra)} unexpected` : ''}`,
    ...suspect(origin),
    ...(renamed !== undefined && {
      remedy: `${renamed} seems to be ${first} under another prefix: rename the tensors, or export the model again.`,
    }),
    ...(onlyHead && {
      remedy: 'If the head is the embedding, config.json must say tie_word_embeddings: true.',
    }),
  });
}

function refuseShape(
  field: string,
  found: readonly number[],
  wanted: readonly number[],
  origin: ConfigOrigin,
): void {
  if (found.join() === wanted.join()) return;
  const text = (dimensions: readonly number[]) => `[${dimensions.join(', ')}]`;
  const expected = `${text(wanted)}, from ${origin.shapesFrom}`;
  throw new InputError({ source: origin.source, field, expected, found: text(found), ...suspect(origin) });
}

/** Elements compared at once. */
const PIECE = 1 << 22;

/** Whether two tensors of one shape hold the same numbers; NaN equals NaN. */
async function equal(source: TensorSource, a: string, b: string): Promise<boolean> {
  const count = elementCount(source.entries.get(a)?.shape ?? []);
  const [left, right] = [new Float32Array(Math.min(PIECE, count)), new Float32Array(Math.min(PIECE, count))];
  for (let at = 0; at < count; at += PIECE) {
    const length = Math.min(PIECE, count - at);
    const [x, y] = [left.subarray(0, length), right.subarray(0, length)];
    await source.readInto(a, at, x);
    await source.readInto(b, at, y);
    if (!x.every((value, i) => value === y[i] || (Number.isNaN(value) && Number.isNaN(y[i])))) return false;
  }
  return true;
}
