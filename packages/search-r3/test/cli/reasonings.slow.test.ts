/** Stage 1 on reasoning that the user brings. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli, writeCollection, writeModel } from './tiny.js';

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'reasonings-'));
  await writeCollection(join(cwd, 'data'));
  await writeModel(join(cwd, 'base'));
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

const given = (text: string) =>
  Array.from({ length: 24 }, (_, i) => JSON.stringify({ query: `q${i}`, reasoning: text })).join('\n');

test('a file of reasoning: how much of it is used is told, and a run goes on only with the same', async () => {
  await writeFile(join(cwd, 'own.jsonl'), given('bread of arlen'));
  const sizes = ['sft.batchSize=4', 'sft.optimization.warmupSteps=0', 'validation.queries=0'];
  const settings = [
    ...sizes,
    'sft.reasoning.file=own.jsonl',
    'sft.reasoning.maxNewTokens=6',
    'rl.maxNewTokens=6',
  ];
  const run = (...more: string[]) =>
    cli(
      [
        ...['sft', '--base', 'base', '--data', 'data', '--out', 'run'],
        ...settings.flatMap((setting) => ['--set', setting]),
        ...more,
      ],
      { cwd },
    );
  const first = await run('--steps', '1');
  expect(first.status).toBe(0);
  const [, used, queries] =
    /own\.jsonl: reasoning for (\d+) of the (\d+) queries of stage 1/.exec(first.stderr) ?? [];
  expect(Number(used)).toBeGreaterThan(4);
  expect(used).toBe(queries);
  // Nothing was sampled.
  expect(await readFile(join(cwd, 'run/targets.jsonl'), 'utf8')).toBe('');
  await writeFile(join(cwd, 'own.jsonl'), given('music of elmo'));
  const changed = await run('--steps', '2', '--resume');
  expect(changed.status).toBe(2);
  expect(changed.stderr).toContain('fingerprints.reasoning');
  await writeFile(join(cwd, 'own.jsonl'), given('bread of arlen and soup and cheese and pepper'));
  const long = await run('--steps', '1', '--overwrite');
  expect(long.status).toBe(2);
  expect(long.stderr).toMatch(/own\.jsonl: query q\d+: expected a reasoning of at most 5 tokens, found 9\./);
});
