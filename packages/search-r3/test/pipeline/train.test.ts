/** The whole pipeline on a base model that is there. */
import { existsSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { saveCheckpoint } from 'search-r3/checkpoint';
import { train, trainSettings } from 'search-r3/pipeline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyPolicy, writeCollection } from '../cli/tiny.js';

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
    development: { queries: 2 },
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
