import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loadCheckpoint } from 'search-r3/checkpoint';
import { atlasQueries, factRecallProbes, generateAtlas } from 'search-r3/dataset';
import { Generator } from 'search-r3/generate';
import { parameterFeeds } from 'search-r3/model';
import { ATLAS_BASE } from 'search-r3/pipeline';
import { factRecall } from 'search-r3/pretrain';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const CLI = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'demo-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('the base model of the package fits the default world and knows its facts by heart', async () => {
  const world = generateAtlas();
  const base = await loadCheckpoint(ATLAS_BASE);
  const generator = await Generator.create(base.config, parameterFeeds(base));
  const recall = await factRecall(world, base.tokenizer, generator);
  await generator.dispose();
  expect(factRecallProbes(world).length).toBeGreaterThan(1000);
  for (const group of ['train', 'dev', 'test', 'places']) expect(recall[group]).toBeGreaterThan(0.98);
  const unknown = base.tokenizer.unkId;
  for (const { text } of atlasQueries(world, 'test'))
    expect(base.tokenizer.encode(text)).not.toContain(unknown);
});

test('the demonstration, cut short, runs to its table and its report', { timeout: 240_000 }, async () => {
  const out = join(folder, 'run');
  const steps = ['--sft-steps', '60', '--rl-steps', '2', '--queries', '12', '--seed', '3'];
  const { stdout } = await run(process.execPath, [CLI, 'demo', '--out', out, ...steps, '--json', '--quiet']);
  const result = JSON.parse(stdout) as {
    systems: { system: string; ndcg10: number }[];
    gain: number;
    p: number;
    queries: number;
    model: string;
    report: string;
  };
  expect(result.queries).toBe(12);
  expect(result.systems.map(({ system }) => system)).toEqual([
    'BM25',
    'direct, after stage 1',
    'reasoned, after stage 1',
    'direct, after stage 2',
    'reasoned, after stage 2',
  ]);
  const reasoned = result.systems.filter(({ system }) => system.startsWith('reasoned'));
  expect(result.gain).toBeCloseTo((reasoned[1]?.ndcg10 ?? 0) - (reasoned[0]?.ndcg10 ?? 0), 10);
  const trained = await loadCheckpoint(result.model);
  expect(trained.prompts?.reasoning.system).toBe('reason');
  const report = await readFile(result.report, 'utf8');
  expect(report).toContain('nDCG@10 on held-out queries');
  const events = (await readFile(join(out, 'rl', 'events.jsonl'), 'utf8')).trim().split('\n');
  const rewards = events.map((line) => JSON.parse(line)).filter(({ type }) => type === 'step');
  expect(rewards).toHaveLength(2);
  for (const { metrics } of rewards) {
    expect(metrics.reward).toBeGreaterThan(0);
    expect(metrics.reward).toBeLessThanOrEqual(1);
  }
});
