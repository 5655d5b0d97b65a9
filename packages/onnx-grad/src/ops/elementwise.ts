/**
 * Elementwise arithmetic with NumPy broadcasting. Gradients of broadcast arguments are summed to their shape.
 */
import { broadcast } from '../dims.js';
import type { Value } from '../graph.js';
import { defineOperator } from '../operator.js';
import { sumTo } from './reduce.js';

type Partial = (inputs: readonly [Value, Value], output: Value, gradient: Value) => Value;

function sameDtypes(name: string, a: Value, b: Value): void {
  if (a.dtype !== b.dtype) {
    throw new TypeError(`${name}: expected equal dtypes, found ${a.dtype}, ${b.dtype}`);
  }
}

/** A binary operator from its ONNX name and its two partial derivatives. */
function binary(name: string, onnx: string, partials: readonly [Partial, Partial]) {
  const operator = defineOperator()({
    name,
    operands: ['a', 'b'],
    results: ['y'],
    infer([a, b]) {
      sameDtypes(name, a, b);
      return [{ dtype: a.dtype, shape: broadcast(name, a.shape, b.shape) }];
    },
    emit: (context, node) => context.simple(node, onnx),
    vjp({ inputs, outputs: [y] }, [gradient], needed) {
      const incoming = (i: 0 | 1) =>
        needed[i] ? sumTo(partials[i](inputs, y, gradient), inputs[i].shape) : undefined;
      return [incoming(0), incoming(1)];
    },
  });
  return (a: Value, b: Value): Value => a.graph.apply(operator, [a, b], null)[0];
}

/** A unary operator from its ONNX name and its derivative. */
function unary(
  name: string,
  onnx: string,
  partial: (input: Value, output: Value, gradient: Value) => Value,
  options: { domain?: 'com.microsoft'; floats?: Record<string, number> } = {},
) {
  const operator = defineOperator()({
    name,
    operands: ['x'],
    results: ['y'],
    infer: ([{ dtype, shape }]) => [{ dtype, shape }],
    emit: (context, node) => context.simple(node, onnx, options),
    vjp: ({ inputs: [x], outputs: [y] }, [gradient]) => [partial(x, y, gradient)],
  });
  return (x: Value): Value => x.graph.apply(operator, [x], null)[0];
}

/** A comparison: the result is bool and has no gradient. */
function comparison(name: string, onnx: string) {
  const operator = defineOperator()({
    name,
    operands: ['a', 'b'],
    results: ['y'],
    infer([a, b]) {
      sameDtypes(name, a, b);
      return [{ dtype: 'bool', shape: broadcast(name, a.shape, b.shape) }];
    },
    emit: (context, node) => context.simple(node, onnx),
  });
  return (a: Value, b: Value): Value => a.graph.apply(operator, [a, b], null)[0];
}

/** `a + b`. */
export const add = binary('add', 'Add', [(_, __, g) => g, (_, __, g) => g]);
/** `a - b`. */
export const sub = binary('sub', 'Sub', [(_, __, g) => g, (_, __, g) => neg(g)]);
/** `a * b`. */
export const mul = binary('mul', 'Mul', [([, b], _, g) => mul(g, b), ([a], _, g) => mul(g, a)]);
/** `a / b`. */
export const div = binary('div', 'Div', [
  ([, b], _, g) => div(g, b),
  ([, b], quotient, g) => neg(div(mul(g, quotient), b)),
]);
/** Elementwise minimum; for ties, `a` gets the gradient. */
export const minimum = binary('minimum', 'Min', [
  ([a, b], _, g) => where(lessOrEqual(a, b), g, g.graph.scalar(0)),
  ([a, b], _, g) => where(lessOrEqual(a, b), g.graph.scalar(0), g),
]);
/** Elementwise maximum; for ties, `a` gets the gradient. */
export const maximum = binary('maximum', 'Max', [
  ([a, b], _, g) => where(lessOrEqual(b, a), g, g.graph.scalar(0)),
  ([a, b], _, g) => where(lessOrEqual(b, a), g.graph.scalar(0), g),
]);

/** `-x`. */
export const neg = unary('neg', 'Neg', (_, __, g) => neg(g));
/** `e^x`. */
export const exp = unary('exp', 'Exp', (_, y, g) => mul(g, y));
/** Natural logarithm. */
export const log = unary('log', 'Log', (x, _, g) => div(g, x));
/** Square root. */
export const sqrt = unary('sqrt', 'Sqrt', (_, y, g) => div(mul(g, g.graph.scalar(0.5)), y));
/** Logistic function. */
export const sigmoid = unary('sigmoid', 'Sigmoid', (_, y, g) => mul(g, mul(y, sub(g.graph.scalar(1), y))));
/** Hyperbolic tangent. */
export const tanh = unary('tanh', 'Tanh', (_, y, g) => mul(g, sub(g.graph.scalar(1), mul(y, y))));
/** `max(x, 0)`; the gradient at 0 is 0. */
export const relu = unary('relu', 'Relu', (x, _, g) =>
  where(greater(x, g.graph.scalar(0)), g, g.graph.scalar(0)),
);
/** `x * sigmoid(x)`, ONNX Runtime's fused QuickGelu with alpha 1. Derivative: s + y (1 - s). */
export const silu = unary(
  'silu',
  'QuickGelu',
  (x, y, g) => {
    const s = sigmoid(x);
    return mul(g, add(s, mul(y, sub(g.graph.scalar(1), s))));
  },
  { domain: 'com.microsoft', floats: { alpha: 1 } },
);

/** `a > b`. */
export const greater = comparison('greater', 'Greater');
/** `a <= b`. */
export const lessOrEqual = comparison('lessOrEqual', 'LessOrEqual');
/** `a == b`. */
export const equal = comparison('equal', 'Equal');

const whereOperator = defineOperator()({
  name: 'where',
  operands: ['condition', 'a', 'b'],
  results: ['y'],
  infer([condition, a, b]) {
    if (condition.dtype !== 'bool')
      throw new TypeError(`where: expected a bool condition, found ${condition.dtype}`);
    sameDtypes('where', a, b);
    return [
      { dtype: a.dtype, shape: broadcast('where', condition.shape, broadcast('where', a.shape, b.shape)) },
    ];
  },
  emit: (context, node) => context.simple(node, 'Where'),
  vjp({ inputs: [condition, a, b] }, [gradient], needed) {
    const zero = gradient.graph.scalar(0);
    return [
      undefined,
      needed[1] ? sumTo(where(condition, gradient, zero), a.shape) : undefined,
      needed[2] ? sumTo(where(condition, zero, gradient), b.shape) : undefined,
    ];
  },
});

/** `condition ? a : b`, elementwise. */
export const where = (condition: Value, a: Value, b: Value): Value =>
  condition.graph.apply(whereOperator, [condition, a, b], null)[0];

/** `x` limited to [low, high]; the gradient is 0 outside. */
export const clip = (x: Value, low: number, high: number): Value =>
  minimum(maximum(x, x.graph.scalar(low)), x.graph.scalar(high));

const stopOperator = defineOperator()({
  name: 'stopGradient',
  operands: ['x'],
  results: ['y'],
  rearranges: true,
  infer: ([{ dtype, shape }]) => [{ dtype, shape }],
  emit: (context, node) => context.simple(node, 'Identity'),
});

/** The same value without a gradient. */
export const stopGradient = (x: Value): Value => x.graph.apply(stopOperator, [x], null)[0];
