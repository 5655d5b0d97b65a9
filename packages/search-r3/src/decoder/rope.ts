/**
 * Tables of rotary angles (Su et al. 2021, arXiv 2104.09864), with the corrections of their frequencies that models use
 * for contexts longer than those of pre-training.
 */
import { f32, type HostTensor } from 'onnx-grad';
import type { ModelConfig, RopeScaling } from '../checkpoint/index.js';

/** Rotation per position of each of the headDim / 2 planes, float64. */
export function inverseFrequencies(config: ModelConfig): number[] {
  const { headDim, ropeTheta, ropeScaling } = config;
  const plain = Array.from({ length: headDim / 2 }, (_, i) => ropeTheta ** ((-2 * i) / headDim));
  if (ropeScaling === null) return plain;
  switch (ropeScaling.type) {
    case 'linear':
      return plain.map((frequency) => frequency / ropeScaling.factor);
    case 'llama3':
      return plain.map((frequency) => llama3(frequency, ropeScaling));
    case 'yarn':
      return yarn(plain, config, ropeScaling);
    case 'longrope':
      return plain.map((frequency, i) => frequency / (ropeScaling.factors[i] as number));
    default:
      return ropeScaling satisfies never;
  }
}

type Scaling<T extends RopeScaling['type']> = Extract<RopeScaling, { type: T }>;

function llama3(frequency: number, scaling: Scaling<'llama3'>): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPosition } = scaling;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength > originalMaxPosition / lowFreqFactor) return frequency / factor;
  if (wavelength < originalMaxPosition / highFreqFactor) return frequency;
  const blend = (originalMaxPosition / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return (1 - blend) * (frequency / factor) + blend * frequency;
}

function yarn(plain: number[], { headDim, ropeTheta }: ModelConfig, scaling: Scaling<'yarn'>): number[] {
  const { factor, betaFast, betaSlow, originalMaxPosition, truncate } = scaling;
  /** The plane, as a fraction, that makes so many turns within the context of pre-training. */
  const planeOf = (turns: number) =>
    (headDim * Math.log(originalMaxPosition / (turns * 2 * Math.PI))) / (2 * Math.log(ropeTheta));
  const [first, last] = [planeOf(betaFast), planeOf(betaSlow)];
  const low = Math.max(truncate ? Math.floor(first) : first, 0);
  const high = Math.min(truncate ? Math.ceil(last) : last, headDim - 1);
  const width = high === low ? 0.001 : high - low;
  return plain.map((frequency, i) => {
    const slow = Math.min(Math.max((i - low) / width, 0), 1);
    return slow * (frequency / factor) + (1 - slow) * frequency;
  });
}

/** Factor of cosines and sines. */
export function rotaryMagnitude({ ropeScaling }: ModelConfig): number {
  return ropeScaling !== null && 'attentionFactor' in ropeScaling ? ropeScaling.attentionFactor : 1;
}

/** Cosines and sines [positions, headDim / 2], the feeds `rope_cos` and `rope_sin` of every program. */
export function ropeTables(
  config: ModelConfig,
  positions: number,
): { rope_cos: HostTensor; rope_sin: HostTensor } {
  const frequencies = inverseFrequencies(config);
  const half = frequencies.length;
  const magnitude = rotaryMagnitude(config);
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (const [i, frequency] of frequencies.entries()) {
      cos[position * half + i] = magnitude * Math.cos(position * frequency);
      sin[position * half + i] = magnitude * Math.sin(position * frequency);
    }
  }
  return { rope_cos: f32(cos, [positions, half]), rope_sin: f32(sin, [positions, half]) };
}
