/** Operators for inference only, without gradients: attention over a key/value cache, argMax, topK. */
import type { Dim } from '../dims.js';
import { type Operator, single, type Value } from '../graph.js';

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

const cachedAttentionOperator: Operator<CachedAttentionOptions> = {
  name: 'cachedAttention',
  infer(inputs) {
    const [q, , , pastKeys, pastValues] = inputs as [Value, Value, Value, Value, Value];
    return [q, pastKeys, pastValues].map(({ dtype, shape }) => ({ dtype, shape }));
  },
  emit: (context, node) =>
    context.simple(node, 'GroupQueryAttention', {
      domain: 'com.microsoft',
      attributes: {
        num_heads: node.attributes.heads,
        kv_num_heads: node.attributes.kvHeads,
        do_rotary: node.attributes.rotate ? 1 : 0,
        rotary_interleaved: 0,
      },
    }),
};

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
  const operands = [q, k, v, pastKeys, pastValues, lastIndex, total];
  if (options.rotate) operands.push(cos, sin);
  const [result, keys, values] = q.graph.apply(cachedAttentionOperator, operands, options);
  return { result: result as Value, keys: keys as Value, values: values as Value };
}

const argMaxOperator: Operator<null> = {
  name: 'argMax',
  infer: (inputs) => [{ dtype: 'int64', shape: (inputs[0] as Value).shape.slice(0, -1) }],
  emit: (context, node) => context.simple(node, 'ArgMax', { attributes: { axis: -1, keepdims: 0 } }),
};

/** int64 index of the largest element along the last axis (for ties, the first). */
export const argMax = (x: Value): Value => single(x.graph.apply(argMaxOperator, [x], null));

const topKOperator: Operator<{ k: number }> = {
  name: 'topK',
  infer: (inputs, { k }) => {
    const shape: Dim[] = [...(inputs[0] as Value).shape.slice(0, -1), k];
    return [
      { dtype: 'float32', shape },
      { dtype: 'int64', shape },
    ];
  },
  emit(context, node) {
    context.node('TopK', [context.name(node.inputs[0] as Value), context.integers([node.attributes.k])], {
      attributes: { axis: -1, largest: 1, sorted: 1 },
      outputs: node.outputs.map((output) => context.name(output)),
    });
  },
};

/** The `k` largest elements along the last axis, in descending order, with their int64 indices. */
export function topK(x: Value, k: number): { values: Value; indices: Value } {
  const [values, indices] = x.graph.apply(topKOperator, [x], { k });
  return { values: values as Value, indices: indices as Value };
}
