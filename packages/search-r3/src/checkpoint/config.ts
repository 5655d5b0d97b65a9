/**
 * `config.json` of a Hugging Face folder, for the decoders this package builds: Llama, Qwen2 and Qwen3. Fields and
 * defaults are those of the configuration classes of transformers 5.24. Fields that ask for a computation this decoder
 * does not have are rejected (docs/decisions/010-model-folders.md).
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { readJson } from '../run/files.js';
import { validate } from '../run/validate.js';
import {
  type Architecture,
  DEFAULT_INITIALIZER_RANGE,
  DEFAULT_ROPE_THETA,
  DEFAULT_WINDOW,
  DEFAULT_WINDOW_LAYERS,
  LLAMA_IDS,
  QWEN_KV_HEADS,
  QWEN3_HEAD_DIM,
  withDefaults,
} from './config-defaults.js';
import { ARCHITECTURES, configSchema, type RawConfig } from './config-schema.js';
import { otherWeights } from './other-formats.js';
import { type Refuse, type RopeScaling, readRotary } from './rope-parameters.js';

export type { Architecture } from './config-defaults.js';
export type { RopeScaling } from './rope-parameters.js';

/** The shape of a decoder; the fields are the same for every architecture. */
export interface ModelConfig {
  readonly architecture: Architecture;
  /** Rows of the embedding; the tokenizer may use fewer. */
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Heads of keys and values; divides `heads`. */
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | null;
  /** Longest sequence, in tokens. */
  readonly maxPositions: number;
  /** The output head is the embedding itself; there is no `lm_head.weight`. */
  readonly tieWordEmbeddings: boolean;
  /** q, k and v projections have biases. */
  readonly attentionBias: boolean;
  /** The attention's output projection has a bias. */
  readonly outputBias: boolean;
  /** gate, up and down projections have biases. */
  readonly mlpBias: boolean;
  /** RMS norms on each head of q and k (Qwen3). */
  readonly qkNorm: boolean;
  /** Standard deviation of new weights. */
  readonly initializerRange: number;
  /** Special ids, as in the file; ids without a row in the embedding never occur. */
  readonly bosId: number | null;
  readonly eosIds: readonly number[];
  readonly padId: number | null;
  /** The JSON this was read from. Saving writes it back, with every field that is not used here. */
  readonly raw: Readonly<Record<string, unknown>>;
}

/** A configuration, and notes for the user on how the file was read. */
export interface ReadConfig {
  config: ModelConfig;
  notes: string[];
  /** Sizes missing from the file, as `name value`: the first suspects if the weights do not fit. */
  leftOut: string[];
}

const CLASS_NAMES: Record<Architecture, string> = { llama: 'Llama', qwen2: 'Qwen2', qwen3: 'Qwen3' };
const causalClass = (architecture: Architecture) => `${CLASS_NAMES[architecture]}ForCausalLM`;

/** Reads `config.json` of a folder. @throws InputError if anything is missing, invalid or unsupported. */
export async function loadConfig(folder: string): Promise<ModelConfig> {
  return (await readConfigFile(folder)).config;
}

/** `loadConfig` with its notes. */
export async function readConfigFile(folder: string): Promise<ReadConfig> {
  const path = join(folder, 'config.json');
  await refuseOtherFolder(folder);
  return readConfig(await readJson(path), path);
}

/** A hint for a folder that is not a model but contains these names: a run is often given instead of its model. */
export function modelInside(folder: string, names: readonly string[]): { remedy?: string } {
  return names.includes('model') ? { remedy: `Is it ${join(folder, 'model')}?` } : {};
}

/** @throws InputError for a folder without `config.json` that is recognised as something else. */
async function refuseOtherFolder(folder: string): Promise<void> {
  const names = await readdir(folder).catch((): string[] => []);
  if (names.includes('config.json')) return;
  const expected = 'a model folder, with config.json';
  const inside = modelInside(folder, names);
  if (inside.remedy !== undefined) {
    throw new InputError({ source: folder, expected, found: 'a folder with the folder model', ...inside });
  }
  if (names.includes('adapter_config.json')) {
    const remedy = 'Merge it into its base model first (merge_and_unload in peft).';
    throw new InputError({ source: folder, expected, found: 'a LoRA adapter', remedy });
  }
  const other = otherWeights(names.filter((name) => /^adapter_model\./.test(name)));
  if (other !== undefined) throw new InputError({ source: folder, expected, ...other });
}

/** A `ModelConfig` from the JSON of a `config.json`. @throws InputError naming `source` and the field. */
export function parseConfig(json: unknown, source = 'config.json'): ModelConfig {
  return readConfig(json, source).config;
}

/** `parseConfig` with its notes. */
export function readConfig(json: unknown, source: string): ReadConfig {
  const raw = validate(configSchema, json, source);
  const refuse: Refuse = (field, expected, found) =>
    new InputError({ source, field, expected, found: JSON.stringify(found) ?? 'nothing' });
  const notes: string[] = [];
  const architecture = raw.model_type ?? architectureOf(raw.architectures ?? [], source);
  refuseOtherModels(raw, refuse, source);
  const { leftOut, ...sizes } = withDefaults(raw, architecture);
  notes.push(...otherClasses(raw.architectures ?? [], architecture));

  const heads = sizes.num_attention_heads;
  const kvHeads = keyHeads(raw, architecture, heads);
  if (heads % kvHeads !== 0) {
    const field = raw.num_key_value_heads == null ? 'num_key_value_heads (left out)' : 'num_key_value_heads';
    throw refuse(field, `a divisor of the ${heads} attention heads`, kvHeads);
  }
  if (raw.head_dim == null && architecture !== 'qwen3' && sizes.hidden_size % heads !== 0) {
    throw refuse('hidden_size', `a multiple of the ${heads} attention heads`, sizes.hidden_size);
  }
  const headDim = raw.head_dim ?? (architecture === 'qwen3' ? QWEN3_HEAD_DIM : sizes.hidden_size / heads);
  if (headDim % 2 !== 0) throw refuse('head_dim', 'an even number, for rotary embedding', headDim);

  const positions = sizes.max_position_embeddings;
  const rotary = readRotary(raw, { maxPositions: positions, headDim }, refuse);
  const window = slidingWindow(raw, architecture, sizes.num_hidden_layers, refuse);
  notes.push(...rotary.notes, ...window.notes);
  const maxPositions = Math.min(positions, rotary.maxPositions ?? positions, window.width ?? positions);
  if (maxPositions < positions) {
    const why = (window.width ?? positions) === maxPositions ? 'its sliding window' : 'its rotary embedding';
    notes.push(
      `Sequences are limited to ${maxPositions} tokens, not the ${positions} of max_position_embeddings: ` +
        `${why} is not implemented for longer ones.`,
    );
  }
  if (raw.rope_theta == null && rotary.ropeTheta === DEFAULT_ROPE_THETA && !namesTheta(raw)) {
    leftOut.push(`rope_theta ${DEFAULT_ROPE_THETA}`);
  }
  if (leftOut.length > 0) {
    notes.push(
      `config.json leaves fields out; the defaults of transformers are used: ${leftOut.join(', ')}.`,
    );
  }
  // Not worth a note: they follow from other fields. Where a shape is wrong, they are suspect all the same.
  if (raw.num_key_value_heads == null) leftOut.push(`num_key_value_heads ${kvHeads}`);
  if (raw.head_dim == null && architecture === 'qwen3') leftOut.push(`head_dim ${headDim}`);

  const declaredBias = raw.attention_bias ?? false;
  const config: ModelConfig = {
    architecture,
    vocabSize: sizes.vocab_size,
    hiddenSize: sizes.hidden_size,
    intermediateSize: sizes.intermediate_size,
    layers: sizes.num_hidden_layers,
    heads,
    kvHeads,
    headDim,
    rmsNormEps: sizes.rms_norm_eps,
    ropeTheta: rotary.ropeTheta,
    ropeScaling: rotary.ropeScaling,
    maxPositions,
    tieWordEmbeddings: raw.tie_word_embeddings ?? false,
    // Qwen2 always has them on q, k and v, and never on the output.
    attentionBias: architecture === 'qwen2' || declaredBias,
    outputBias: architecture !== 'qwen2' && declaredBias,
    mlpBias: architecture === 'llama' && (raw.mlp_bias ?? false),
    qkNorm: architecture === 'qwen3',
    initializerRange: raw.initializer_range ?? DEFAULT_INITIALIZER_RANGE,
    ...specialIds(raw, architecture),
    raw:
      raw.model_type == null
        ? { ...(json as object), model_type: architecture }
        : (json as Record<string, unknown>),
  };
  return { config, notes, leftOut };
}

/** The architecture of a file without `model_type` follows from the class it names. */
function architectureOf(classes: readonly string[], source: string): Architecture {
  const found = ARCHITECTURES.find((name) => classes.some((text) => isClassOf(text, name)));
  if (found !== undefined) return found;
  throw new InputError({
    source,
    field: 'model_type',
    expected: 'one of the architectures llama, qwen2, qwen3',
    found: 'nothing',
  });
}

const isClassOf = (name: string, architecture: Architecture) =>
  new RegExp(`^${CLASS_NAMES[architecture]}(?:For[A-Z]\\w*|Model)$`).test(name);

/** Whatever class a file names, transformers loads the causal model of its `model_type`. */
function otherClasses(classes: readonly string[], architecture: Architecture): string[] {
  const known = [causalClass(architecture), `${CLASS_NAMES[architecture]}Model`];
  if (classes.length === 0 || classes.some((name) => known.includes(name))) return [];
  return [`config.json names the class ${classes.join(', ')}; it is loaded as ${causalClass(architecture)}.`];
}

function refuseOtherModels(raw: RawConfig, refuse: Refuse, source: string): void {
  if (raw.quantization_config != null) {
    const { quant_method: method, bits } = Object(raw.quantization_config) as Record<string, unknown>;
    const remedy = 'Use the model before quantisation, or write it out dequantised with transformers.';
    throw new InputError({
      source,
      field: 'quantization_config',
      expected: 'weights that are not quantised',
      found:
        method === undefined
          ? JSON.stringify(raw.quantization_config)
          : `${method}${bits === undefined ? '' : `, ${bits} bits`}`,
      remedy,
    });
  }
  if (raw.num_experts != null && raw.num_experts !== 0) {
    throw refuse('num_experts', 'a dense model', raw.num_experts);
  }
  if (raw.per_layer_config != null && Object.keys(Object(raw.per_layer_config)).length > 0) {
    throw refuse('per_layer_config', 'the same configuration for every layer', raw.per_layer_config);
  }
}

function keyHeads(raw: RawConfig, architecture: Architecture, heads: number): number {
  if (raw.num_key_value_heads != null) return raw.num_key_value_heads;
  return raw.num_key_value_heads === undefined && architecture !== 'llama' ? QWEN_KV_HEADS : heads;
}

/** Whether any field sets the rotary base, so that a value equal to the default comes from the file. */
const namesTheta = ({ rope_parameters, rope_scaling }: RawConfig) =>
  (rope_scaling?.rope_theta ?? rope_parameters?.rope_theta) != null;

/**
 * The size in tokens of the sliding window that some layers use. Sequences that fit into the window are computed as
 * usual. A window together with `use_sliding_window: false` is common, and means that there is none.
 */
function slidingWindow(
  raw: RawConfig,
  architecture: Architecture,
  layers: number,
  refuse: Refuse,
): { width?: number; notes: string[] } {
  // An earlier name.
  const given = raw.layer_types?.map((type) => (type === 'attention' ? 'full_attention' : type));
  if (given !== undefined && given.length !== layers) {
    throw refuse('layer_types', `one for each of the ${layers} layers`, given.length);
  }
  const other = given?.find((type) => type !== 'full_attention' && type !== 'sliding_attention');
  if (other !== undefined) throw refuse('layer_types', 'full_attention or sliding_attention', other);
  const isSliding = given?.includes('sliding_attention');
  if (architecture === 'llama') {
    const ignored = isSliding || raw.use_sliding_window === true;
    return { notes: ignored ? ['The sliding window of config.json is ignored: a Llama has none.'] : [] };
  }
  const width = raw.use_sliding_window === true ? windowWidth(raw) : null;
  const from = raw.max_window_layers ?? DEFAULT_WINDOW_LAYERS;
  if (!(isSliding ?? (width !== null && from < layers))) return { notes: [] };
  if (width === null) throw refuse('sliding_window', 'a number of tokens, for sliding_attention', null);
  if (width < 1) throw refuse('sliding_window', 'a number of tokens from 1', width);
  return { width, notes: [] };
}

const windowWidth = ({ sliding_window: width }: RawConfig) => (width === undefined ? DEFAULT_WINDOW : width);

function specialIds(
  raw: RawConfig,
  architecture: Architecture,
): Pick<ModelConfig, 'bosId' | 'eosIds' | 'padId'> {
  const read = (field: 'bos_token_id' | 'eos_token_id' | 'pad_token_id'): number[] => {
    const value = raw[field];
    const ids =
      value === undefined && architecture === 'llama' && field !== 'pad_token_id' ? LLAMA_IDS[field] : value;
    // Early Llamas write -1 for "none".
    return (Array.isArray(ids) ? ids : [ids]).filter((id): id is number => id != null && id !== -1);
  };
  return {
    bosId: read('bos_token_id')[0] ?? null,
    eosIds: read('eos_token_id'),
    padId: read('pad_token_id')[0] ?? null,
  };
}

/** Special ids without a row in an embedding of `config.vocabSize` rows, as `field id`. */
export function idsWithoutRow({ bosId, eosIds, padId, vocabSize }: ModelConfig): string[] {
  const ids = [['bos_token_id', bosId], ...eosIds.map((id) => ['eos_token_id', id]), ['pad_token_id', padId]];
  return ids.filter(([, id]) => Number(id ?? -1) >= vocabSize).map(([field, id]) => `${field} ${id}`);
}

const newConfigSchema = z.strictObject({
  architecture: z.enum(['llama', 'qwen2', 'qwen3']).default('qwen2'),
  vocabSize: z.int().positive(),
  hiddenSize: z.int().positive(),
  intermediateSize: z.int().positive(),
  layers: z.int().positive(),
  heads: z.int().positive(),
  kvHeads: z.int().positive().optional(),
  headDim: z.int().positive().optional(),
  maxPositions: z.int().positive(),
  ropeTheta: z.number().positive().default(10_000),
  rmsNormEps: z.number().positive().default(1e-6),
  tieWordEmbeddings: z.boolean().default(true),
  bosId: z.int().nonnegative().nullable().default(null),
  eosIds: z.array(z.int().nonnegative()).default([]),
  padId: z.int().nonnegative().nullable().default(null),
});

/** Shape of a model to train from scratch. `kvHeads` defaults to `heads`, `headDim` to hiddenSize / heads. */
export type NewConfigOptions = z.input<typeof newConfigSchema>;

/** The configuration of a new model, as Hugging Face would write it. Default: Qwen2, tied, theta 10,000, eps 1e-6. */
export function newConfig(options: NewConfigOptions): ModelConfig {
  const source = 'newConfig options';
  const o = validate(newConfigSchema, options, source);
  const config = parseConfig(
    {
      architectures: [causalClass(o.architecture)],
      model_type: o.architecture,
      vocab_size: o.vocabSize,
      hidden_size: o.hiddenSize,
      intermediate_size: o.intermediateSize,
      num_hidden_layers: o.layers,
      num_attention_heads: o.heads,
      num_key_value_heads: o.kvHeads ?? o.heads,
      head_dim: o.headDim ?? o.hiddenSize / o.heads,
      hidden_act: 'silu',
      max_position_embeddings: o.maxPositions,
      rms_norm_eps: o.rmsNormEps,
      rope_theta: o.ropeTheta,
      tie_word_embeddings: o.tieWordEmbeddings,
      initializer_range: DEFAULT_INITIALIZER_RANGE,
      bos_token_id: o.bosId,
      eos_token_id: o.eosIds.length === 1 ? o.eosIds[0] : o.eosIds,
      pad_token_id: o.padId,
      use_cache: true,
    },
    source,
  );
  const [outside] = idsWithoutRow(config);
  if (outside === undefined) return config;
  throw new InputError({ source, expected: `special ids below vocabSize (${o.vocabSize})`, found: outside });
}

/** The same configuration with a different number of embedding rows. */
export function withVocabSize(config: ModelConfig, vocabSize: number): ModelConfig {
  return { ...config, vocabSize, raw: { ...config.raw, vocab_size: vocabSize } };
}
