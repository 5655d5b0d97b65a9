/** Attention over whole sequences with the fused kernel, for inference. */
import { promptAttention, rotary, type Value } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import type { Attend } from './decoder.js';
import type { RopeInputs } from './sequence.js';

/** The fused kernel takes heads of a multiple of this size. */
export const FUSED_HEAD = 8;

/** Head sizes that the fused kernel can rotate. */
export const rotatesInside = ({ headDim }: ModelConfig): boolean => headDim % 16 === 0;

export interface PromptInputs {
  rope: RopeInputs;
  /** int64 [batch, length]: the position of each token. Only used where `rotatesInside` is false. */
  positions: Value;
  /** int32 [batch]: the number of tokens of each row, minus 1. */
  lastIndex: Value;
  /** int32 []: the largest number of tokens of any row. */
  total: Value;
}

/** Rotates q and k where the kernel does not. */
export function turned(
  config: ModelConfig,
  { cos, sin }: RopeInputs,
  positions: Value,
  q: Value,
  k?: Value,
): { q: Value; k: Value | undefined } {
  if (k === undefined || rotatesInside(config)) return { q, k };
  const turn = (x: Value, heads: number) => rotary(x, positions, cos, sin, heads);
  return { q: turn(q, config.heads), k: turn(k, config.kvHeads) };
}

/** Causal attention over sequences padded on the right. */
export function attendPrompts(config: ModelConfig, inputs: PromptInputs): Attend {
  const { rope, positions, lastIndex, total } = inputs;
  const options = { heads: config.heads, kvHeads: config.kvHeads, rotate: rotatesInside(config) };
  return (_, q, k, v) =>
    promptAttention({ ...turned(config, rope, positions, q, k), v, lastIndex, total, ...rope }, options);
}
