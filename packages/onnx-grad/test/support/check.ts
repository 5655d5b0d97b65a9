/**
 * Checks an operator as run by ONNX Runtime, forward and gradient, against a float64 reference of the forward function,
 * differentiated by central differences. The loss is the sum of all outputs, each times a random cotangent.
 */
import {
  add,
  emit,
  type Feeds,
  f32,
  floats,
  Graph,
  gradients,
  type HostTensor,
  i64,
  mul,
  Session,
  type Shape,
  sum,
  type Value,
} from 'onnx-grad';
import { expect } from 'vitest';
import { type Random, random } from './random.js';
import { relativeError, sizeOf, sumOver, type Tensor } from './tensor.js';

export interface OperatorCase {
  name: string;
  /** Values of the symbols in shapes. */
  sizes?: Readonly<Record<string, number>>;
  /** The float32 inputs that are differentiated: shapes, or shapes with a sampler of elements (default: normal). */
  inputs: Readonly<
    Record<string, Shape | { shape: Shape; sample: (random: Random, index: number) => number }>
  >;
  /** int64 inputs, row-major. */
  indices?: Readonly<Record<string, { shape: Shape; values: readonly number[] }>>;
  build(inputs: Readonly<Record<string, Value>>, graph: Graph): Value | readonly Value[];
  reference(
    inputs: Readonly<Record<string, Tensor>>,
    sizes: Readonly<Record<string, number>>,
  ): Tensor | readonly Tensor[];
  /** Bound on the norm-wise relative error of outputs and gradients. Default 5e-6. */
  tolerance?: number;
  /** Step of the central differences. Default 1e-5. */
  step?: number;
  /** Inputs whose gradient is exactly zero; of all others it is asserted that it is not. */
  zero?: readonly string[];
}

const list = <T>(x: T | readonly T[]): readonly T[] => (Array.isArray(x) ? x : [x]) as readonly T[];

/** Runs one case; the assertions name the tensor at fault. */
export async function checkOperator(test: OperatorCase): Promise<void> {
  const source = random(test.name);
  const sizes = test.sizes ?? {};
  const tolerance = test.tolerance ?? 5e-6;
  const actual = (shape: Shape) =>
    shape.map((dim) => (typeof dim === 'number' ? dim : (sizes[dim] as number)));

  const graph = new Graph();
  const values: Record<string, Value> = {};
  const feeds: Record<string, HostTensor> = {};
  const points: Record<string, Tensor> = {};
  for (const [name, input] of Object.entries(test.inputs)) {
    const { shape, sample } = 'shape' in input ? input : { shape: input, sample: (r: Random) => r.normal() };
    const single = Float32Array.from({ length: sizeOf(actual(shape)) }, (_, i) => sample(source, i));
    values[name] = graph.input(name, 'float32', shape);
    feeds[name] = f32(single, actual(shape));
    points[name] = { shape: actual(shape), data: Float64Array.from(single) };
  }
  for (const [name, { shape, values: indices }] of Object.entries(test.indices ?? {})) {
    values[name] = graph.input(name, 'int64', shape);
    feeds[name] = i64(indices, actual(shape));
  }

  const expected = list(test.reference(points, sizes));
  const built = list(test.build(values, graph));
  const cotangents = expected.map(({ shape }) => Float32Array.from({ length: sizeOf(shape) }, source.normal));
  const terms = built.map((output, i) => {
    graph.output(`output ${i}`, output);
    feeds[`cotangent ${i}`] = f32(cotangents[i] as Float32Array, (expected[i] as Tensor).shape);
    return sum(mul(output, graph.input(`cotangent ${i}`, 'float32', output.shape)));
  });
  const loss = terms.reduce((a, b) => add(a, b));
  const names = Object.keys(test.inputs);
  const found = gradients(
    loss,
    names.map((name) => values[name] as Value),
  );
  for (const [i, name] of names.entries()) graph.output(`gradient ${name}`, found[i] as Value);

  const session = await Session.create(emit(graph));
  try {
    const program = session.program;
    const used = Object.fromEntries(Object.entries(feeds).filter(([name]) => program.inputs.has(name)));
    const results = await session.run(used);
    for (const [i, { shape, data }] of expected.entries()) {
      const output = results[`output ${i}`];
      expect(output?.shape, `shape of output ${i}`).toEqual(shape);
      expect(relativeError(floats(output), data), `output ${i}`).toBeLessThan(tolerance);
    }
    const value = () =>
      list(test.reference(points, sizes)).reduce(
        (total, { data }, i) =>
          total + sumOver(data.length, (j) => (data[j] as number) * (cotangents[i]?.[j] as number)),
        0,
      );
    for (const name of names) {
      const { shape, data } = points[name] as Tensor;
      const numeric = centralDifferences(value, data, test.step ?? 1e-5);
      const gradient = results[`gradient ${name}`];
      expect(gradient?.shape, `shape of the gradient of ${name}`).toEqual(shape);
      if (test.zero?.includes(name)) {
        expect(Array.from(numeric), `reference gradient of ${name}`).toEqual(Array.from(numeric, () => 0));
      } else {
        expect(Math.max(...numeric.map(Math.abs)), `reference gradient of ${name}`).toBeGreaterThan(1e-6);
      }
      expect(relativeError(floats(gradient), numeric), `gradient of ${name}`).toBeLessThan(tolerance);
    }
  } finally {
    await session.dispose();
  }
}

/** The gradient of `f` at `x` by (f(x + h e) - f(x - h e)) / 2h; `x` is modified and restored. */
export function centralDifferences(f: () => number, x: Float64Array, step: number): Float64Array {
  return Float64Array.from(x, (value, i) => {
    x[i] = value + step;
    const above = f();
    x[i] = value - step;
    const below = f();
    x[i] = value;
    return (above - below) / (2 * step);
  });
}

/** The elements of a tensor of any dtype as ordinary numbers. */
export function numbers(tensor: HostTensor | undefined): number[] {
  if (tensor === undefined) throw new TypeError('numbers: expected a tensor');
  return Array.from(tensor.data as ArrayLike<number | bigint>, Number);
}

/** Builds, runs once and disposes, for tests of a few numbers. */
export async function evaluate(
  build: (graph: Graph) => Readonly<Record<string, Value>>,
  feeds: Feeds = {},
): Promise<Record<string, HostTensor>> {
  const graph = new Graph();
  for (const [name, value] of Object.entries(build(graph))) graph.output(name, value);
  const session = await Session.create(emit(graph));
  try {
    return await session.run(feeds);
  } finally {
    await session.dispose();
  }
}
