/** `search-r3 targets`: writes a file, keeps what was edited, and stage 1 trains on it. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cliJson, writeCollection, writeModel } from './tiny.js';

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-targets-'));
  await writeCollection(join(cwd, 'data'));
  await writeModel(join(cwd, 'model'));
});
afterAll(() => rm(cwd, { recursive: true }));

const FLAGS = ['--data', 'data', '--base', 'model', '--set', 'sft.batchSize=4', '--set', 'sft.steps=2'];
const SHORT = ['--set', 'sft.reasoning.maxNewTokens=9', '--set', 'sft.optimization.warmupSteps=1'];

test('the file is written once, and its edited targets are trained on', async () => {
  const write = ['targets', ...FLAGS, ...SHORT, '--source', 'grounded', '--file', 'targets.jsonl'];
  const first = await cliJson<{ file: string; targets: number; kept: number }>(write, cwd);
  expect(first).toEqual({ file: 'targets.jsonl', targets: 8, kept: 8 });
  const path = join(cwd, 'targets.jsonl');
  const rows = (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  rows[0].reasoning = 'bread';
  rows[1].kept = false;
  await writeFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  expect(await cliJson(write, cwd)).toEqual({ file: 'targets.jsonl', targets: 8, kept: 7 });
  const source = ['--set', 'sft.reasoning.source=file', '--set', 'sft.reasoning.file=targets.jsonl'];
  await cliJson(['sft', ...FLAGS, ...SHORT, ...source, '--out', 'run'], cwd);
  const used = (await readFile(join(cwd, 'run/targets.jsonl'), 'utf8')).trimEnd().split('\n');
  const byQuery = new Map(used.map((line) => [JSON.parse(line).query, JSON.parse(line)]));
  expect(byQuery.get(rows[0].query)).toMatchObject({ reasoning: 'bread', source: 'file', kept: true });
  expect(byQuery.get(rows[1].query)).toMatchObject({ kept: false });
});
