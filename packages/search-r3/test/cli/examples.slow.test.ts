/** The example configs of the repository, and the executable that npm links. */
import { spawnSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { mergeConfig, parseConfig } from 'search-r3/cli';
import { evaluateSettings, trainSettings } from 'search-r3/pipeline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cliJson, writeCollection } from './tiny.js';

const packageRoot = resolve(import.meta.dirname, '../..');
const examples = resolve(packageRoot, '../../examples');

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-examples-'));
  await writeCollection(join(cwd, 'data'));
});
afterAll(() => rm(cwd, { recursive: true }));

test('every example is valid for train and for evaluate', async () => {
  const names = (await readdir(examples)).filter((name) => name.endsWith('.yaml'));
  expect(names.sort()).toEqual(['atlas.yaml', 'scifact.yaml']);
  for (const name of names) {
    const file = parseConfig(name, await readFile(join(examples, name), 'utf8'));
    const train = mergeConfig(trainSettings, file, []);
    const evaluate = mergeConfig(evaluateSettings, file, []);
    expect(evaluate).toEqual(train);
    expect(train.out).toBe(`runs/${name.replace('.yaml', '')}`);
    // Evaluated as trained: no longer reasoning than stage 2 learnt (which the model remembers), no more of a text than
    // stage 1 saw.
    expect([train.rl.maxNewTokens, undefined]).toContain(train.evaluate.maxNewTokens);
    expect(train.evaluate.maxLength).toBeLessThanOrEqual(train.sft.maxLength);
  }
});

test('the SciFact example runs, on a smaller collection and with fewer steps, and is evaluated', async () => {
  const smaller = [
    'pretrain.vocabSize=420',
    'pretrain.batchSize=6',
    'pretrain.contrastive.batchSize=6',
    'pretrain.optimization.warmupSteps=1',
    'sft.batchSize=4',
    'sft.optimization.warmupSteps=1',
    'rl.queriesPerStep=2',
    'rl.groupSize=2',
    ...['hiddenSize=64', 'intermediateSize=32', 'layers=1'].map((shape) => `pretrain.model.${shape}`),
  ];
  const steps = ['--pretrain-steps', '2', '--sft-steps', '2', '--rl-steps', '1'];
  const config = ['--config', join(examples, 'scifact.yaml'), '--data', 'data'];
  const trained = await cliJson<{ model: string }>(
    ['train', ...config, ...steps, ...smaller.flatMap((setting) => ['--set', setting])],
    cwd,
  );
  expect(trained.model).toBe('runs/scifact/model');
  const { model, systems } = await cliJson<{ model: string; systems: { system: string }[] }>(
    ['evaluate', ...config, '--split', 'test'],
    cwd,
  );
  expect(model).toBe('runs/scifact/model');
  expect(systems).toHaveLength(5);
});

test('the executable that npm links is there before the build, and says what is missing', async () => {
  const manifest = JSON.parse(await readFile(join(packageRoot, 'package.json'), 'utf8')) as {
    version: string;
    bin: Record<string, string>;
    files: string[];
  };
  const launcher = join(packageRoot, manifest.bin['search-r3'] as string);
  const tracked = spawnSync('git', ['ls-files', '--stage', launcher], { cwd: packageRoot, encoding: 'utf8' });
  if (tracked.status === 0) expect(tracked.stdout).toMatch(/^100755 /);
  expect(manifest.files).toContain('bin');
  const run = (path: string) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [path, '--version'], { encoding: 'utf8' });
    return { status, stdout, stderr };
  };
  expect(run(launcher)).toEqual({ status: 0, stdout: `${manifest.version}\n`, stderr: '' });
  await mkdir(join(cwd, 'clone/bin'), { recursive: true });
  await copyFile(launcher, join(cwd, 'clone/bin/search-r3.mjs'));
  expect(run(join(cwd, 'clone/bin/search-r3.mjs'))).toEqual({
    status: 1,
    stdout: '',
    stderr: 'search-r3 is not built yet: run `npm run build` in the repository.\n',
  });
});
