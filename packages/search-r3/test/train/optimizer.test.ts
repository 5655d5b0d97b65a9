/** The optimiser's state, and what it refuses. (Its updates are tested in `engine.slow.test.ts` and `trainer.slow.test.ts`.) */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DivergenceError, InputError, randomStream, readStateFile, writeStateFile } from 'search-r3/run';
import { Optimizer, optimizationSchema } from 'search-r3/train';
import { afterAll, beforeAll, expect, test } from 'vitest';

const OPTIONS = optimizationSchema.parse({
  learningRate: 0.01,
  schedule: 'linear',
  warmupSteps: 2,
  finalLearningRate: 0.1,
  weightDecay: 0.1,
  betas: [0.9, 0.95],
  maxGradientNorm: 1,
  maxTokens: 100,
  checkpointActivations: false,
});
const SHAPES = { matrix: [3, 5], norm: [7] };

function parameters() {
  const random = randomStream(1, 'parameters');
  return new Map(
    Object.entries(SHAPES).map(([name, shape]) => {
      const length = shape.reduce((a, b) => a * b);
      return [name, { shape, data: Float32Array.from({ length }, () => random.normal()) }];
    }),
  );
}

const gradients = (step: number) => {
  const random = randomStream(2, 'gradients', step);
  return new Map([...parameters()].map(([name, { data }]) => [name, data.map(() => random.normal())]));
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'optimizer-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('saved to a file and restored, it goes on to the bit', async () => {
  const straight = parameters();
  const whole = new Optimizer(straight, OPTIONS, 6);
  for (let step = 0; step < 6; step++) whole.update(step, gradients(step));

  const halted = parameters();
  const first = new Optimizer(halted, OPTIONS, 6);
  for (let step = 0; step < 3; step++) first.update(step, gradients(step));
  const path = join(folder, 'optimizer.state');
  await writeStateFile(path, first.state());
  const second = new Optimizer(halted, OPTIONS, 6);
  second.restore(await readStateFile(path));
  for (let step = 3; step < 6; step++) second.update(step, gradients(step));
  for (const [name, { data }] of straight) expect(halted.get(name)!.data).toEqual(data);

  // Without the moments it would not.
  const forgetful = new Optimizer(halted, OPTIONS, 6);
  const before = halted.get('matrix')!.data.slice();
  forgetful.update(5, gradients(5));
  expect(before).not.toEqual(halted.get('matrix')!.data);
});

test('the warm-up takes at most half of the steps', () => {
  const rates = (warmupSteps: number, steps: number) => {
    const optimizer = new Optimizer(parameters(), { ...OPTIONS, warmupSteps, schedule: 'constant' }, steps);
    return Array.from({ length: steps }, (_, step) => optimizer.update(step, gradients(step)).learningRate);
  };
  // Half of five steps, rounded down, is two: the rate rises in halves.
  expect(rates(20, 5)).toEqual(rates(2, 5));
  expect(rates(20, 5)[0]).toBeCloseTo(0.005, 12);
  expect(rates(20, 5)[1]).toBeCloseTo(0.01, 12);
  expect(rates(20, 1)).toEqual([0.01]);
});

test('a state of another model is refused by name', () => {
  const model = parameters();
  const optimizer = new Optimizer(model, OPTIONS, 6);
  optimizer.update(0, gradients(0));
  const { metadata, arrays } = optimizer.state();
  const short = { metadata, arrays: { ...arrays, 'second:norm': new Float32Array(6) } };
  expect(() =>
    optimizer.restore({ metadata, arrays: { ...arrays, 'first:norm': new Float32Array(6) } }),
  ).toThrow(
    new InputError({
      source: 'optimizer state',
      field: 'norm',
      expected: 'two moments of 7 numbers',
      found: '6 and 7',
    }),
  );
  expect(() => optimizer.restore(short)).toThrow(/norm.second/);
});

test('gradients that are not finite are named, and nothing is changed', () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const model = parameters();
    const optimizer = new Optimizer(model, OPTIONS, 6);
    const broken = gradients(0);
    broken.get('norm')![2] = bad;
    const refused = () => optimizer.update(3, broken);
    expect(refused).toThrow(DivergenceError);
    expect(refused).toThrow(
      /^update 4 of 6: the gradient of norm is not finite\. Lower the learning rate \(it is 0\.01\), or .*\.$/,
    );
    broken.get('matrix')![0] = bad;
    expect(refused).toThrow(/the gradient of matrix and 1 more is not finite/);
    for (const [name, { data }] of parameters()) expect(model.get(name)!.data).toEqual(data);
  }
});
