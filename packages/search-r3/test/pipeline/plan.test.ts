/** Plans: which stages a command consists of, and how they hand on what they make. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { saveCheckpoint } from 'search-r3/checkpoint';
import { planned, runPlan, type Stage, trainPlan, trainSettings } from 'search-r3/pipeline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyPolicy, writeCollection } from '../cli/tiny.js';

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'plan-'));
  await writeCollection(join(cwd, 'data'));
});
afterAll(() => rm(cwd, { recursive: true }));

const small = { pretrain: { batchSize: 4 }, sft: { batchSize: 4 }, rl: { queriesPerStep: 2 } };
const settingsOf = (more: object) =>
  trainSettings.parse({ data: join(cwd, 'data'), out: join(cwd, 'run'), ...small, ...more });

test('the pipeline from scratch and from a base; planning writes nothing', async () => {
  const trained = ['result.json', 'report.html', 'model'];
  const stages = [
    ['pretrain', ['text'], trained],
    ['sft', ['base', 'training'], trained],
    ['rl', ['policy', 'training'], trained],
    ['report', ['results'], ['report.html', 'model']],
  ];
  const scratch = await trainPlan(settingsOf({}), {});
  expect(scratch.stages.map(({ name, inputs, outputs }) => [name, inputs, outputs])).toEqual(stages);
  const base = join(cwd, 'base');
  await saveCheckpoint(base, tinyPolicy());
  const given = await trainPlan(settingsOf({ base }), {});
  expect(given.stages.map(({ name }) => name)).toEqual(['sft', 'rl', 'report']);
  expect(scratch.result).toThrow('internal: the stage report has not run yet');
  expect((await readdir(cwd)).sort()).toEqual(['base', 'data']);
});

test('what the whole run follows from: the base by its weights, not by its folder', async () => {
  const [one, other] = [join(cwd, 'one'), join(cwd, 'other')];
  await saveCheckpoint(one, tinyPolicy());
  await saveCheckpoint(other, tinyPolicy(1));
  const fingerprint = async (base: string) => {
    const { whole } = await trainPlan(settingsOf({ base }), {});
    return whole?.fingerprint.config.fingerprints as { data: string; base: string };
  };
  const [first, second] = [await fingerprint(one), await fingerprint(other)];
  expect(first.data).toBe(second.data);
  expect(first.base).not.toBe(second.base);
  await saveCheckpoint(other, tinyPolicy(), { overwrite: true });
  expect(await fingerprint(other)).toEqual(first);
});

test('lengths that the base has no room for are refused in planning, under the name of the settings', async () => {
  const base = join(cwd, 'tight');
  await saveCheckpoint(base, tinyPolicy());
  const settings = settingsOf({ base, sft: { ...small.sft, maxLength: 2 } });
  await expect(trainPlan(settings, { source: 'mine.yaml' })).rejects.toThrow(
    /^mine\.yaml: sft\.maxLength: expected more than the \d+ tokens of a prompt without its text, found 2/,
  );
});

test('vectors that are not shorter than those of the base are refused in planning', async () => {
  const base = join(cwd, 'narrow');
  const policy = tinyPolicy();
  await saveCheckpoint(base, policy);
  const width = policy.config.hiddenSize;
  const plan = (changes: object) => trainPlan(settingsOf({ base, ...changes }), { source: 'mine.yaml' });
  const expected = `expected lengths below the ${width} numbers of the model's vectors`;
  await expect(plan({ sft: { ...small.sft, matryoshka: [8, width] } })).rejects.toThrow(
    `mine.yaml: sft.matryoshka: ${expected}, found ${width}`,
  );
  await expect(plan({ rl: { ...small.rl, contrastive: { matryoshka: [width + 1] } } })).rejects.toThrow(
    `mine.yaml: rl.contrastive.matryoshka: ${expected}, found ${width + 1}`,
  );
});

test('inputs are asked for once, in order, when their stage runs', async () => {
  const log: string[] = [];
  const asked = <T>(name: string, value: T) => {
    log.push(name);
    return value;
  };
  const sum: Stage<{ factor: number }, { left: number; right: number }, number> = {
    name: 'sum',
    inputs: ['left', 'right'],
    outputs: [],
    run: async ({ factor }, { left, right }, { source }) => {
      log.push(`sum for ${source}`);
      return factor * (left + right);
    },
  };
  const first = planned(sum, { factor: 10 }, { right: () => asked('b', 2), left: async () => asked('a', 1) });
  const second = planned(sum, { factor: 1 }, { left: () => first.output(), right: () => asked('c', 3) });
  expect(log).toEqual([]);
  const found = await runPlan({ stages: [first, second], result: second.output }, { source: 'mine' });
  expect(found).toBe(33);
  expect(log).toEqual(['a', 'b', 'sum for mine', 'c', 'sum for mine']);
});
