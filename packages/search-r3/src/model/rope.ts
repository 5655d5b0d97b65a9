/**
 * Tables of rotary angles (Su et al. 2021, arXiv 2104.09864), with the frequency correction of Llama 3.1 for contexts
 * longer than those of pre-training.
 */
import { f32, type HostTensor } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';

/** Rotation per position of each of the headDim / 2 planes, float64. */
export function inverseFrequencies(config: ModelConfig): number[] {
  const { headDim, ropeTheta, ropeScaling } = config;
  const plain = Array.from({ length: headDim / 2 }, (_, i) => ropeTheta ** ((-2 * i) / headDim));
  if (ropeScaling === null) return plain;
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPosition } = ropeScaling;
  return plain.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < originalMaxPosition / highFreqFactor) return frequency;
    if (wavelength > originalMaxPosition / lowFreqFactor) return frequency / factor;
    const blend = (originalMaxPosition / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return (1 - blend) * (frequency / factor) + blend * frequency;
  });
}

/** Cosines and sines [positions, headDim / 2], the feeds `rope_cos` and `rope_sin` of every program. */
export function ropeTables(
  config: ModelConfig,
  positions: number,
): { rope_cos: HostTensor; rope_sin: HostTensor } {
  const frequencies = inverseFrequencies(config);
  const half = frequencies.length;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (const [i, frequency] of frequencies.entries()) {
      cos[position * half + i] = Math.cos(position * frequency);
      sin[position * half + i] = Math.sin(position * frequency);
    }
  }
  return { rope_cos: f32(cos, [positions, half]), rope_sin: f32(sin, [positions, half]) };
}
