/**
 * Differentiable attention over a batch of sequences, and rotary position embedding. Several query heads may share one
 * key/value head (grouped-query attention, Ainslie et al. 2023, arXiv 2305.13245): they are folded into rows, so that
 * keys and values are never repeated.
 */
import { axisSize, type Dim, formatShape, product, sameShape } from '../dims.js';
import type { Value } from '../graph.js';
import { defineOperator } from '../operator.js';
import { mul, neg, sub } from './elementwise.js';
import { emitMatmul, matmul } from './matmul.js';
import { sum, sumTo } from './reduce.js';
import { reshape, transpose } from './shape.js';

interface AttentionAttributes {
  scale: number;
}

/**
 * Operands: q [batch, kv, groups, queries, head], k and v [batch, kv, keys, head], bias [batch | 1, 1, 1, queries, keys].
 * Results: the result [batch, queries, kv * groups * head], and the probabilities.
 */
const attentionOperator = defineOperator<AttentionAttributes>()({
  name: 'attention',
  operands: ['q', 'k', 'v', 'bias'],
  results: ['result'],
  byproducts: ['probabilities'],
  infer([q, k, v, bias]) {
    if (q.shape.length !== 5 || k.shape.length !== 4 || bias.shape.length !== 5 || v.shape.length !== 4) {
      throw new RangeError(
        `attention: expected ranks 5, 4, 4, 5, found ${[q, k, v, bias].map((x) => formatShape(x.shape)).join(', ')}`,
      );
    }
    const probabilities = [...q.shape.slice(0, 4), axisSize(k, 2)];
    if (!bias.shape.every((dim, axis) => dim === 1 || dim === probabilities[axis])) {
      throw new RangeError(
        `attention: a bias of ${formatShape(bias.shape)} does not broadcast to ${formatShape(probabilities)}`,
      );
    }
    return [
      { dtype: 'float32', shape: joinedShape(q) },
      { dtype: 'float32', shape: probabilities },
    ];
  },
  emit(context, { inputs: [q, k, v, bias], outputs: [result, probabilities], attributes: { scale } }) {
    const folded = context.one('Reshape', [context.name(q), context.reshapeTarget(q.shape, foldedShape(q))]);
    const scoring = { transA: false, transB: true, alpha: scale };
    const scores = emitMatmul(context, [folded, context.name(k)], 4, scoring);
    const grouped = context.one('Reshape', [
      scores,
      context.reshapeTarget(foldedShape(probabilities), probabilities.shape),
    ]);
    const biased = context.one('Add', [grouped, context.name(bias)]);
    context.node('Softmax', [biased], {
      attributes: { axis: -1 },
      outputs: [context.name(probabilities)],
    });
    const rows = context.one('Reshape', [
      context.name(probabilities),
      context.reshapeTarget(probabilities.shape, foldedShape(probabilities)),
    ]);
    const mixed = context.one('MatMul', [rows, context.name(v)]);
    const perHead = context.one('Reshape', [mixed, context.reshapeTarget(foldedShape(q), q.shape)]);
    const perToken = context.one('Transpose', [perHead], { attributes: { perm: [0, 3, 1, 2, 4] } });
    const from = [0, 3, 1, 2, 4].map((axis) => axisSize(q, axis));
    context.node('Reshape', [perToken, context.reshapeTarget(from, result.shape)], {
      outputs: [context.name(result)],
    });
  },
  vjp({ inputs: [q, k, v, bias], outputs: [result, probabilities], attributes }, [gradient], needed) {
    const alpha = attributes.scale;
    const rows = reshape(probabilities, foldedShape(probabilities));
    const perToken = [0, 3, 1, 2, 4].map((axis) => axisSize(q, axis));
    const split = (x: Value) => reshape(x, perToken);
    const dResult = reshape(transpose(split(gradient), [0, 2, 3, 1, 4]), foldedShape(q));
    // rowsum(dP * P) equals rowsum(dO * O), which is head/keys times cheaper (Dao et al. 2022, arXiv 2205.14135).
    const sums = transpose(sum(split(mul(gradient, result)), [-1]), [0, 2, 3, 1]);
    const delta = reshape(sums, [...foldedShape(q).slice(0, 3), 1]);
    const dScores = mul(rows, sub(matmul(dResult, v, { transB: true }), delta));
    return [
      needed[0] ? reshape(matmul(dScores, k, { alpha }), q.shape) : undefined,
      needed[1] ? matmul(dScores, reshape(q, foldedShape(q)), { transA: true, alpha }) : undefined,
      needed[2] ? matmul(rows, dResult, { transA: true }) : undefined,
      needed[3] ? sumTo(reshape(dScores, probabilities.shape), bias.shape) : undefined,
    ];
  },
});

/** [batch, kv, groups, queries, x] -> [batch, kv, groups * queries, x]. */
const foldedShape = (x: Value): Dim[] => [
  axisSize(x, 0),
  axisSize(x, 1),
  product(axisSize(x, 2), axisSize(x, 3)),
  axisSize(x, 4),
];

/** [batch, kv, groups, queries, head] -> [batch, queries, kv * groups * head]. */
const joinedShape = (x: Value): Dim[] => [
  axisSize(x, 0),
  axisSize(x, 3),
  product(axisSize(x, 1), axisSize(x, 2), axisSize(x, 4)),
];

export interface AttentionOptions {
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Factor on the scores. Default 1 / sqrt(headDim). */
  scale?: number;
}

/**
 * Softmax attention: q [batch, length, heads * headDim], k and v [batch, length, kvHeads * headDim], additive bias
 * [batch | 1, 1, 1, length, length] (0 for visible keys, very negative for others). The result has the shape of q.
 */
export function attention(q: Value, k: Value, v: Value, bias: Value, options: AttentionOptions): Value {
  const { heads, kvHeads, headDim } = options;
  const [batch, length] = [axisSize(q, 0), axisSize(q, 1)];
  const groups = heads / kvHeads;
  if (!Number.isInteger(groups)) {
    throw new RangeError(`attention: expected heads (${heads}) to be a multiple of kvHeads (${kvHeads})`);
  }
  for (const [name, x, width] of [
    ['q', q, heads * headDim],
    ['k', k, kvHeads * headDim],
    ['v', v, kvHeads * headDim],
  ] as const) {
    if (!sameShape(x.shape, [batch, length, width])) {
      throw new RangeError(
        `attention: expected ${name} of ${formatShape([batch, length, width])}, found ${formatShape(x.shape)}`,
      );
    }
  }
  const split = (x: Value) => transpose(reshape(x, [batch, length, kvHeads, headDim]), [0, 2, 1, 3]);
  const queries = transpose(reshape(q, [batch, length, kvHeads, groups, headDim]), [0, 2, 3, 1, 4]);
  const scale = options.scale ?? 1 / Math.sqrt(headDim);
  return q.graph.apply(attentionOperator, [queries, split(k), split(v), bias], { scale })[0];
}

const rotaryOperator = defineOperator<{ heads: number }>()({
  name: 'rotary',
  operands: ['x', 'positions', 'cos', 'sin'],
  results: ['y'],
  infer: ([x]) => [{ dtype: 'float32', shape: x.shape }],
  emit(context, node) {
    const [, positions, cos] = node.inputs;
    context.bound(positions, axisSize(cos, 0), false);
    context.simple(node, 'RotaryEmbedding', {
      domain: 'com.microsoft',
      attributes: { interleaved: 0, num_heads: 0, rotary_embedding_dim: 0 },
    });
  },
  // The opposite angle undoes a rotation.
  vjp: ({ inputs: [, positions, cos, sin], attributes: { heads } }, [gradient]) => [
    rotary(gradient, positions, cos, neg(sin), heads),
    undefined,
    undefined,
    undefined,
  ],
});

/**
 * Rotary position embedding in the rotate-half layout (Su et al. 2021, arXiv 2104.09864): x [batch, length, heads *
 * headDim], int64 positions [batch, length], cosines and sines [positions, headDim / 2].
 */
export const rotary = (x: Value, positions: Value, cos: Value, sin: Value, heads: number): Value =>
  x.graph.apply(rotaryOperator, [x, positions, cos, sin], { heads })[0];
