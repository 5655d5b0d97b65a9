/** Operators for inference only, without gradients: attention over a key/value cache, argMax, topK. */
import { axisSize } from '../dims.js';
import type { Value } from '../graph.js';
import { defineOperator } from '../operator.js';

export interface CachedAttentionInputs {
  /** [batch, length, heads * headDim]. */
  q: Value;
  /** [batch, length, kvHeads * headDim], like v. */
  k: Value;
  v: Value;
  /** [batch, kvHeads, capacity, headDim] each. */
  pastKeys: Value;
  pastValues: Value;
  /** int32 [batch]: the number of tokens of the row after this step, minus 1. */
  lastIndex: Value;
  /** int32 []: the largest number of tokens of any row after this step. */
  total: Value;
  /** Angle tables [positions, headDim / 2], used only if `rotate` is true. */
  cos: Value;
  sin: Value;
}

export interface CachedAttentionOptions {
  heads: number;
  kvHeads: number;
  /** Rotate q and k inside the kernel, which needs a head size divisible by 16. */
  rotate: boolean;
}

const cachedAttentionOperator = defineOperator<CachedAttentionOptions>()({
  name: 'cachedAttention',
  operands: ['q', 'k', 'v', 'pastKeys', 'pastValues', 'lastIndex', 'total', 'cos?', 'sin?'],
  results: ['result', 'keys', 'values'],
  infer: ([q, , , pastKeys, pastValues]) => [q, pastKeys, pastValues],
  emit(context, node) {
    const [, , , pastKeys, , lastIndex] = node.inputs;
    const { heads, kvHeads, rotate } = node.attributes;
    context.bound(lastIndex, axisSize(pastKeys, 2), false);
    context.simple(node, 'GroupQueryAttention', {
      domain: 'com.microsoft',
      attributes: {
        num_heads: heads,
        kv_num_heads: kvHeads,
        do_rotary: rotate ? 1 : 0,
        rotary_interleaved: 0,
      },
    });
  },
});

/**
 * Grouped-query attention with a cache (ONNX Runtime's GroupQueryAttention): appends k and v to each row's tokens and
 * attends to all of them. The returned keys and values may share memory with the past ones. More than one new token
 * needs an empty cache.
 */
export function cachedAttention(
  inputs: CachedAttentionInputs,
  options: CachedAttentionOptions,
): { result: Value; keys: Value; values: Value } {
  const { q, k, v, pastKeys, pastValues, lastIndex, total, cos, sin } = inputs;
  const angles = options.rotate ? [cos, sin] : [];
  const operands = [q, k, v, pastKeys, pastValues, lastIndex, total, ...angles] as const;
  const [result, keys, values] = q.graph.apply(cachedAttentionOperator, operands, options);
  return { result, keys, values };
}

const argMaxOperator = defineOperator()({
  name: 'argMax',
  operands: ['x'],
  results: ['index'],
  infer: ([x]) => [{ dtype: 'int64', shape: x.shape.slice(0, -1) }],
  emit: (context, node) => context.simple(node, 'ArgMax', { attributes: { axis: -1, keepdims: 0 } }),
});

/** int64 index of the largest element along the last axis (for ties, the first). */
export const argMax = (x: Value): Value => x.graph.apply(argMaxOperator, [x], null)[0];

const topKOperator = defineOperator<{ k: number }>()({
  name: 'topK',
  operands: ['x'],
  results: ['values', 'indices'],
  infer([x], { k }) {
    const shape = [...x.shape.slice(0, -1), k];
    return [
      { dtype: 'float32', shape },
      { dtype: 'int64', shape },
    ];
  },
  emit(context, { inputs: [x], outputs, attributes: { k } }) {
    context.node('TopK', [context.name(x), context.integers([k])], {
      attributes: { axis: -1, largest: 1, sorted: 1 },
      outputs: outputs.map((output) => context.name(output)),
    });
  },
});

/** The `k` largest elements along the last axis, in descending order, with their int64 indices. */
export function topK(x: Value, k: number): { values: Value; indices: Value } {
  const [values, indices] = x.graph.apply(topKOperator, [x], { k });
  return { values, indices };
}
