/** Operators that move, split or join data without arithmetic, and run-time sizes. */
import {
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
import { type Graph, type Operator, single, type Value } from '../graph.js';

const reshapeOperator: Operator<{ shape: Shape }> = {
  name: 'reshape',
  infer(inputs, { shape }) {
    const x = inputs[0] as Value;
    if (product(...x.shape) !== product(...shape)) {
      throw new RangeError(
        `reshape: ${formatShape(x.shape)} and ${formatShape(shape)} have different numbers of elements`,
      );
    }
    return [{ dtype: x.dtype, shape }];
  },
  emit(context, node) {
    const x = node.inputs[0] as Value;
    const target = context.reshapeTarget(x.shape, node.attributes.shape);
    context.node('Reshape', [context.name(x), target], { outputs: [context.name(single(node.outputs))] });
  },
  vjp: (node, [gradient]) => [gradient && reshape(gradient, (node.inputs[0] as Value).shape)],
};

/** The same elements in another shape (row-major). */
export function reshape(x: Value, shape: Shape): Value {
  const target = canonicalShape('reshape', shape);
  if (sameShape(x.shape, target)) return x;
  return single(x.graph.apply(reshapeOperator, [x], { shape: target }));
}

const transposeOperator: Operator<{ order: readonly number[] }> = {
  name: 'transpose',
  infer(inputs, { order }) {
    const x = inputs[0] as Value;
    const sorted = [...order].sort((a, b) => a - b);
    if (order.length !== x.shape.length || sorted.some((axis, i) => axis !== i)) {
      throw new RangeError(`transpose: [${order.join(', ')}] is not a permutation of ${x.shape.length} axes`);
    }
    return [{ dtype: x.dtype, shape: order.map((axis) => x.shape[axis] as Dim) }];
  },
  emit: (context, node) => context.simple(node, 'Transpose', { attributes: { perm: node.attributes.order } }),
  vjp: (node, [gradient]) => {
    const inverse = node.attributes.order.map((_, axis) => node.attributes.order.indexOf(axis));
    return [gradient && transpose(gradient, inverse)];
  },
};

/** Reorders axes: axis `i` of the result is axis `order[i]` of `x`. */
export const transpose = (x: Value, order: readonly number[]): Value =>
  single(x.graph.apply(transposeOperator, [x], { order }));

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

const sliceOperator: Operator<SliceAttributes> = {
  name: 'slice',
  infer(inputs, { axis, start, end }) {
    const x = inputs[0] as Value;
    const size = x.shape[axis];
    if (start < 0 || end <= start || (typeof size === 'number' && end > size)) {
      throw new RangeError(`slice: expected 0 <= start < end <= ${size}, found [${start}, ${end})`);
    }
    return [{ dtype: x.dtype, shape: x.shape.map((dim, i) => (i === axis ? end - start : dim)) }];
  },
  emit(context, node) {
    const { axis, start, end } = node.attributes;
    const x = node.inputs[0] as Value;
    const outputs = [context.name(single(node.outputs))];
    if (typeof x.shape[axis] === 'number') {
      const operands = [[start], [end], [axis]].map((values) => context.integers(values));
      context.node('Slice', [context.name(x), ...operands], { outputs });
      return;
    }
    // If the actual size is smaller, Slice would return what there is, and Gather fails.
    const indices = context.integers(Array.from({ length: end - start }, (_, i) => start + i));
    context.node('Gather', [context.name(x), indices], { attributes: { axis }, outputs });
  },
  vjp(node, [gradient]) {
    if (gradient === undefined) return [undefined];
    const x = node.inputs[0] as Value;
    const { axis, start, end } = node.attributes;
    const size = x.shape[axis] as Dim;
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
};

/** Elements [start, end) along one axis. If its size is a symbol, a size below `end` is an error at run time. */
export const slice = (x: Value, axis: number, start: number, end: number): Value =>
  single(
    x.graph.apply(sliceOperator, [x], { axis: normalizeAxis('slice', axis, x.shape.length), start, end }),
  );

const concatOperator: Operator<{ axis: number; size: Dim }> = {
  name: 'concat',
  infer(inputs, { axis, size }) {
    const first = inputs[0] as Value;
    for (const input of inputs) {
      const fits = input.shape.length === first.shape.length && input.dtype === first.dtype;
      if (!fits || input.shape.some((dim, i) => i !== axis && dim !== first.shape[i])) {
        throw new RangeError(
          `concat: ${formatType(input)} does not join ${formatType(first)} along axis ${axis}`,
        );
      }
    }
    const total = add(inputs.map((input) => input.shape[axis] as Dim));
    if (total !== undefined && total !== size) {
      throw new RangeError(`concat: expected the size ${total} along axis ${axis}, found ${size}`);
    }
    return [{ dtype: first.dtype, shape: first.shape.map((dim, i) => (i === axis ? size : dim)) }];
  },
  emit: (context, node) => context.simple(node, 'Concat', { attributes: { axis: node.attributes.axis } }),
  vjp(node, [gradient]) {
    if (gradient === undefined) return [];
    const { axis } = node.attributes;
    const sizes = node.inputs.map((input) => input.shape[axis] as Dim);
    return [...split(gradient, axis, sizes)];
  },
};

/** Joins values along one axis; pass `size` if the resulting size is symbolic. */
export function concat(values: readonly Value[], axis: number, size?: Dim): Value {
  const first = values[0];
  if (first === undefined) throw new RangeError('concat: expected at least one value, found none');
  const normalized = normalizeAxis('concat', axis, first.shape.length);
  const [given] = size === undefined ? [] : canonicalShape('concat', [size]);
  const total = given ?? add(values.map((value) => value.shape[normalized] as Dim));
  if (total === undefined) throw new RangeError('concat: the size along a symbolic axis must be given');
  return single(first.graph.apply(concatOperator, values, { axis: normalized, size: total }));
}

const splitOperator: Operator<{ axis: number; sizes: readonly Dim[] }> = {
  name: 'split',
  infer(inputs, { axis, sizes }) {
    const x = inputs[0] as Value;
    const total = add(sizes);
    if (typeof x.shape[axis] === 'number' && total !== undefined && total !== x.shape[axis]) {
      throw new RangeError(`split: the sizes ${formatShape(sizes)} do not add up to ${x.shape[axis]}`);
    }
    return sizes.map((size) => ({
      dtype: x.dtype,
      shape: x.shape.map((dim, i) => (i === axis ? size : dim)),
    }));
  },
  emit(context, node) {
    const sizes = context.shape(node.attributes.sizes);
    context.node('Split', [context.name(node.inputs[0] as Value), sizes], {
      attributes: { axis: node.attributes.axis },
      outputs: node.outputs.map((output) => context.name(output)),
    });
  },
  vjp(node, gradients) {
    const { axis } = node.attributes;
    const parts = node.outputs.map((output, i) => gradients[i] ?? zeros(output.graph, output.shape));
    return [concat(parts, axis, (node.inputs[0] as Value).shape[axis] as Dim)];
  },
};

/** Splits `x` along one axis into parts of the given sizes, which must add up to its size. */
export const split = (x: Value, axis: number, sizes: readonly Dim[]): readonly Value[] =>
  x.graph.apply(splitOperator, [x], {
    axis: normalizeAxis('split', axis, x.shape.length),
    sizes: canonicalShape('split', sizes),
  });

const castOperator: Operator<{ to: Dtype }> = {
  name: 'cast',
  infer: (inputs, { to }) => [{ dtype: to, shape: (inputs[0] as Value).shape }],
  emit: (context, node) =>
    context.simple(node, 'Cast', { attributes: { to: onnxDataType(node.attributes.to) } }),
};

/** Converts between dtypes; no gradient. */
export const cast = (x: Value, to: Dtype): Value => single(x.graph.apply(castOperator, [x], { to }));

const dimensionOperator: Operator<{ dim: Dim }> = {
  name: 'dimension',
  infer: () => [{ dtype: 'float32', shape: [] }],
  emit(context, node) {
    const size = context.one('Cast', [context.dimension(node.attributes.dim)], {
      attributes: { to: onnxDataType('float32') },
    });
    context.node('Squeeze', [size], { outputs: [context.name(single(node.outputs))] });
  },
};

/** The run-time size of a dimension as a float32 scalar. */
export function dimension(graph: Graph, size: Dim): Value {
  const [dim] = canonicalShape('dimension', [size]) as [Dim];
  return typeof dim === 'number' ? graph.scalar(dim) : single(graph.apply(dimensionOperator, [], { dim }));
}

const iotaOperator: Operator<{ dim: Dim }> = {
  name: 'iota',
  infer: (_, { dim }) => [{ dtype: 'int64', shape: [dim] }],
  emit(context, node) {
    const limit = context.one('Squeeze', [context.dimension(node.attributes.dim)]);
    const bounds = [0, 1].map((value) => context.one('Squeeze', [context.integers([value])]));
    context.node('Range', [bounds[0] as string, limit, bounds[1] as string], {
      outputs: [context.name(single(node.outputs))],
    });
  },
};

/** 0, 1, ..., size - 1 as int64. */
export function iota(graph: Graph, size: Dim): Value {
  const [dim] = canonicalShape('iota', [size]) as [Dim];
  return single(graph.apply(iotaOperator, [], { dim }));
}

export const zerosOperator: Operator<{ shape: Shape }> = {
  name: 'zeros',
  infer: (_, { shape }) => [{ dtype: 'float32', shape }],
  emit(context, node) {
    context.node('ConstantOfShape', [context.shape(node.attributes.shape)], {
      outputs: [context.name(single(node.outputs))],
    });
  },
};

/** A float32 tensor of zeros. */
export const zeros = (graph: Graph, shape: Shape): Value =>
  single(graph.apply(zerosOperator, [], { shape: canonicalShape('zeros', shape) }));
