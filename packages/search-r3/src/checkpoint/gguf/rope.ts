/**
 * The rotary embedding of a GGUF file. Llama 3's correction of the frequencies is stored as the tensor
 * `rope_freqs.weight`, a divisor for each frequency; its parameters are found from these again.
 */
import type { Metadata } from './metadata.js';

const DEFAULT_THETA = 10_000;

/** What every Llama 3 has. */
const LLAMA3 = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

/** Factors of YaRN other than that of the context, with the value that the decoder computes with. */
const YARN_NEUTRAL: readonly (readonly [key: string, value: number])[] = [
  ['attn_factor', 1],
  ['yarn_attn_factor', 1],
  ['yarn_ext_factor', 1],
];

interface Rope {
  metadata: Metadata;
  key: (name: string) => string;
  headDim: number;
  contextLength: number;
  frequencyFactors: Float32Array | undefined;
}

/** `rope_theta` and, where frequencies are scaled, `rope_scaling` of a `config.json`. */
export function ropeParameters({ metadata, key, headDim, contextLength, frequencyFactors }: Rope): object {
  const theta = metadata.number(key('rope.freq_base')) ?? DEFAULT_THETA;
  const scaling = scalingOf(metadata, key);
  if (frequencyFactors === undefined || frequencyFactors.every((factor) => factor === 1)) {
    return { rope_theta: theta, ...(scaling !== undefined && { rope_scaling: scaling }) };
  }
  const field = 'rope_freqs.weight';
  const { length } = frequencyFactors;
  const expected = `${headDim / 2} factors, one for each frequency`;
  if (length !== headDim / 2) throw metadata.error(field, expected, String(length));
  if (scaling !== undefined) {
    throw metadata.error(field, `no factors beside ${key('rope.scaling.type')}`, `${length} factors`);
  }
  return { rope_theta: theta, rope_scaling: factorScaling(frequencyFactors, theta, contextLength) };
}

function scalingOf(metadata: Metadata, key: (name: string) => string): object | undefined {
  const at = (name: string) => key(`rope.scaling.${name}`);
  // An earlier name.
  const factor = metadata.number(at('factor')) ?? metadata.number(key('rope.scale_linear')) ?? 1;
  const type = metadata.string(at('type')) ?? 'linear';
  switch (type) {
    case 'none':
      return undefined;
    case 'linear':
      // No factor is written as 0 or 1.
      return factor === 0 || factor === 1 ? undefined : { rope_type: 'linear', factor };
    case 'yarn': {
      for (const [name, neutral] of YARN_NEUTRAL) {
        const found = metadata.number(at(name)) ?? neutral;
        if (found !== neutral) throw metadata.error(at(name), `${neutral}, or nothing`, String(found));
      }
      const original = metadata.size(at('original_context_length'));
      const [fast, slow] = [metadata.number(at('yarn_beta_fast')), metadata.number(at('yarn_beta_slow'))];
      return {
        rope_type: 'yarn',
        factor,
        original_max_position_embeddings: metadata.required(at('original_context_length'), original),
        ...(fast !== undefined && { beta_fast: fast }),
        ...(slow !== undefined && { beta_slow: slow }),
      };
    }
    default:
      throw metadata.error(at('type'), 'one of none, linear, yarn', type);
  }
}

/** Llama 3's parameters if they give these factors, or else the factors themselves. */
function factorScaling(factors: Float32Array, theta: number, contextLength: number): object {
  const factor = Math.max(...factors);
  const expected = llama3Factors(factor, theta, factors.length);
  if (factors.every((value, i) => Math.abs(value / (expected[i] as number) - 1) < 1e-5)) {
    return { rope_type: 'llama3', factor, ...LLAMA3 };
  }
  return {
    rope_type: 'longrope',
    short_factor: [...factors],
    long_factor: [...factors],
    attention_factor: 1,
    original_max_position_embeddings: contextLength,
  };
}

/** The divisors by which transformers scales the frequencies (`_compute_llama3_parameters`). */
function llama3Factors(factor: number, theta: number, count: number): number[] {
  const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = LLAMA3;
  return Array.from({ length: count }, (_, i) => {
    const rotations = original / (2 * Math.PI * theta ** (i / count));
    if (rotations > high) return 1;
    if (rotations < low) return factor;
    const smooth = (rotations - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
