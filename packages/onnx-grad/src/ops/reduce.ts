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
import { type Operator, single, type Value } from '../graph.js';
import { reshape } from './shape.js';

interface ReduceAttributes {
  axes: readonly number[];
  keepDims: boolean;
}

function reducedShape(shape: Shape, { axes, keepDims }: ReduceAttributes): Dim[] {
  if (keepDims) return shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim));
  return shape.filter((_, axis) => !axes.includes(axis));
}

function reduction(name: string, onnx: string, vjp?: Operator<ReduceAttributes>['vjp']) {
  const operator: Operator<ReduceAttributes> = {
    name,
    infer(inputs, attributes) {
      const x = inputs[0] as Value;
      return [{ dtype: x.dtype, shape: reducedShape(x.shape, attributes) }];
    },
    emit(context, node) {
      const axes = context.integers(node.attributes.axes);
      context.node(onnx, [context.name(node.inputs[0] as Value), axes], {
        attributes: { keepdims: node.attributes.keepDims ? 1 : 0 },
        outputs: [context.name(single(node.outputs))],
      });
    },
    ...(vjp && { vjp }),
  };
  return (x: Value, axes?: readonly number[], keepDims = false): Value => {
    const all = axes ?? x.shape.map((_, axis) => axis);
    const normalized = all.map((axis) => normalizeAxis(name, axis, x.shape.length)).sort((a, b) => a - b);
    const twice = normalized.find((axis, i) => axis === normalized[i - 1]);
    if (twice !== undefined) throw new RangeError(`${name}: the axis ${twice} is given twice`);
    if (normalized.length === 0) return x;
    return single(x.graph.apply(operator, [x], { axes: normalized, keepDims }));
  };
}

/** The gradient of a reduction, with the reduced axes restored as 1 and expanded to the input. */
function spread(gradient: Value, input: Value, attributes: ReduceAttributes): Value {
  const kept = reducedShape(input.shape, { axes: attributes.axes, keepDims: true });
  return expand(reshape(gradient, kept), input.shape);
}

/** Sum over `axes` (default all), in float32. */
export const sum = reduction('sum', 'ReduceSum', (node, [gradient]) => [
  gradient && spread(gradient, node.inputs[0] as Value, node.attributes),
]);

/** Maximum over `axes`, without a gradient (for numerical stabilisation only). */
export const max = reduction('max', 'ReduceMax');

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

const expandOperator: Operator<{ shape: Shape }> = {
  name: 'expand',
  infer(inputs, { shape }) {
    const x = inputs[0] as Value;
    if (!sameShape(broadcast('expand', x.shape, shape), shape)) {
      throw new RangeError(`expand: ${formatShape(x.shape)} does not broadcast to ${formatShape(shape)}`);
    }
    return [{ dtype: x.dtype, shape }];
  },
  emit: (context, node) => {
    context.node('Expand', [context.name(node.inputs[0] as Value), context.shape(node.attributes.shape)], {
      outputs: [context.name(single(node.outputs))],
    });
  },
  vjp: (node, [gradient]) => [gradient && sumTo(gradient, (node.inputs[0] as Value).shape)],
};

/** Broadcasts `x` to `shape`. */
export function expand(x: Value, shape: Shape): Value {
  const target = canonicalShape('expand', shape);
  if (sameShape(x.shape, target)) return x;
  return single(x.graph.apply(expandOperator, [x], { shape: target }));
}
