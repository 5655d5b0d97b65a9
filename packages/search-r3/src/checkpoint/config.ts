/**
 * `config.json` of a Hugging Face folder, for the decoders this package builds: Llama, Qwen2 and Qwen3. Field names and
 * defaults are those of the `transformers` configuration classes, both the older layout (`rope_theta`, `rope_scaling`)
 * and the newer one (`rope_parameters`). What the decoder does not implement is refused, never ignored.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { readJson } from '../run/files.js';
import { validate } from '../run/validate.js';
import { configSchema, type RawConfig, ropeParameters } from './config-schema.js';

export type Architecture = 'llama' | 'qwen2' | 'qwen3';

/** Llama 3.1's correction of rotary frequencies for contexts longer than those of pre-training. */
export interface RopeScaling {
  type: 'llama3';
  factor: number;
  lowFreqFactor: number;
  highFreqFactor: number;
  /** Context length of pre-training, in tokens. */
  originalMaxPosition: number;
}

/** A decoder's shape, the same fields for every architecture. */
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
  /** The output head is the embedding itself: no `lm_head.weight`. */
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
  readonly bosId: number | null;
  readonly eosIds: readonly number[];
  readonly padId: number | null;
  /** The JSON this was read from, saved again with everything in it that is not used here. */
  readonly raw: Readonly<Record<string, unknown>>;
}

const CAUSAL_CLASS: Record<Architecture, string> = {
  llama: 'LlamaForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
};

/** Reads `config.json` of a folder. @throws InputError on anything missing, wrong or unsupported. */
export async function loadConfig(folder: string): Promise<ModelConfig> {
  const path = join(folder, 'config.json');
  await refuseRunFolder(folder);
  return parseConfig(await readJson(path), path);
}

/** What to say where a folder with these names in it is no model: a run is often given for its model. */
export function modelInside(folder: string, names: readonly string[]): { remedy?: string } {
  return names.includes('model') ? { remedy: `Is it ${join(folder, 'model')}?` } : {};
}

async function refuseRunFolder(folder: string): Promise<void> {
  const names = await readdir(folder).catch((): string[] => []);
  const inside = modelInside(folder, names);
  if (names.includes('config.json') || inside.remedy === undefined) return;
  throw new InputError({
    source: folder,
    expected: 'a model folder, with config.json',
    found: 'a folder with the folder model',
    ...inside,
  });
}

/** A `ModelConfig` from the JSON of a `config.json`. @throws InputError naming `source` and the field. */
export function parseConfig(json: unknown, source = 'config.json'): ModelConfig {
  const raw = validate(configSchema, json, source);
  const architecture = raw.model_type;
  const refuse = (field: string, expected: string, found: unknown): InputError =>
    new InputError({ source, field, expected, found: JSON.stringify(found) ?? 'nothing' });

  const causal = CAUSAL_CLASS[architecture];
  if (raw.architectures != null && !raw.architectures.includes(causal)) {
    throw refuse('architectures', causal, raw.architectures);
  }
  if (raw.quantization_config != null) {
    throw refuse('quantization_config', 'weights that are not quantised', raw.quantization_config);
  }
  if (raw.num_experts != null) throw refuse('num_experts', 'a dense model', raw.num_experts);
  refuseSlidingWindow(raw, refuse);

  const heads = raw.num_attention_heads;
  const kvHeads = raw.num_key_value_heads ?? heads;
  if (heads % kvHeads !== 0) {
    throw refuse('num_key_value_heads', `a divisor of the ${heads} attention heads`, kvHeads);
  }
  if (raw.head_dim == null && architecture !== 'qwen3' && raw.hidden_size % heads !== 0) {
    throw refuse('hidden_size', `a multiple of the ${heads} attention heads`, raw.hidden_size);
  }
  // Qwen3Config's own default is 128, whatever the hidden size.
  const headDim = raw.head_dim ?? (architecture === 'qwen3' ? 128 : raw.hidden_size / heads);
  if (headDim % 2 !== 0) throw refuse('head_dim', 'an even number, for rotary embedding', headDim);

  const declaredBias = raw.attention_bias ?? false;
  return {
    architecture,
    vocabSize: raw.vocab_size,
    hiddenSize: raw.hidden_size,
    intermediateSize: raw.intermediate_size,
    layers: raw.num_hidden_layers,
    heads,
    kvHeads,
    headDim,
    rmsNormEps: raw.rms_norm_eps,
    ...rotary(raw, architecture, refuse),
    maxPositions: raw.max_position_embeddings,
    tieWordEmbeddings: raw.tie_word_embeddings,
    // Qwen2 has them without saying so, and none on the output.
    attentionBias: architecture === 'qwen2' || declaredBias,
    outputBias: architecture !== 'qwen2' && declaredBias,
    mlpBias: architecture === 'llama' && (raw.mlp_bias ?? false),
    qkNorm: architecture === 'qwen3',
    initializerRange: raw.initializer_range,
    ...specialIds(raw, refuse),
    raw: json as Record<string, unknown>,
  };
}

type Refuse = (field: string, expected: string, found: unknown) => InputError;

/** `use_sliding_window: false` with a window written beside it is common, and harmless. */
function refuseSlidingWindow(raw: RawConfig, refuse: Refuse): void {
  const sliding = raw.layer_types?.find((type) => type !== 'full_attention');
  if (sliding !== undefined) throw refuse('layer_types', 'full_attention in every layer', sliding);
  const { num_hidden_layers: layers, layer_types: types } = raw;
  if (types != null && types.length !== layers) {
    throw refuse('layer_types', `one for each of the ${layers} layers`, types.length);
  }
  if (raw.use_sliding_window !== true || raw.sliding_window == null || raw.layer_types != null) return;
  const fullLayers = raw.max_window_layers ?? 0;
  if (fullLayers < raw.num_hidden_layers) {
    throw refuse('use_sliding_window', 'false: attention here is over the whole sequence', true);
  }
}

function rotary(
  raw: RawConfig,
  architecture: Architecture,
  refuse: Refuse,
): Pick<ModelConfig, 'ropeTheta' | 'ropeScaling'> {
  const field = raw.rope_parameters == null ? 'rope_scaling' : 'rope_parameters';
  const parameters = raw.rope_parameters ?? raw.rope_scaling ?? {};
  const ropeTheta = parameters.rope_theta ?? raw.rope_theta;
  // The first Llamas were written without the field; a later layout without it is not one we know.
  if (ropeTheta == null && (architecture !== 'llama' || raw.rope_parameters != null)) {
    throw refuse(
      raw.rope_parameters == null ? 'rope_theta' : 'rope_parameters.rope_theta',
      'a number',
      undefined,
    );
  }
  const fraction = parameters.partial_rotary_factor ?? raw.partial_rotary_factor ?? 1;
  if (fraction !== 1) throw refuse('partial_rotary_factor', '1', fraction);
  if (raw.rope_interleaved === true) throw refuse('rope_interleaved', 'false', true);
  if (raw.rope_parameters != null && raw.rope_scaling != null) {
    refuseContradiction(raw.rope_parameters, raw.rope_scaling, refuse);
  }
  return { ropeTheta: ropeTheta ?? 10_000, ropeScaling: scaling(parameters, field, refuse) };
}

type RopeParameters = NonNullable<RawConfig['rope_parameters']>;

/** Both layouts in one file are fine while they say the same: which of them would a reader believe? */
function refuseContradiction(later: RopeParameters, older: RopeParameters, refuse: Refuse): void {
  const [expected, found] = [
    ropeType(later, 'rope_parameters', refuse),
    ropeType(older, 'rope_scaling', refuse),
  ];
  if (found !== expected) {
    throw refuse('rope_scaling.rope_type', `"${expected}", as in rope_parameters`, found);
  }
  for (const key of Object.keys(ropeParameters.shape)) {
    const [value, other] = [later[key], older[key]];
    if (value == null || other == null || value === other) continue;
    throw refuse(`rope_scaling.${key}`, `${JSON.stringify(value)}, as in rope_parameters`, other);
  }
}

function ropeType({ rope_type, type }: RopeParameters, field: string, refuse: Refuse): string {
  if (rope_type != null && type != null && type !== rope_type) {
    throw refuse(`${field}.type`, `"${rope_type}", as in rope_type`, type);
  }
  return rope_type ?? type ?? 'default';
}

function scaling(parameters: RopeParameters, field: string, refuse: Refuse): RopeScaling | null {
  const type = ropeType(parameters, field, refuse);
  if (type === 'default') return null;
  if (type !== 'llama3') throw refuse(`${field}.rope_type`, '"default" or "llama3"', type);
  const number = (key: keyof RopeParameters): number => {
    const value = parameters[key];
    if (typeof value !== 'number') throw refuse(`${field}.${String(key)}`, 'a number', value);
    return value;
  };
  const lowFreqFactor = number('low_freq_factor');
  const highFreqFactor = number('high_freq_factor');
  if (highFreqFactor <= lowFreqFactor) {
    throw refuse(`${field}.high_freq_factor`, `more than low_freq_factor (${lowFreqFactor})`, highFreqFactor);
  }
  return {
    type: 'llama3',
    factor: number('factor'),
    lowFreqFactor,
    highFreqFactor,
    originalMaxPosition: number('original_max_position_embeddings'),
  };
}

function specialIds(raw: RawConfig, refuse: Refuse): Pick<ModelConfig, 'bosId' | 'eosIds' | 'padId'> {
  const checked = (field: 'bos_token_id' | 'eos_token_id' | 'pad_token_id'): number[] => {
    const value = raw[field];
    // -1 is how some early Llamas say "none".
    const ids = (Array.isArray(value) ? value : [value]).filter((id) => id != null && id !== -1) as number[];
    const outside = ids.find((id) => id >= raw.vocab_size);
    if (outside !== undefined) throw refuse(field, `an id below vocab_size (${raw.vocab_size})`, outside);
    return ids;
  };
  return {
    bosId: checked('bos_token_id')[0] ?? null,
    eosIds: checked('eos_token_id'),
    padId: checked('pad_token_id')[0] ?? null,
  };
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

/** Shape of a model to be trained from scratch. `kvHeads` defaults to `heads`, `headDim` to hiddenSize / heads. */
export type NewConfigOptions = z.input<typeof newConfigSchema>;

/** The configuration of a new model, as Hugging Face would write it. Default: Qwen2, tied, theta 10,000, eps 1e-6. */
export function newConfig(options: NewConfigOptions): ModelConfig {
  const source = 'newConfig options';
  const o = validate(newConfigSchema, options, source);
  return parseConfig(
    {
      architectures: [CAUSAL_CLASS[o.architecture]],
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
      initializer_range: 0.02,
      bos_token_id: o.bosId,
      eos_token_id: o.eosIds.length === 1 ? o.eosIds[0] : o.eosIds,
      pad_token_id: o.padId,
      use_cache: true,
    },
    source,
  );
}

/** The same model with another number of embedding rows. */
export function withVocabSize(config: ModelConfig, vocabSize: number): ModelConfig {
  return { ...config, vocabSize, raw: { ...config.raw, vocab_size: vocabSize } };
}
