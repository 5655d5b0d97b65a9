/** The model's own reasoning: which queries take it, when it is sampled anew, and that a resumed run has the same. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { frozenCopy, Model, makePolicy } from 'search-r3/model';
import { runSft } from 'search-r3/pipeline';
import { RunFolder } from 'search-r3/run';
import { OwnReasoning, type SftOptions, sftOptionsSchema, takesOwn } from 'search-r3/sft';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyBase, tinyPolicy } from '../decoder/tiny-policy.js';
import { DATA, QUERIES } from './tiny-data.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'own-reasoning-'));
});
afterAll(() => rm(folder, { recursive: true }));

const optionsOf = (reasoning: SftOptions['reasoning']) =>
  sftOptionsSchema.parse({
    ...{ steps: 7, batchSize: 3, seed: 2 },
    reasoning: { maxNewTokens: 6, ...reasoning },
    optimization: { warmupSteps: 0, schedule: 'constant', learningRate: 1e-2 },
  });

test('the share is that of the anchors, drawn anew at each step', () => {
  const taken = (ownShare: number, seed = 0) =>
    Array.from({ length: 4000 }, (_, i) =>
      takesOwn({ ...optionsOf({ ownShare }), seed }, Math.floor(i / 40), `${i % 40}`),
    );
  const count = (draws: boolean[]) => draws.filter((one) => one).length;
  expect([count(taken(0)), count(taken(1))]).toEqual([0, 4000]);
  // Four standard deviations.
  expect(Math.abs(count(taken(0.3)) - 1200)).toBeLessThan(116);
  expect(taken(0.3)).not.toEqual(taken(0.3, 1));
  expect(taken(0.3).slice(0, 40)).not.toEqual(taken(0.3).slice(40, 80));
});

test('sampled from the model as it is when a block of steps starts', async () => {
  const model = Model.of(frozenCopy(tinyPolicy('own', { layers: 1 })));
  const options = optionsOf({ ownShare: 1, ownEvery: 2, maxNewTokens: 12 });
  const own = new OwnReasoning(model, () => QUERIES, options);
  await own.prepare(0);
  const first = new Map(own.samples);
  expect([...first.keys()]).toEqual(QUERIES.map(({ id }) => id));
  await own.prepare(1);
  expect(own.samples).toEqual(first);
  await own.prepare(2);
  expect(own.samples).not.toEqual(first);
  const second = new Map(own.samples);
  // The same block of another model.
  for (const { data } of model.checkpoint.weights.values())
    for (let i = 0; i < data.length; i += 2) data[i]! *= 1.5;
  model.updated();
  const changed = new OwnReasoning(model, () => QUERIES, options);
  await changed.prepare(3);
  expect(changed.samples).not.toEqual(second);
  await model.dispose();
});

test('resumed in the middle of a block, a run ends as one that was never stopped', async () => {
  const base = tinyBase('own', { layers: 1 });
  const data = { ...DATA, sft: [...QUERIES], rl: [] };
  const options = optionsOf({ source: 'grounded', styles: ['terms'], ownShare: 0.6, ownEvery: 3 });
  const train = async (name: string, stopAfter?: number, resume = false) => {
    const run = await RunFolder.create(join(folder, name), {}, { resume });
    const model = Model.of(makePolicy(frozenCopy(base)));
    const stop = new AbortController();
    const onStep = (step: number) => {
      if (step === stopAfter) stop.abort();
    };
    const done = runSft(model, data, options, { run, onStep, signal: stop.signal });
    if (stopAfter === undefined) await done;
    else await expect(done).rejects.toThrow(`stopped after step ${stopAfter}`);
    await run.close();
    return [...model.checkpoint.weights].map(([key, { data: values }]) => [key, values] as const);
  };
  const whole = await train('whole');
  await train('cut', 4);
  expect(await train('cut', undefined, true)).toEqual(whole);
  const file = (name: string, kind: string) => readFile(join(folder, name, kind), 'utf8');
  for (const kind of ['own-reasoning.jsonl', 'targets.jsonl']) {
    expect(await file('cut', kind), kind).toBe(await file('whole', kind));
  }
  const pieces = (await file('whole', 'own-reasoning.jsonl')).trimEnd().split('\n');
  expect(pieces.length).toBe(3);
  const kept = (await file('whole', 'targets.jsonl')).trimEnd().split('\n');
  expect(kept.map((line) => JSON.parse(line).source)).toEqual(QUERIES.map(() => 'grounded'));
});
