/** Operators for inference only, without gradients: causal attention with and without a cache, argMax, topK. */
import { axisSize, formatShape, sameShape } from '../dims.js';
import type { Emitter, Value } from '../graph.js';
import { defineOperator } from '../operator.js';

export interface PromptAttentionInputs {
  /** [batch, length, heads * headDim]; without k and v, all three side by side: [.., (heads + 2 kvHeads) * headDim]. */
  q: Value;
  /** [batch, length, kvHeads * headDim], like v. */
  k?: Value | undefined;
  v?: Value | undefined;
  /** int32 [batch]: the number of tokens of the row, with those in the cache and the new ones, minus 1. */
  lastIndex: Value;
  /** int32 []: the largest number of tokens of any row. */
  total: Value;
  /** Angle tables [positions, headDim / 2], used only if `rotate` is true. */
  cos: Value;
  sin: Value;
}

export interface CachedAttentionInputs extends PromptAttentionInputs {
  /** [batch, kvHeads, capacity, headDim] each. */
  pastKeys: Value;
  pastValues: Value;
}

export interface CachedAttentionOptions {
  heads: number;
  kvHeads: number;
  /** Rotate q and k inside the kernel, which needs a head size divisible by 16. Needed for q, k and v side by side. */
  rotate: boolean;
}

interface AttentionAttributes extends CachedAttentionOptions {
  /** Whether k and v are operands of their own. */
  apart: boolean;
  cached: boolean;
}

/** Result [batch, length, heads * headDim] of q, which may hold k and v too. */
function attended(
  [q, ...rest]: readonly [Value, ...Value[]],
  { heads, kvHeads, apart }: AttentionAttributes,
) {
  const others = apart ? rest.slice(0, 2) : [];
  const headDim = Number(q.shape.at(-1)) / (apart ? heads : heads + 2 * kvHeads);
  const other = [...q.shape.slice(0, 2), kvHeads * headDim];
  const fits = others.every(({ shape }) => sameShape(shape, other));
  if (q.shape.length !== 3 || !Number.isInteger(headDim) || !fits) {
    const sizes = apart
      ? `${heads} heads] and twice [batch, length, ${kvHeads}`
      : `${heads} + 2 * ${kvHeads}`;
    const found = [q, ...others].map(({ shape }) => formatShape(shape)).join(', ');
    throw new RangeError(`attention: expected [batch, length, ${sizes} heads], found ${found}`);
  }
  return { dtype: q.dtype, shape: [axisSize(q, 0), axisSize(q, 1), heads * headDim] } as const;
}

/** Emits ONNX Runtime's GroupQueryAttention; operands are in the order of `operandsOf`. */
function emitAttention(
  context: Emitter,
  operands: readonly Value[],
  outputs: readonly Value[],
  { heads, kvHeads, rotate, apart, cached }: AttentionAttributes,
): void {
  const names = operands.map((operand) => context.name(operand));
  const take = (count: number, present = true) =>
    present ? names.splice(0, count) : Array<string>(count).fill('');
  const inputs = [...take(1), ...take(2, apart), ...take(2, cached), ...names];
  context.node('GroupQueryAttention', inputs, {
    domain: 'com.microsoft',
    attributes: {
      num_heads: heads,
      kv_num_heads: kvHeads,
      do_rotary: rotate ? 1 : 0,
      rotary_interleaved: 0,
    },
    outputs: outputs.map((output) => context.name(output)),
  });
}

function operandsOf(
  { q, k, v, lastIndex, total, cos, sin }: PromptAttentionInputs,
  past: readonly Value[],
  rotate: boolean,
): { operands: readonly [Value, ...Value[]]; apart: boolean } {
  if ((k === undefined) !== (v === undefined))
    throw new TypeError('attention: expected both k and v, or none');
  const apart = k !== undefined && v !== undefined;
  if (!apart && !rotate) throw new TypeError('attention: expected `rotate` with q, k and v side by side');
  const keys = apart ? [k, v] : [];
  return { operands: [q, ...keys, ...past, lastIndex, total, ...(rotate ? [cos, sin] : [])], apart };
}

const cachedAttentionOperator = defineOperator<AttentionAttributes>()({
  name: 'cachedAttention',
  operands: ['...operands'],
  results: ['result', 'keys', 'values'],
  infer(operands, attributes) {
    const [keys, values] = operands.slice(attributes.apart ? 3 : 1);
    if (keys === undefined || values === undefined)
      throw new TypeError('internal: attention without a cache');
    return [attended(operands, attributes), keys, values];
  },
  emit(context, { inputs, outputs, attributes }) {
    const [keys, , lastIndex] = inputs.slice(attributes.apart ? 3 : 1);
    if (keys === undefined || lastIndex === undefined)
      throw new TypeError('internal: attention without a cache');
    context.bound(lastIndex, axisSize(keys, 2), false);
    emitAttention(context, inputs, outputs, attributes);
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
  const { operands, apart } = operandsOf(inputs, [inputs.pastKeys, inputs.pastValues], options.rotate);
  const attributes = { ...options, apart, cached: true };
  const [result, keys, values] = inputs.q.graph.apply(cachedAttentionOperator, operands, attributes);
  return { result, keys, values };
}

const promptAttentionOperator = defineOperator<AttentionAttributes>()({
  name: 'promptAttention',
  operands: ['...operands'],
  results: ['result'],
  infer: (operands, attributes) => [attended(operands, attributes)],
  emit: (context, { inputs, outputs, attributes }) => emitAttention(context, inputs, outputs, attributes),
});

/**
 * Causal grouped-query attention over whole sequences, padded on the right, without a cache: [batch, length, heads *
 * headDim]. (With outputs for a cache, the kernel of ONNX Runtime 1.30 takes twice as long at 160 tokens.)
 */
export function promptAttention(inputs: PromptAttentionInputs, options: CachedAttentionOptions): Value {
  const { operands, apart } = operandsOf(inputs, [], options.rotate);
  return inputs.q.graph.apply(promptAttentionOperator, operands, { ...options, apart, cached: false })[0];
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
