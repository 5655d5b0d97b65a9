/**
 * Reads rows or elements by index, and the adjoint scatter. It uses `ScatterElements` with addition, never `ScatterND`,
 * which races on duplicate indices in the CPU build and silently loses gradients (measured).
 */
import { axisSize, formatShape, normalizeAxis, product, sameShape } from '../dims.js';
import type { Value } from '../graph.js';
import { defineOperator } from '../operator.js';
import { expand } from './reduce.js';
import { reshape, zeros } from './shape.js';

const zerosLike = (x: Value): Value => zeros(x.graph, x.shape);

const gatherRowsOperator = defineOperator()({
  name: 'gatherRows',
  operands: ['table', 'indices'],
  results: ['rows'],
  infer([table, indices]) {
    if (table.shape.length !== 2 || indices.dtype !== 'int64') {
      throw new TypeError(
        `gatherRows: expected a matrix and int64 indices, found ${formatShape(table.shape)} and ${indices.dtype}`,
      );
    }
    return [{ dtype: table.dtype, shape: [...indices.shape, table.shape[1] ?? 0] }];
  },
  emit(context, node) {
    const [table, indices] = node.inputs;
    context.bound(indices, axisSize(table, 0), true);
    context.simple(node, 'Gather', { attributes: { axis: 0 } });
  },
  vjp({ inputs: [table, indices] }, [gradient]) {
    const width = table.shape[1] ?? 0;
    const rows = product(...indices.shape);
    const flat = reshape(gradient, [rows, width]);
    const index = expand(reshape(indices, [rows, 1]), flat.shape);
    return [scatterAdd(zerosLike(table), index, flat, 0), undefined];
  },
});

/** Rows of a matrix: table [n, d], int64 indices [...] -> [..., d]. */
export const gatherRows = (table: Value, indices: Value): Value =>
  table.graph.apply(gatherRowsOperator, [table, indices], null)[0];

const gatherElementsOperator = defineOperator()({
  name: 'gatherElements',
  operands: ['x', 'indices'],
  results: ['elements'],
  infer([x, indices]) {
    if (indices.dtype !== 'int64' || indices.shape.length !== x.shape.length) {
      throw new TypeError(
        `gatherElements: expected int64 indices of the rank of ${formatShape(x.shape)}, found ${indices.dtype} ${formatShape(indices.shape)}`,
      );
    }
    return [{ dtype: x.dtype, shape: indices.shape }];
  },
  emit(context, node) {
    const [x, indices] = node.inputs;
    context.bound(indices, axisSize(x, x.shape.length - 1), true);
    context.simple(node, 'GatherElements', { attributes: { axis: -1 } });
  },
  vjp: ({ inputs: [x, indices] }, [gradient]) => [scatterAdd(zerosLike(x), indices, gradient, -1), undefined],
});

/** Along the last axis: out[..., j] = x[..., indices[..., j]]. */
export const gatherElements = (x: Value, indices: Value): Value =>
  x.graph.apply(gatherElementsOperator, [x, indices], null)[0];

export const scatterAddOperator = defineOperator<{ axis: number }>()({
  name: 'scatterAdd',
  operands: ['x', 'indices', 'updates'],
  results: ['y'],
  infer([x, indices, updates]) {
    const ranks = x.shape.length === indices.shape.length && sameShape(indices.shape, updates.shape);
    if (indices.dtype !== 'int64' || updates.dtype !== x.dtype || !ranks) {
      const found = [x, indices, updates].map(({ dtype, shape }) => `${dtype} ${formatShape(shape)}`);
      throw new TypeError(
        `scatterAdd: expected int64 indices and updates of one shape and the rank of x, found ${found.join(', ')}`,
      );
    }
    return [{ dtype: x.dtype, shape: x.shape }];
  },
  emit(context, node) {
    const { axis } = node.attributes;
    const [x, indices] = node.inputs;
    context.bound(indices, axisSize(x, axis), true);
    context.simple(node, 'ScatterElements', { attributes: { axis, reduction: 'add' } });
  },
  vjp({ inputs: [, indices], attributes: { axis } }, [gradient], needed) {
    if (needed[2] && axis !== gradient.shape.length - 1) {
      throw new Error('scatterAdd: the gradient of updates exists along the last axis only');
    }
    return [
      needed[0] ? gradient : undefined,
      undefined,
      needed[2] ? gatherElements(gradient, indices) : undefined,
    ];
  },
});

/** `x` with `updates` added at `indices` (same rank) along `axis`; duplicates add up. */
export const scatterAdd = (x: Value, indices: Value, updates: Value, axis: number): Value =>
  x.graph.apply(scatterAddOperator, [x, indices, updates], {
    axis: normalizeAxis('scatterAdd', axis, x.shape.length),
  })[0];
