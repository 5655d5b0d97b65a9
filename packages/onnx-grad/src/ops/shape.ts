/** Operators that move, split or join data without arithmetic, and run-time sizes. */
import {
  axisSize,
  canonicalDim,
  canonicalShape,
  type Dim,
  formatShape,
  normalizeAxis,
  product,
  type Shape,
  sameShape,
} from '../dims.js';
import type { Dtype } from '../dtypes.js';
import { onnxDataType } from '../emit.js';
import type { Graph, Value } from '../graph.js';
import { defineOperator } from '../operator.js';

const reshapeOperator = defineOperator<{ shape: Shape }>()({
  name: 'reshape',
  operands: ['x'],
  results: ['y'],
  rearranges: true,
  infer([x], { shape }) {
    if (product(...x.shape) !== product(...shape)) {
      throw new RangeError(
        `reshape: ${formatShape(x.shape)} and ${formatShape(shape)} have different numbers of elements`,
      );
    }
    return [{ dtype: x.dtype, shape }];
  },
  emit(context, { inputs: [x], outputs: [y] }) {
    const target = context.reshapeTarget(x.shape, y.shape);
    context.node('Reshape', [context.name(x), target], { outputs: [context.name(y)] });
  },
  vjp: ({ inputs: [x] }, [gradient]) => [reshape(gradient, x.shape)],
});

/** The same elements in another shape (row-major). */
export function reshape(x: Value, shape: Shape): Value {
  const target = canonicalShape('reshape', shape);
  if (sameShape(x.shape, target)) return x;
  return x.graph.apply(reshapeOperator, [x], { shape: target })[0];
}

const transposeOperator = defineOperator<{ order: readonly number[] }>()({
  name: 'transpose',
  operands: ['x'],
  results: ['y'],
  rearranges: true,
  infer([x], { order }) {
    const sorted = [...order].sort((a, b) => a - b);
    if (order.length !== x.shape.length || sorted.some((axis, i) => axis !== i)) {
      throw new RangeError(`transpose: [${order.join(', ')}] is not a permutation of ${x.shape.length} axes`);
    }
    return [{ dtype: x.dtype, shape: order.map((axis) => axisSize(x, axis)) }];
  },
  emit: (context, node) => context.simple(node, 'Transpose', { attributes: { perm: node.attributes.order } }),
  vjp({ attributes: { order } }, [gradient]) {
    const inverse = order.map((_, axis) => order.indexOf(axis));
    return [transpose(gradient, inverse)];
  },
});

/** Reorders axes: axis `i` of the result is axis `order[i]` of `x`. */
export const transpose = (x: Value, order: readonly number[]): Value =>
  x.graph.apply(transposeOperator, [x], { order })[0];

/** The sum of sizes; undefined unless all are known. */
const add = (sizes: readonly Dim[]): number | undefined =>
  sizes.reduce<number | undefined>(
    (total, size) => (total === undefined || typeof size !== 'number' ? undefined : total + size),
    0,
  );

const formatType = ({ dtype, shape }: Value): string => `${dtype} ${formatShape(shape)}`;

interface SliceAttributes {
  axis: number;
  start: number;
  end: number;
}

const sliceOperator = defineOperator<SliceAttributes>()({
  name: 'slice',
  operands: ['x'],
  results: ['y'],
  rearranges: true,
  infer([x], { axis, start, end }) {
    const size = x.shape[axis];
    if (start < 0 || end <= start || (typeof size === 'number' && end > size)) {
      throw new RangeError(`slice: expected 0 <= start < end <= ${size}, found [${start}, ${end})`);
    }
    return [{ dtype: x.dtype, shape: x.shape.map((dim, i) => (i === axis ? end - start : dim)) }];
  },
  emit(context, { inputs: [x], outputs: [y], attributes: { axis, start, end } }) {
    const outputs = [context.name(y)];
    if (typeof x.shape[axis] === 'number') {
      const operands = [[start], [end], [axis]].map((values) => context.integers(values));
      context.node('Slice', [context.name(x), ...operands], { outputs });
      return;
    }
    // If the actual size is smaller, Slice would return what there is, and Gather fails.
    const indices = context.integers(Array.from({ length: end - start }, (_, i) => start + i));
    context.node('Gather', [context.name(x), indices], { attributes: { axis }, outputs });
  },
  vjp({ inputs: [x], attributes: { axis, start, end } }, [gradient]) {
    const size = axisSize(x, axis);
    const padding = (length: Dim) =>
      zeros(
        x.graph,
        x.shape.map((dim, i) => (i === axis ? length : dim)),
      );
    if (typeof size !== 'number') throw new Error('slice: gradients need a fixed size along the axis');
    const parts = [gradient];
    if (start > 0) parts.unshift(padding(start));
    if (end < size) parts.push(padding(size - end));
    return [parts.length === 1 ? gradient : concat(parts, axis)];
  },
});

/** Elements [start, end) along one axis. If its size is a symbol, a size below `end` is an error at run time. */
export const slice = (x: Value, axis: number, start: number, end: number): Value =>
  x.graph.apply(sliceOperator, [x], { axis: normalizeAxis('slice', axis, x.shape.length), start, end })[0];

const concatOperator = defineOperator<{ axis: number; size: Dim }>()({
  name: 'concat',
  operands: ['...parts'],
  results: ['whole'],
  infer(inputs, { axis, size }) {
    const [first] = inputs;
    for (const input of inputs) {
      const fits = input.shape.length === first.shape.length && input.dtype === first.dtype;
      if (!fits || input.shape.some((dim, i) => i !== axis && dim !== first.shape[i])) {
        throw new RangeError(
          `concat: ${formatType(input)} does not join ${formatType(first)} along axis ${axis}`,
        );
      }
    }
    const total = add(inputs.map((input) => axisSize(input, axis)));
    if (total !== undefined && total !== size) {
      throw new RangeError(`concat: expected the size ${total} along axis ${axis}, found ${size}`);
    }
    return [{ dtype: first.dtype, shape: first.shape.map((dim, i) => (i === axis ? size : dim)) }];
  },
  emit: (context, node) => context.simple(node, 'Concat', { attributes: { axis: node.attributes.axis } }),
  vjp({ inputs, attributes: { axis } }, [gradient]) {
    const sizes = inputs.map((input) => axisSize(input, axis));
    return gradient.graph.apply(splitOperator, [gradient], { axis, sizes });
  },
});

/** Joins values along one axis; pass `size` if the resulting size is symbolic. */
export function concat(values: readonly Value[], axis: number, size?: Dim): Value {
  const [first, ...rest] = values;
  if (first === undefined) throw new RangeError('concat: expected at least one value, found none');
  const normalized = normalizeAxis('concat', axis, first.shape.length);
  const given = size === undefined ? undefined : canonicalDim('concat', size);
  const total = given ?? add(values.map((value) => axisSize(value, normalized)));
  if (total === undefined) throw new RangeError('concat: the size along a symbolic axis must be given');
  return first.graph.apply(concatOperator, [first, ...rest], { axis: normalized, size: total })[0];
}

const splitOperator = defineOperator<{ axis: number; sizes: readonly Dim[] }>()({
  name: 'split',
  operands: ['x'],
  results: ['...parts'],
  rearranges: true,
  infer([x], { axis, sizes }) {
    const total = add(sizes);
    if (typeof x.shape[axis] === 'number' && total !== undefined && total !== x.shape[axis]) {
      throw new RangeError(`split: the sizes ${formatShape(sizes)} do not add up to ${x.shape[axis]}`);
    }
    const [first, ...rest] = sizes.map((size) => ({
      dtype: x.dtype,
      shape: x.shape.map((dim, i) => (i === axis ? size : dim)),
    }));
    if (first === undefined) throw new RangeError('split: expected at least one size, found none');
    return [first, ...rest];
  },
  emit(context, { inputs: [x], outputs, attributes: { axis, sizes } }) {
    context.node('Split', [context.name(x), context.shape(sizes)], {
      attributes: { axis },
      outputs: outputs.map((output) => context.name(output)),
    });
  },
  vjp({ inputs: [x], outputs, attributes: { axis } }, gradients) {
    const parts = outputs.map((output, i) => gradients[i] ?? zeros(output.graph, output.shape));
    return [concat(parts, axis, axisSize(x, axis))];
  },
});

/** Splits `x` along one axis into parts of the given sizes, which must add up to its size. */
export const split = (x: Value, axis: number, sizes: readonly Dim[]): readonly Value[] =>
  x.graph.apply(splitOperator, [x], {
    axis: normalizeAxis('split', axis, x.shape.length),
    sizes: canonicalShape('split', sizes),
  });

const castOperator = defineOperator<{ to: Dtype }>()({
  name: 'cast',
  operands: ['x'],
  results: ['y'],
  infer: ([x], { to }) => [{ dtype: to, shape: x.shape }],
  emit: (context, node) =>
    context.simple(node, 'Cast', { attributes: { to: onnxDataType(node.attributes.to) } }),
});

/** Converts between dtypes; no gradient. */
export const cast = (x: Value, to: Dtype): Value => x.graph.apply(castOperator, [x], { to })[0];

const dimensionOperator = defineOperator<{ dim: Dim }>()({
  name: 'dimension',
  operands: [],
  results: ['size'],
  infer: () => [{ dtype: 'float32', shape: [] }],
  emit(context, { outputs: [result], attributes: { dim } }) {
    const size = context.one('Cast', [context.dimension(dim)], {
      attributes: { to: onnxDataType('float32') },
    });
    context.node('Squeeze', [size], { outputs: [context.name(result)] });
  },
});

/** The run-time size of a dimension as a float32 scalar. */
export function dimension(graph: Graph, size: Dim): Value {
  const dim = canonicalDim('dimension', size);
  return typeof dim === 'number' ? graph.scalar(dim) : graph.apply(dimensionOperator, [], { dim })[0];
}

const iotaOperator = defineOperator<{ dim: Dim }>()({
  name: 'iota',
  operands: [],
  results: ['y'],
  infer: (_, { dim }) => [{ dtype: 'int64', shape: [dim] }],
  emit(context, { outputs: [y], attributes: { dim } }) {
    const limit = context.one('Squeeze', [context.dimension(dim)]);
    const start = context.one('Squeeze', [context.integers([0])]);
    const step = context.one('Squeeze', [context.integers([1])]);
    const outputs = [context.name(y)];
    switch (context.provider) {
      case 'cpu':
        context.node('Range', [start, limit, step], { outputs });
        return;
      case 'webgpu': {
        // It counts in int32 only.
        const as = (dtype: Dtype) => ({ attributes: { to: onnxDataType(dtype) } });
        const bounds = [start, limit, step].map((bound) => context.one('Cast', [bound], as('int32')));
        context.node('Cast', [context.one('Range', bounds)], { ...as('int64'), outputs });
        return;
      }
      default:
        context.provider satisfies never;
    }
  },
});

/** 0, 1, ..., size - 1 as int64. */
export function iota(graph: Graph, size: Dim): Value {
  return graph.apply(iotaOperator, [], { dim: canonicalDim('iota', size) })[0];
}

export const zerosOperator = defineOperator<{ shape: Shape }>()({
  name: 'zeros',
  operands: [],
  results: ['y'],
  infer: (_, { shape }) => [{ dtype: 'float32', shape }],
  emit(context, { outputs: [y], attributes: { shape } }) {
    const outputs = [context.name(y)];
    switch (context.provider) {
      case 'cpu':
        context.node('ConstantOfShape', [context.shape(shape)], { outputs });
        return;
      case 'webgpu':
        context.node('Expand', [context.float(0), context.shape(shape)], { outputs });
        return;
      default:
        context.provider satisfies never;
    }
  },
});

/** A float32 tensor of zeros. */
export const zeros = (graph: Graph, shape: Shape): Value =>
  graph.apply(zerosOperator, [], { shape: canonicalShape('zeros', shape) })[0];
