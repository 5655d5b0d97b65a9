/** What a trainer saves: read back, it is the same model in the arrays of another, and the same optimiser. */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Model } from 'search-r3/model';
import { randomStream } from 'search-r3/run';
import { Optimizer, optimizationSchema, restoreTraining, saveTraining } from 'search-r3/train';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';
import { relativeError } from '../reference/finite-differences.js';

const OPTIONS = optimizationSchema.parse({
  learningRate: 0.1,
  schedule: 'constant',
  warmupSteps: 0,
  finalLearningRate: 1,
  weightDecay: 0.01,
  betas: [0.9, 0.95],
  maxGradientNorm: 1,
  maxTokens: 8192,
  checkpointActivations: false,
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'training-state-'));
});
afterAll(() => rm(folder, { recursive: true }));

test.each([
  ['tied', true],
  ['untied', false],
])('restored into the arrays that sessions read: %s', async (name, tieWordEmbeddings) => {
  const saved = tinyPolicy('saved', { tieWordEmbeddings });
  const other = tinyPolicy('other', { tieWordEmbeddings });
  const optimizers = [saved, other].map(({ weights }) => new Optimizer(weights, OPTIONS, 4));
  const [own, another] = optimizers as [Optimizer, Optimizer];
  const random = randomStream(3, 'gradients', name);
  const gradients = () =>
    new Map([...saved.weights].map(([key, { data }]) => [key, data.map(() => random.normal())] as const));
  own.update(0, gradients());

  await using model = Model.of(other);
  const encoder = await model.encoder();
  const sequences = [
    [3, 1, other.embedId],
    [2, other.embedId],
  ];
  const before = await encoder.encode(sequences);
  await saveTraining(join(folder, name), saved, own);
  await restoreTraining(join(folder, name), other, another);
  const after = await encoder.encode(sequences);
  await using fresh = Model.of(saved);
  expect(after).toEqual(await (await fresh.encoder()).encode(sequences));
  expect(relativeError(before, after)).toBeGreaterThan(0.1);

  // The moments too: the next update is the same on both sides.
  const next = gradients();
  own.update(1, next);
  another.update(1, next);
  expect(other.weights).toEqual(saved.weights);
});

test('arrays beside a model that stays: restored exactly, and others are refused', async () => {
  const random = randomStream(4, 'arrays');
  const array = (...shape: number[]) => ({
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()),
    shape,
  });
  const arrays = () =>
    new Map([
      ['q.lora_A.weight', array(3, 5)],
      ['q.lora_B.weight', array(7, 3)],
    ]);
  const [saved, other] = [arrays(), arrays()];
  const [own, another] = [saved, other].map((weights) => new Optimizer(weights, OPTIONS, 4)) as [
    Optimizer,
    Optimizer,
  ];
  const gradients = new Map([...saved].map(([name, { data }]) => [name, data.map((x) => x * x + 0.1)]));
  own.update(0, gradients);
  const at = join(folder, 'arrays');
  await mkdir(at);
  await saveTraining(at, saved, own);
  expect((await readdir(at)).sort()).toEqual(['optimizer.state', 'trained.state']);
  const read = [...other.values()].map(({ data }) => data);
  await restoreTraining(at, other, another);
  expect(other).toEqual(saved);
  expect([...other.values()].map(({ data }) => data)).toEqual(read);
  own.update(1, gradients);
  another.update(1, gradients);
  expect(other).toEqual(saved);

  const fewer = new Map([...other].slice(1));
  await expect(restoreTraining(at, fewer, another)).rejects.toThrow('q.lora_A.weight');
  const longer = new Map([...other, ['q.lora_B.weight', array(7, 4)]] as const);
  await expect(restoreTraining(at, longer, another)).rejects.toThrow('28 numbers');
  const more = new Map([...other, ['k.lora_A.weight', array(2)]] as const);
  await expect(restoreTraining(at, more, another)).rejects.toThrow('k.lora_A.weight');
});
