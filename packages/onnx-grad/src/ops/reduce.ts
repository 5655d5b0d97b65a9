/** Reductions over axes, their adjoint (expand), and the inverse of broadcasting. */
import {
  broadcast,
  canonicalShape,
  type Dim,
  formatShape,
  normalizeAxis,
  type Shape,
  sameShape,
} from '../dims.js';
import type { Value } from '../graph.js';
import { defineOperator } from '../operator.js';
import { reshape } from './shape.js';

interface ReduceAttributes {
  axes: readonly number[];
  keepDims: boolean;
}

function reducedShape(shape: Shape, { axes, keepDims }: ReduceAttributes): Dim[] {
  if (keepDims) return shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim));
  return shape.filter((_, axis) => !axes.includes(axis));
}

const reductionOperator = (name: string, onnx: string) =>
  defineOperator<ReduceAttributes>()({
    name,
    operands: ['x'],
    results: ['y'],
    infer: ([{ dtype, shape }], attributes) => [{ dtype, shape: reducedShape(shape, attributes) }],
    emit(context, { inputs: [x], outputs: [y], attributes: { axes, keepDims } }) {
      context.node(onnx, [context.name(x), context.integers(axes)], {
        attributes: { keepdims: keepDims ? 1 : 0 },
        outputs: [context.name(y)],
      });
    },
  });

function reduction(operator: ReturnType<typeof reductionOperator>) {
  const { name } = operator;
  return (x: Value, axes?: readonly number[], keepDims = false): Value => {
    const all = axes ?? x.shape.map((_, axis) => axis);
    const normalized = all.map((axis) => normalizeAxis(name, axis, x.shape.length)).sort((a, b) => a - b);
    const twice = normalized.find((axis, i) => axis === normalized[i - 1]);
    if (twice !== undefined) throw new RangeError(`${name}: the axis ${twice} is given twice`);
    if (normalized.length === 0) return x;
    return x.graph.apply(operator, [x], { axes: normalized, keepDims })[0];
  };
}

/** Sum over `axes` (default all), in float32. */
export const sum = reduction({
  ...reductionOperator('sum', 'ReduceSum'),
  // The reduced axes restored as 1, and expanded.
  vjp({ inputs: [x], attributes: { axes } }, [gradient]) {
    const kept = reducedShape(x.shape, { axes, keepDims: true });
    return [gradient && expand(reshape(gradient, kept), x.shape)];
  },
});

/** Maximum over `axes`, without a gradient (for numerical stabilisation only). */
export const max = reduction(reductionOperator('max', 'ReduceMax'));

/** Sums `x` over the axes that broadcasting added or stretched, so that the result has `shape`. */
export function sumTo(x: Value, shape: Shape): Value {
  if (sameShape(x.shape, shape)) return x;
  const extra = x.shape.length - shape.length;
  const axes: number[] = [];
  for (let axis = 0; axis < x.shape.length; axis++) {
    if (axis < extra || (shape[axis - extra] === 1 && x.shape[axis] !== 1)) axes.push(axis);
  }
  return reshape(sum(x, axes, true), shape);
}

const expandOperator = defineOperator<{ shape: Shape }>()({
  name: 'expand',
  operands: ['x'],
  results: ['y'],
  rearranges: true,
  infer([x], { shape }) {
    if (!sameShape(broadcast('expand', x.shape, shape), shape)) {
      throw new RangeError(`expand: ${formatShape(x.shape)} does not broadcast to ${formatShape(shape)}`);
    }
    return [{ dtype: x.dtype, shape }];
  },
  emit(context, { inputs: [x], outputs: [y], attributes: { shape } }) {
    context.node('Expand', [context.name(x), context.shape(shape)], { outputs: [context.name(y)] });
  },
  vjp: ({ inputs: [x] }, [gradient]) => [sumTo(gradient, x.shape)],
});

/** Broadcasts `x` to `shape`. */
export function expand(x: Value, shape: Shape): Value {
  const target = canonicalShape('expand', shape);
  if (sameShape(x.shape, target)) return x;
  return x.graph.apply(expandOperator, [x], { shape: target })[0];
}
