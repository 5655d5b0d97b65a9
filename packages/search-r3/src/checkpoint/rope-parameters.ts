/**
 * The rotary embedding of a `config.json`, as transformers 5.24 reads it (`modeling_rope_utils.py`): the older fields
 * `rope_theta` and `rope_scaling`, and the newer `rope_parameters`, which holds both.
 */
import { DEFAULT_ROPE_THETA } from './config-defaults.js';
import type { RawConfig } from './config-schema.js';

/** Every position counts as 1 / factor of a position. */
interface LinearScaling {
  type: 'linear';
  factor: number;
}

/** Llama 3.1's correction of the frequencies for contexts longer than those of pre-training. */
interface Llama3Scaling {
  type: 'llama3';
  factor: number;
  lowFreqFactor: number;
  highFreqFactor: number;
  /** Context length of pre-training, in tokens. */
  originalMaxPosition: number;
}

/** YaRN (Peng et al. 2023, arXiv 2309.00071). */
interface YarnScaling {
  type: 'yarn';
  factor: number;
  /** Rotations within the pre-training context above which a frequency is kept, and below which it is divided. */
  betaFast: number;
  betaSlow: number;
  originalMaxPosition: number;
  /** Round the bounds of the blend to whole dimensions. */
  truncate: boolean;
  /** Factor of cosines and sines. */
  attentionFactor: number;
}

/** LongRoPE (Ding et al. 2024, arXiv 2402.13753) within the context of pre-training. */
interface LongRopeScaling {
  type: 'longrope';
  /** A divisor for each frequency, headDim / 2 of them. */
  factors: number[];
  /** Factor of cosines and sines. */
  attentionFactor: number;
}

export type RopeScaling = LinearScaling | Llama3Scaling | YarnScaling | LongRopeScaling;

export interface Rotary {
  ropeTheta: number;
  ropeScaling: RopeScaling | null;
  /** Longest sequence for which these parameters are complete; undefined if unlimited. */
  maxPositions: number | undefined;
}

/** Creates the error about a field of the current file. */
export type Refuse = (field: string, expected: string, found: unknown) => Error;

type RopeParameters = NonNullable<RawConfig['rope_parameters']>;

const TYPES = ['default', 'linear', 'dynamic', 'yarn', 'longrope', 'llama3'];

/** @throws the error of `refuse` if this package does not support the rotary embedding. */
export function readRotary(
  raw: RawConfig,
  shape: { maxPositions: number; headDim: number },
  refuse: Refuse,
): Rotary & { notes: string[] } {
  if (raw.rope_interleaved === true) throw refuse('rope_interleaved', 'false', true);
  const older = raw.rope_scaling ?? {};
  const newer = raw.rope_parameters ?? {};
  const notes: string[] = [];
  const field = Object.keys(older).length > 0 ? 'rope_scaling' : 'rope_parameters';
  const found = resolve(field === 'rope_scaling' ? older : newer, field, raw, shape, refuse);
  if (field === 'rope_scaling' && Object.keys(newer).length > 0) {
    const other = resolve(newer, 'rope_parameters', raw, shape, refuse);
    if (JSON.stringify(found) !== JSON.stringify(other)) {
      notes.push('config.json has rope_scaling and rope_parameters, which differ: rope_scaling is used.');
    }
  }
  return { ...found, notes };
}

function resolve(
  parameters: RopeParameters,
  field: string,
  raw: RawConfig,
  shape: { maxPositions: number; headDim: number },
  refuse: Refuse,
): Rotary {
  for (const [key, value] of Object.entries(parameters)) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) continue;
    throw refuse(`${field}.${key}`, 'one set of parameters for all layers', value);
  }
  const fraction = parameters.partial_rotary_factor ?? raw.partial_rotary_factor ?? 1;
  if (fraction !== 1) throw refuse('partial_rotary_factor', '1', fraction);
  const ropeTheta = parameters.rope_theta ?? raw.rope_theta ?? DEFAULT_ROPE_THETA;
  const original =
    raw.original_max_position_embeddings ?? parameters.original_max_position_embeddings ?? shape.maxPositions;
  const type = parameters.rope_type ?? parameters.type ?? 'default';
  const reading: Reading = { parameters, field, original, ...shape, refuse };
  const [ropeScaling, maxPositions] = scaling(type, reading);
  return { ropeTheta, ropeScaling, maxPositions };
}

interface Reading {
  parameters: RopeParameters;
  field: string;
  /** Context length of pre-training, in tokens. */
  original: number;
  maxPositions: number;
  headDim: number;
  refuse: Refuse;
}

function scaling(type: string, reading: Reading): [RopeScaling | null, number?] {
  const { field, original, refuse } = reading;
  switch (type) {
    case 'default':
      return [null];
    case 'linear':
      return [{ type, factor: required(reading, 'factor') }];
    case 'dynamic':
      // Changes nothing for sequences of up to max_position_embeddings tokens, and longer ones never occur here.
      required(reading, 'factor');
      return [null];
    case 'llama3':
      return [
        {
          type,
          factor: required(reading, 'factor'),
          lowFreqFactor: required(reading, 'low_freq_factor'),
          highFreqFactor: required(reading, 'high_freq_factor'),
          originalMaxPosition: original,
        },
      ];
    case 'yarn':
      return [yarn(reading)];
    case 'longrope':
      return [longRope(reading), original];
    default:
      throw refuse(`${field}.rope_type`, `one of ${TYPES.join(', ')}`, type);
  }
}

function required({ parameters, field, refuse }: Reading, key: keyof RopeParameters): number {
  const value = parameters[key];
  if (typeof value !== 'number') throw refuse(`${field}.${String(key)}`, 'a number', value);
  return value;
}

function yarn(reading: Reading): YarnScaling {
  const { parameters, original } = reading;
  const { mscale, mscale_all_dim: mscaleAll } = parameters;
  const factor = required(reading, 'factor');
  const magnitude = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  return {
    type: 'yarn',
    factor,
    // Zero counts as missing.
    betaFast: parameters.beta_fast || 32,
    betaSlow: parameters.beta_slow || 1,
    originalMaxPosition: original,
    truncate: parameters.truncate ?? true,
    attentionFactor:
      parameters.attention_factor ??
      (mscale && mscaleAll ? magnitude(mscale) / magnitude(mscaleAll) : magnitude(1)),
  };
}

function longRope(reading: Reading): LongRopeScaling {
  const { parameters, field, original, maxPositions, headDim, refuse } = reading;
  const factors = parameters.short_factor ?? [];
  if (factors.length !== headDim / 2) {
    throw refuse(`${field}.short_factor`, `${headDim / 2} numbers, one for each frequency`, factors.length);
  }
  const factor = parameters.factor ?? maxPositions / original;
  const attentionFactor =
    parameters.attention_factor ?? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original)));
  return { type: 'longrope', factors, attentionFactor };
}
