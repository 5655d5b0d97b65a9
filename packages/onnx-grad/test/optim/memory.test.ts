/** Gradients and moments in one WebAssembly memory give bit-identical numbers, and nothing else is touched. */
import { AdamW, allocateGradients, GradientAccumulator, globalNorm } from 'onnx-grad/optim';
import { expect, test } from 'vitest';
import { LENGTHS, randomTensor } from './random.js';

const tensors = (seed: number) =>
  new Map(LENGTHS.map(([name, length]) => [name, randomTensor(seed + length, length)]));

/** Parameters after `steps` updates; `gradient` gives the arrays of one step. */
function train(steps: number, gradients: (step: number) => ReadonlyMap<string, Float32Array>) {
  const parameters = tensors(0);
  const adamw = new AdamW();
  for (let step = 0; step < steps; step++) adamw.step(parameters, gradients(step), { learningRate: 0.01 });
  return { parameters, state: adamw.state() };
}

/** The gradients of a step, in ordinary arrays and in WebAssembly memory. */
const ordinary = (step: number) => tensors(1000 * (step + 1));
function settled(): (step: number) => ReadonlyMap<string, Float32Array> {
  const arrays = allocateGradients(LENGTHS.map(([, length]) => length));
  return (step) => {
    for (const [i, gradient] of [...ordinary(step).values()].entries()) arrays[i]?.set(gradient);
    return new Map(arrays.map((array, i) => [LENGTHS[i]?.[0] as string, array]));
  };
}

const bits = (array: Float32Array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
/** Bit-identical. */
function expectSame(found: ReadonlyMap<string, Float32Array>, expected: ReadonlyMap<string, Float32Array>) {
  expect([...found.keys()]).toEqual([...expected.keys()]);
  for (const [name, array] of found)
    expect(bits(array).equals(bits(expected.get(name) as Float32Array)), name).toBe(true);
}

test('updates are bit-identical, and moments are beside their gradients', () => {
  const expected = train(4, ordinary);
  const gradients = settled();
  const found = train(4, gradients);
  expectSame(found.parameters, expected.parameters);
  for (const [name, { first, second }] of found.state) {
    const { buffer } = gradients(0).get(name) as Float32Array;
    expect(first.buffer === buffer && second.buffer === buffer).toBe(true);
    const moments = expected.state.get(name);
    expect(bits(first).equals(bits(moments?.first as Float32Array)), name).toBe(true);
    expect(bits(second).equals(bits(moments?.second as Float32Array)), name).toBe(true);
  }
});

test('gradients are only read, and neighbours are not touched', () => {
  const gradients = settled();
  train(3, gradients);
  const last = gradients(2);
  const { parameters } = train(1, () => last);
  expectSame(parameters, train(1, () => ordinary(2)).parameters);
  expectSame(last, ordinary(2));
});

test('loaded moments move beside the gradients', () => {
  const half = train(2, ordinary);
  const gradients = settled();
  const resumed = new AdamW();
  resumed.loadState(half.state);
  for (const step of [2, 3]) resumed.step(half.parameters, gradients(step), { learningRate: 0.01 });
  expectSame(half.parameters, train(4, ordinary).parameters);
  for (const { first } of resumed.state().values()) {
    expect(first.buffer === gradients(0).values().next().value?.buffer).toBe(true);
  }
});

test('moments stay in place if gradients come from elsewhere', () => {
  const gradients = settled();
  const found = train(4, (step) => (step % 2 === 0 ? gradients(step) : ordinary(step)));
  expectSame(found.parameters, train(4, ordinary).parameters);
});

test('norms and sums are bit-identical', () => {
  const gradients = settled()(0);
  expect(globalNorm(gradients)).toBe(globalNorm(ordinary(0)));
  const [found, expected] = [new GradientAccumulator(), new GradientAccumulator()];
  for (const weight of [0.25, 0.5]) {
    found.add(gradients, weight);
    expected.add(ordinary(0), weight);
  }
  expectSame(found.result(), expected.result());
});

test('a view of such an array is updated without its surroundings', () => {
  const [gradient] = allocateGradients([40]) as [Float32Array];
  gradient.fill(1);
  const part = gradient.subarray(8, 14);
  const sums = new GradientAccumulator();
  sums.add(new Map([['part', part]]), 2);
  const [target] = allocateGradients([40]) as [Float32Array];
  new AdamW().step(new Map([['part', target.subarray(8, 14)]]), new Map([['part', part]]), {
    learningRate: 1,
  });
  expect(gradient).toEqual(new Float32Array(40).fill(1));
  expect([...target.subarray(0, 8), ...target.subarray(14)]).toEqual(new Array(34).fill(0));
  expect(target.subarray(8, 14).every((value) => value < 0)).toBe(true);
});

test('arrays that exceed one memory are allocated too', () => {
  const lengths = [2 ** 28, 2 ** 28];
  const arrays = allocateGradients(lengths);
  expect(arrays.map(({ length }) => length)).toEqual(lengths);
  expect(arrays[0]?.buffer === arrays[1]?.buffer).toBe(false);
});
