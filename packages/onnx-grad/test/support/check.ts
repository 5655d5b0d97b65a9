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
  type Provider,
  Rehearsal,
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

  // A rehearsal knows the shape of everything that the operator emits.
  const program = emit(graph);
  const fed: Record<string, number> = {};
  for (const [name, { shape }] of program.inputs) {
    for (const [axis, dim] of shape.entries()) fed[dim] = feeds[name]?.shape[axis] as number;
  }
  const bytes = [...expected, ...Object.values(points)].reduce(
    (total, { data }) => total + 4 * data.length,
    0,
  );
  expect(new Rehearsal(program).run(fed).outputs, 'bytes of the outputs').toBe(bytes);

  const value = () =>
    list(test.reference(points, sizes)).reduce(
      (total, { data }, i) =>
        total + sumOver(data.length, (j) => (data[j] as number) * (cotangents[i]?.[j] as number)),
      0,
    );
  const numeric = names.map((name) =>
    centralDifferences(value, (points[name] as Tensor).data, test.step ?? 1e-5),
  );
  for (const [i, name] of names.entries()) {
    const largest = Math.max(...(numeric[i] as Float64Array).map(Math.abs));
    if (test.zero?.includes(name)) expect(largest, `reference gradient of ${name}`).toBe(0);
    else expect(largest, `reference gradient of ${name}`).toBeGreaterThan(1e-6);
  }
  for (const { label, results } of await runEverywhere(graph, feeds)) {
    for (const [i, { shape, data }] of expected.entries()) {
      const output = results[`output ${i}`];
      expect(output?.shape, `${label}: shape of output ${i}`).toEqual(shape);
      expect(relativeError(floats(output), data), `${label}: output ${i}`).toBeLessThan(tolerance);
    }
    for (const [i, name] of names.entries()) {
      const gradient = results[`gradient ${name}`];
      const shape = points[name]?.shape;
      expect(gradient?.shape, `${label}: shape of the gradient of ${name}`).toEqual(shape);
      const error = relativeError(floats(gradient), numeric[i] as Float64Array);
      expect(error, `${label}: gradient of ${name}`).toBeLessThan(tolerance);
    }
  }
}

interface Run {
  /** What it was emitted for, and where it ran. */
  label: string;
  results: Record<string, HostTensor>;
}

/** The providers that the tests run on: the CPU, and with WEBGPU=1 the GPU (or a software driver for it). */
export const PROVIDERS: readonly Provider[] = process.env.WEBGPU === '1' ? ['cpu', 'webgpu'] : ['cpu'];

/** What programs are emitted for, and where they run: what is emitted for a device runs on the CPU too. */
export const EMISSIONS = (
  [
    { emitted: 'cpu', provider: 'cpu' },
    { emitted: 'webgpu', provider: 'cpu' },
    { emitted: 'webgpu', provider: 'webgpu' },
  ] as const
).filter(({ provider }) => PROVIDERS.includes(provider));

/** Runs a graph in every emission. Feeds that one does not need are left out. */
async function runEverywhere(graph: Graph, feeds: Feeds): Promise<Run[]> {
  const runs: Run[] = [];
  for (const { emitted, provider } of EMISSIONS) {
    const session = await Session.create(emit(graph, { provider: emitted }), { provider });
    try {
      const used = Object.entries(feeds).filter(([name]) => session.program.inputs.has(name));
      runs.push({
        label: `emitted for ${emitted}, on ${provider}`,
        results: await session.run(Object.fromEntries(used)),
      });
    } finally {
      await session.dispose();
    }
  }
  return runs;
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

/** Builds and runs, for tests of a few numbers; the programs for all providers must agree. */
export async function evaluate(
  build: (graph: Graph) => Readonly<Record<string, Value>>,
  feeds: Feeds = {},
): Promise<Record<string, HostTensor>> {
  const graph = new Graph();
  for (const [name, value] of Object.entries(build(graph))) graph.output(name, value);
  const [first, ...others] = await runEverywhere(graph, feeds);
  if (first === undefined) throw new Error('evaluate: expected a run');
  for (const { label, results } of others) {
    for (const [name, { dtype, shape, data }] of Object.entries(first.results)) {
      expect(results[name], `${label}: ${name}`).toMatchObject({ dtype, shape });
      const found = numbers(results[name]);
      const expected = Array.from(data, Number);
      // Infinities have no difference.
      const finite = (values: number[]) => values.map((value) => (Number.isFinite(value) ? value : 0));
      expect(found.map(Number.isFinite), `${label}: ${name}`).toEqual(expected.map(Number.isFinite));
      expect(relativeError(finite(found), finite(expected)), `${label}: ${name}`).toBeLessThan(5e-6);
    }
  }
  return first.results;
}
