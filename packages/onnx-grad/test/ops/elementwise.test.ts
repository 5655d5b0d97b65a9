import {
  add,
  clip,
  div,
  equal,
  exp,
  f32,
  floats,
  gradients,
  greater,
  lessOrEqual,
  log,
  maximum,
  minimum,
  mul,
  neg,
  relu,
  type Shape,
  sigmoid,
  silu,
  sqrt,
  stopGradient,
  sub,
  sum,
  tanh,
  type Value,
  where,
} from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { checkOperator, evaluate, numbers } from '../support/check.js';
import type { Random } from '../support/random.js';
import { at, map, type Tensor, tabulate } from '../support/tensor.js';

const SHAPES: readonly { a: Shape; b: Shape; result: Shape }[] = [
  { a: [3, 5], b: [3, 5], result: [3, 5] },
  { a: [3, 5], b: [5], result: [3, 5] },
  { a: [5], b: [3, 5], result: [3, 5] },
  { a: [3, 1], b: [1, 5], result: [3, 5] },
  { a: [2, 1, 4], b: [3, 1], result: [2, 3, 4] },
  { a: [], b: [2, 3], result: [2, 3] },
  { a: [2, 3], b: [1, 1, 1], result: [1, 2, 3] },
  { a: ['B', 3], b: ['B', 1], result: ['B', 3] },
  { a: ['B', 1, 'S'], b: ['S'], result: ['B', 1, 'S'] },
];
const SIZES = { B: 4, S: 3 };
const sized = (shape: Shape) => shape.map((dim) => (typeof dim === 'number' ? dim : SIZES[dim as 'B' | 'S']));

/** Away from zero, both signs. */
const divisor = (random: Random) => random.uniform(0.5, 2) * (random.uniform() < 0.5 ? -1 : 1);
/** Values for which minimum and maximum choose each argument somewhere: one small, one large with either sign. */
const small = (random: Random) => random.uniform(-0.4, 0.4);
const large = (random: Random, index: number) => random.uniform(0.5, 1) * (index % 2 === 0 ? -1 : 1);
const choosing = (shape: Shape) => (shape.length === 0 ? small : large);
const chosen = (other: Shape) => (other.length === 0 ? large : small);
const normal = (random: Random) => random.normal();

const BINARY = [
  { name: 'add', build: add, f: (a: number, b: number) => a + b },
  { name: 'sub', build: sub, f: (a: number, b: number) => a - b },
  { name: 'mul', build: mul, f: (a: number, b: number) => a * b },
  { name: 'div', build: div, f: (a: number, b: number) => a / b, sampleB: () => divisor },
  { name: 'minimum', build: minimum, f: Math.min, sampleA: choosing, sampleB: chosen },
  { name: 'maximum', build: maximum, f: Math.max, sampleA: choosing, sampleB: chosen },
];

describe.each(BINARY)('$name', ({ name, build, f, sampleA = () => normal, sampleB = () => normal }) => {
  test.each(SHAPES)('$a with $b', async ({ a, b, result }) => {
    await checkOperator({
      name: `${name} ${a} ${b}`,
      sizes: SIZES,
      inputs: { a: { shape: a, sample: sampleA(a) }, b: { shape: b, sample: sampleB(a) } },
      build: (x) => build(x.a as Value, x.b as Value),
      reference: (x) =>
        tabulate(sized(result), (...i) => f(at(x.a as Tensor, ...i), at(x.b as Tensor, ...i))),
    });
  });

  test('of a value with itself', async () => {
    await checkOperator({
      name: `${name} self`,
      inputs: { a: { shape: [7], sample: divisor } },
      build: ({ a }) => build(mul(a as Value, a as Value), a as Value),
      reference: ({ a }) => map(a as Tensor, (x) => f(x * x, x)),
    });
  });
});

const logistic = (x: number) => 1 / (1 + Math.exp(-x));
const positive = (random: Random) => random.uniform(0.1, 3);

const UNARY: readonly {
  name: string;
  build: (x: Value) => Value;
  f: (x: number) => number;
  sample?: (random: Random) => number;
  /** Where to test a scalar, for functions that are flat somewhere. */
  scalar?: number;
}[] = [
  { name: 'neg', build: neg, f: (x) => -x },
  { name: 'exp', build: exp, f: Math.exp },
  { name: 'log', build: log, f: Math.log, sample: positive },
  { name: 'sqrt', build: sqrt, f: Math.sqrt, sample: positive },
  { name: 'sigmoid', build: sigmoid, f: logistic },
  { name: 'tanh', build: tanh, f: Math.tanh },
  { name: 'relu', build: relu, f: (x) => Math.max(x, 0), scalar: 0.3 },
  { name: 'silu', build: silu, f: (x) => x * logistic(x) },
  { name: 'clip', build: (x) => clip(x, -0.5, 0.8), f: (x) => Math.min(Math.max(x, -0.5), 0.8), scalar: 0.3 },
];

describe.each(UNARY)('$name', ({ name, build, f, scalar, sample = normal }) => {
  test.each([{ shape: [3, 7] }, { shape: [] }, { shape: ['B', 5] }])('$shape', async ({ shape }) => {
    await checkOperator({
      name: `${name} ${shape}`,
      sizes: SIZES,
      inputs: { x: { shape, sample: shape.length === 0 && scalar !== undefined ? () => scalar : sample } },
      build: ({ x }) => build(x as Value),
      reference: ({ x }) => map(x as Tensor, f),
    });
  });
});

test('where selects values and gradients, with all three arguments broadcast', async () => {
  await checkOperator({
    name: 'where',
    inputs: { a: [3, 1], b: [4], threshold: [3, 4] },
    // Only the comparison reads the threshold, so no gradient reaches it.
    zero: ['threshold'],
    build: ({ a, b, threshold }, graph) =>
      where(greater(threshold as Value, graph.scalar(0.1)), a as Value, b as Value),
    reference: ({ a, b, threshold }) =>
      tabulate([3, 4], (i, j) =>
        at(threshold as Tensor, i, j) > Math.fround(0.1) ? at(a as Tensor, i, j) : at(b as Tensor, i, j),
      ),
  });
});

/** Output and gradient of the sum for given elements. */
async function pointwise(build: (x: Value) => Value, elements: readonly number[]) {
  const results = await evaluate(
    (graph) => {
      const x = graph.input('x', 'float32', [elements.length]);
      const y = build(x);
      return { y, dx: gradients(sum(y), [x])[0] as Value };
    },
    { x: f32(Float32Array.from(elements), [elements.length]) },
  );
  return { y: Array.from(floats(results.y)), dx: Array.from(floats(results.dx)) };
}

describe('ties', () => {
  const build = (select: typeof minimum) => async () => {
    const feeds = { a: f32(Float32Array.of(1, 2, 3), [3]), b: f32(Float32Array.of(1, 3, 3), [3]) };
    const results = await evaluate((graph) => {
      const a = graph.input('a', 'float32', [3]);
      const b = graph.input('b', 'float32', [3]);
      const y = select(a, b);
      const [da, db] = gradients(sum(y), [a, b]) as [Value, Value];
      return { y, da, db };
    }, feeds);
    return ['y', 'da', 'db'].map((name) => Array.from(floats(results[name])));
  };

  test('minimum gives the gradient to its first argument', async () => {
    expect(await build(minimum)()).toEqual([
      [1, 2, 3],
      [1, 1, 1],
      [0, 0, 0],
    ]);
  });

  test('maximum gives the gradient to its first argument', async () => {
    expect(await build(maximum)()).toEqual([
      [1, 3, 3],
      [1, 0, 1],
      [0, 1, 0],
    ]);
  });

  test('clip passes the gradient at its bounds, relu does not at zero', async () => {
    const clipped = await pointwise((x) => clip(x, -1, 2), [-1.5, -1, 0, 2, 2.5]);
    expect(clipped).toEqual({ y: [-1, -1, 0, 2, 2], dx: [0, 1, 1, 1, 0] });
    expect((await pointwise(relu, [-1, 0, 1])).dx).toEqual([0, 0, 1]);
  });
});

describe('extreme values', () => {
  test.each([
    // silu' tends to 1 and 0; silu to x and -0.
    { name: 'silu', build: silu, x: [-1e4, -80, 80, 1e4], y: [0, 0, 80, 1e4], dx: [0, 0, 1, 1] },
    { name: 'sigmoid', build: sigmoid, x: [-1e4, -80, 80, 1e4], y: [0, 0, 1, 1], dx: [0, 0, 0, 0] },
    { name: 'tanh', build: tanh, x: [-1e4, -80, 80, 1e4], y: [-1, -1, 1, 1], dx: [0, 0, 0, 0] },
    { name: 'exp', build: exp, x: [-200, -1e4], y: [0, 0], dx: [0, 0] },
  ])('$name saturates without NaN', async ({ build, x, y, dx }) => {
    const found = await pointwise(build, x);
    for (const [i, value] of found.y.entries()) expect(value).toBeCloseTo(y[i] as number, 5);
    for (const [i, value] of found.dx.entries()) expect(value).toBeCloseTo(dx[i] as number, 5);
  });

  test('log near zero keeps its relative accuracy', async () => {
    const x = [1e-30, 1e-37, 3e-5];
    const found = await pointwise(log, x);
    for (const [i, value] of x.entries()) {
      expect(found.y[i]).toBeCloseTo(Math.log(value), 4);
      expect((found.dx[i] as number) * value).toBeCloseTo(1, 5);
    }
  });
});

test('comparisons give bools and no gradient', async () => {
  const feeds = { a: f32(Float32Array.of(1, 2, 3), [3]), b: f32(Float32Array.of(2), [1]) };
  const results = await evaluate((graph) => {
    const a = graph.input('a', 'float32', [3]);
    const b = graph.input('b', 'float32', [1]);
    const [da] = gradients(sum(where(greater(a, b), a, graph.scalar(0))), [a]) as [Value];
    return { greater: greater(a, b), lessOrEqual: lessOrEqual(a, b), equal: equal(a, b), da };
  }, feeds);
  expect(numbers(results.greater)).toEqual([0, 0, 1]);
  expect(numbers(results.lessOrEqual)).toEqual([1, 1, 0]);
  expect(numbers(results.equal)).toEqual([0, 1, 0]);
  expect(Array.from(floats(results.da))).toEqual([0, 0, 1]);
});

test('stopGradient is the identity forwards and has no gradient', async () => {
  // d/dx of x * stop(x) is stop(x), half of what x * x has.
  const { y, dx } = await pointwise((x) => mul(x, stopGradient(x)), [1, -2, 3]);
  expect(y).toEqual([1, 4, 9]);
  expect(dx).toEqual([1, -2, 3]);
});
