/** Attention over whole sequences with the fused kernel, for inference. */
import { type Feeds, promptAttention, rotary, type Value } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import type { Attend } from './decoder.js';
import { attendSequences, positionsOf, type RopeInputs } from './sequence.js';

/** The fused kernel takes heads of a multiple of this size. */
const FUSED_HEAD = 8;

/** Head sizes that the fused kernel takes. */
export const fusesAttention = ({ headDim }: ModelConfig): boolean => headDim % FUSED_HEAD === 0;

/** Head sizes that the fused kernel can rotate. */
export const rotatesInside = ({ headDim }: ModelConfig): boolean => headDim % 16 === 0;

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

/**
 * Causal attention over int64 ids [batch, length] padded on the right. Where the fused kernel takes the heads, it adds
 * the inputs `last_index` int32 [batch], the number of tokens of each row minus 1, and `total` int32 [], the largest
 * number of tokens.
 */
export function attendPrompts(config: ModelConfig, ids: Value, rope: RopeInputs): Attend {
  if (!fusesAttention(config)) return attendSequences(config, ids, rope);
  const { graph } = ids;
  const [batch = 1] = ids.shape;
  const positions = positionsOf(ids);
  const lastIndex = graph.input('last_index', 'int32', [batch]);
  const total = graph.input('total', 'int32', []);
  const options = { heads: config.heads, kvHeads: config.kvHeads, rotate: rotatesInside(config) };
  return (_, q, k, v) =>
    promptAttention({ ...turned(config, rope, positions, q, k), v, lastIndex, total, ...rope }, options);
}

/** What `attendPrompts` adds to the inputs, for rows of so many tokens in `total` columns. */
export const lengthFeeds = (lengths: readonly number[], total: number): Feeds => ({
  last_index: { dtype: 'int32', shape: [lengths.length], data: Int32Array.from(lengths, (n) => n - 1) },
  total: { dtype: 'int32', shape: [], data: Int32Array.of(total) },
});
