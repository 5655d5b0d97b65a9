import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loadCheckpoint } from 'search-r3/checkpoint';
import { atlasQueries, factRecallProbes, generateAtlas } from 'search-r3/dataset';
import { memoryWeights } from 'search-r3/decoder';
import { Generator } from 'search-r3/generate';
import { ATLAS_BASE } from 'search-r3/pipeline';
import { factRecall } from 'search-r3/pretrain';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli, cliJson, weightsOf } from '../cli/tiny.js';
import { scaled } from '../support/scale.js';

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
  const generator = await Generator.create(base.config, memoryWeights(base));
  const recall = await factRecall(world, base.tokenizer, generator);
  await generator.dispose();
  expect(factRecallProbes(world).length).toBeGreaterThan(1000);
  for (const group of ['train', 'dev', 'test', 'places']) expect(recall[group]).toBeGreaterThan(0.98);
  const unknown = base.tokenizer.unkId;
  for (const { text } of atlasQueries(world, 'test'))
    expect(await base.tokenizer.encode(text)).not.toContain(unknown);
});

/** Runs the demonstration up to the first output of this kind, then interrupts it. */
const interruptAt = (argv: readonly string[], wanted: string) =>
  cli(['demo', ...argv], {
    cwd: folder,
    onStderr: (() => {
      let sent = false;
      return (text, kill) => {
        if (sent || !text.includes(wanted)) return;
        sent = true;
        kill('SIGINT');
      };
    })(),
  });

test('the demonstration, stopped before its first step, leaves nothing', { timeout: 60_000 }, async () => {
  const { status, stderr } = await interruptAt(['--out', 'early'], 'Stage 1');
  expect(status).toBe(130);
  expect(stderr).toMatch(/; nothing to resume yet\n$/);
  expect(await readdir(folder)).not.toContain('early');
});

test('the demonstration, stopped and resumed, ends in the same model', { timeout: 300_000 }, async () => {
  const shape = ['layers=1', 'hiddenSize=48', 'intermediateSize=32'].map((size) => `pretrain.model.${size}`);
  const small = shape.flatMap((setting) => ['--set', setting]);
  const pretraining = ['pretrain', '--data', 'atlas', '--out', 'base', '--steps', '1', '--batch-size', '2'];
  await cliJson([...pretraining, ...small], folder);
  const argv = ['--base', 'base/model', '--sft-steps', '8', '--rl-steps', '2', '--queries', '4'];
  const stopped = await interruptAt([...argv, '--out', 'stopped'], '\nsft 1/8');
  expect(stopped.status).toBe(130);
  expect(stopped.stderr).toMatch(
    /sft: stopped after step [1-7]; run the same command with --resume to continue\n$/,
  );
  const refused = await cli(['demo', ...argv, '--out', 'base'], { cwd: folder });
  expect(refused.status).toBe(2);
  expect(refused.stderr).toBe(
    'error: base: expected a new folder, or the one of an earlier demonstration, found a run of another kind, which would be lost.\n',
  );
  expect(await readdir(join(folder, 'base'))).toContain('model');
  const resumed = await cliJson<{ systems: object[] }>(
    ['demo', ...argv, '--out', 'stopped', '--resume'],
    folder,
  );
  const whole = await cliJson<{ systems: object[] }>(['demo', ...argv, '--out', 'whole'], folder);
  expect(resumed.systems).toEqual(whole.systems);
  expect(await weightsOf(join(folder, 'stopped/model'))).toEqual(
    await weightsOf(join(folder, 'whole/model')),
  );
});

test('the demonstration, cut short, runs to its table and its report', { timeout: 600_000 }, async () => {
  const out = join(folder, 'run');
  // Enough for some completions to end with the embed token, which alone earns a reward.
  const steps = ['--sft-steps', `${scaled(40, 100)}`, '--rl-steps', '2', '--queries', '12', '--seed', '3'];
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
  // 256 positions, of which 44 and one are the reasoning's.
  expect(trained.limits).toEqual({ maxLength: 211, maxNewTokens: 44 });
  expect(trained.prompts?.reasoning).toEqual({ system: 'reason' });
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
