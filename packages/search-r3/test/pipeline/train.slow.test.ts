/** The whole pipeline on a base model that is there. */
import { existsSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { saveCheckpoint } from 'search-r3/checkpoint';
import { train, trainSettings } from 'search-r3/pipeline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyCollection, tinyPolicy, writeCollection } from '../cli/tiny.js';

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'train-base-'));
  await writeCollection(join(cwd, 'data'));
});
afterAll(() => rm(cwd, { recursive: true }));

test('what was checked is what is trained: the base is read once, before anything is written', async () => {
  const base = join(cwd, 'base');
  await saveCheckpoint(base, tinyPolicy());
  const settings = trainSettings.parse({
    data: join(cwd, 'data'),
    base,
    out: join(cwd, 'run'),
    validation: { queries: 2 },
    sft: { steps: 1, batchSize: 4, reasoning: { maxNewTokens: 6 } },
    rl: { steps: 1, queriesPerStep: 2, groupSize: 2, maxNewTokens: 6 },
  });
  const { stages } = await train(settings, {
    onNote: (note) => {
      if (note.startsWith('Stage 1')) rmSync(base, { recursive: true });
    },
  });
  expect(existsSync(base)).toBe(false);
  expect(stages.map(({ stage, steps }) => [stage, steps])).toEqual([
    ['sft', 1],
    ['rl', 1],
  ]);
});

test('a run that goes on for longer and dies before its model is saved is not taken for finished', async () => {
  const base = join(cwd, 'base-of-longer');
  await saveCheckpoint(base, tinyPolicy());
  const { corpus, queries, qrels } = tinyCollection();
  const train_ = [...(qrels.train ?? []), ['q0', 'not there', 1] as [string, string, number]];
  await writeCollection(join(cwd, 'missing'), { corpus, queries, qrels: { ...qrels, train: train_ } });
  const settings = (out: string, steps: number) =>
    trainSettings.parse({
      data: join(cwd, 'missing'),
      base,
      out: join(cwd, out),
      allowMissing: true,
      validation: { queries: 0 },
      sft: { steps: 1, batchSize: 4, reasoning: { enabled: false } },
      rl: { steps, queriesPerStep: 2, groupSize: 8, maxNewTokens: 24 },
    });
  const weightsOf = async (out: string) => readFile(join(cwd, out, 'model/model.safetensors'));
  await train(settings('once', 2));
  await train(settings('longer', 1));
  expect((await weightsOf('longer')).equals(await weightsOf('once'))).toBe(false);
  expect(await readFile(join(cwd, 'longer/config.yaml'), 'utf8')).toContain('allowMissing: true');
  // What cannot be replaced stops the stage between its result and its model.
  const report = join(cwd, 'longer/rl/report.html');
  await rm(report);
  await mkdir(join(report, 'in the way'), { recursive: true });
  await expect(train(settings('longer', 2), { resume: true })).rejects.toThrow();
  await rm(report, { recursive: true });
  const { stages } = await train(settings('longer', 2), { resume: true });
  expect(stages.at(-1)?.steps).toBe(2);
  expect((await weightsOf('longer')).equals(await weightsOf('once'))).toBe(true);
});
