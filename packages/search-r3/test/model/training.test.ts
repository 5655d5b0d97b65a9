/** A model that is trained: its engine, encoder and fingerprint follow the weights; one in files is refused. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { saveCheckpoint } from 'search-r3/checkpoint';
import { frozenCopy, Model } from 'search-r3/model';
import { InputError } from 'search-r3/run';
import type { EngineOptions, StepRequest } from 'search-r3/train';
import { expect, test } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';
import { asParameters } from '../reference/decoder.js';
import { crossEntropy } from '../reference/losses.js';
import { referenceModel } from '../reference/objectives.js';
import { slice } from '../reference/tape.js';

const OBJECTIVE: EngineOptions = { objective: { crossEntropy: {} } };
const IDS = [5, 3, 8, 1, 6];
const REQUEST: StepRequest = {
  sequences: [
    { ids: IDS, labels: IDS.slice(1).map((_, position) => ({ position, weight: 1 / (IDS.length - 1) })) },
  ],
};

/** Mean cross-entropy in float64. */
function expectedLoss({ config, weights }: ReturnType<typeof tinyPolicy>): number {
  const { logits } = referenceModel(config, asParameters(weights)).forward(IDS);
  return crossEntropy(slice(logits, 0, 0, IDS.length - 1), IDS.slice(1)).item();
}

test('engine, encoder and fingerprint follow the weights, and the version counts their changes', async () => {
  const policy = tinyPolicy('trained');
  await using model = Model.of(policy);
  expect(model.checkpoint).toBe(policy);
  expect(model.version).toBe(0);
  const training = model.trainable({ tokenEmbeddings: 'trained' });
  expect(training.trained).toEqual(policy.weights);
  const engine = model.trainer(training, OBJECTIVE);
  const encoder = await model.encoder();
  const seen = async () => ({
    loss: (await engine.compute(REQUEST)).loss,
    vector: await encoder.encode([IDS]),
    fingerprint: await model.fingerprint(),
  });
  const before = await seen();
  expect(before.loss).toBeCloseTo(expectedLoss(policy), 5);
  expect((await seen()).fingerprint).toBe(before.fingerprint);

  const { gradients } = await engine.compute(REQUEST);
  for (const [name, gradient] of gradients) {
    const { data } = policy.weights.get(name)!;
    data.set(data.map((value, i) => value - 0.05 * gradient[i]!));
  }
  model.updated();
  const after = await seen();
  expect(model.version).toBe(1);
  expect(after.loss).toBeLessThan(before.loss);
  expect(after.loss).toBeCloseTo(expectedLoss(policy), 5);
  await using same = Model.of(frozenCopy(policy));
  expect(after.vector).toEqual(await (await same.encoder()).encode([IDS]));
  expect(after.fingerprint).toEqual(await same.fingerprint());
  expect(after.fingerprint.weights).not.toBe(before.fingerprint.weights);
  await engine.dispose();
});

test('a model whose weights are in files is not trained', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'model-'));
  try {
    await saveCheckpoint(join(folder, 'model'), tinyPolicy());
    await using model = await Model.load(join(folder, 'model'));
    const refused = new InputError({
      source: 'model',
      field: 'weights',
      expected: 'weights in memory, which training can change',
      found: 'weights in files',
      remedy: 'Read them with loadCheckpoint, and make the model with Model.of.',
    });
    expect(() => model.trainable({ tokenEmbeddings: 'trained' })).toThrow(refused);
    expect(() => model.checkpoint).toThrow(refused);
  } finally {
    await rm(folder, { recursive: true });
  }
});
