/** Adapters from the command line: both stages, resumed, evaluated, inspected and merged. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadMerged, loadWeights, readAdapterFolder } from 'search-r3/checkpoint';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli, cliJson, writeCollection, writeModel } from './tiny.js';

const CONFIG = `
data: data
base: base
validation: { share: 0.2, queries: 4 }
lora: { rank: 3, alpha: 6, base: f32, rollouts: int8, targets: [q_proj, v_proj, up_proj, down_proj] }
sft: { steps: 4, batchSize: 4, reasoning: { maxNewTokens: 6 }, optimization: { warmupSteps: 0, learningRate: 1.0e-2 } }
rl: { steps: 3, queriesPerStep: 3, groupSize: 3, maxNewTokens: 9, beta: 0.01, optimization: { learningRate: 1.0e-2 } }
saveEvery: 2
`;

interface Result {
  model: string;
  stages: { metrics: Record<string, number>; validation: Record<string, number> }[];
}

let cwd: string;
let result: Result;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-adapter-'));
  await writeCollection(join(cwd, 'data'));
  await writeModel(join(cwd, 'base'));
  await writeFile(join(cwd, 'lora.yaml'), CONFIG);
  result = await cliJson<Result>(['train', '--config', 'lora.yaml', '--out', 'run'], cwd);
});
afterAll(() => rm(cwd, { recursive: true }));

const adapterOf = (folder: string) => readFile(join(cwd, folder, 'adapter_model.safetensors'));

test('both stages train one adapter, and the difference of the sampler is in the metrics', async () => {
  const [sft, rl] = result.stages;
  expect(Object.keys(sft!.validation)).toEqual(['direct', 'reasoned']);
  expect(rl!.metrics.importance_mean).toBeCloseTo(1, 0);
  expect(rl!.metrics.importance_max).toBeGreaterThan(1);
  const before = await readAdapterFolder(join(cwd, 'run/sft/model'));
  const after = await readAdapterFolder(join(cwd, 'run/model'));
  expect(after.base).toBe(join(cwd, 'base'));
  expect(after.retriever).toMatchObject({ limits: { maxNewTokens: 9 } });
  for (const [name, { data }] of after.adapter.weights) {
    expect(data, name).not.toEqual(before.adapter.weights.get(name)?.data);
  }
});

test('resumed, a finished run is what it was, and one that was cut ends like it', async () => {
  const resumed = await cliJson<Result>(['train', '--config', 'lora.yaml', '--out', 'run', '--resume'], cwd);
  expect(resumed.stages.map(({ metrics }) => metrics)).toEqual(result.stages.map(({ metrics }) => metrics));
  const cut = await cli(['train', '--config', 'lora.yaml', '--out', 'cut'], {
    cwd,
    spawned: true,
    onStderr: (text, signal) => {
      if (text.includes('sft 1/4')) signal('SIGINT');
    },
  });
  expect(cut.status).not.toBe(0);
  await cliJson(['train', '--config', 'lora.yaml', '--out', 'cut', '--resume'], cwd);
  expect((await adapterOf('cut/model')).equals(await adapterOf('run/model'))).toBe(true);
});

test('an adapter is inspected, evaluated and merged as any model', async () => {
  const seen = await cliJson<Record<string, unknown>>(['inspect', 'run/model'], cwd);
  expect(seen).toMatchObject({ kind: 'adapter', rank: 3, alpha: 6, rsLora: false, base: join(cwd, 'base') });
  const text = await cli(['inspect', 'run/model'], { cwd });
  expect(text.stdout).toContain('q_proj, v_proj, up_proj, down_proj');
  const merged = await cli(['merge', 'run/model', '--out', 'merged'], { cwd });
  expect(merged).toMatchObject({ status: 0, stdout: 'model: merged\n' });
  const expected = await loadMerged(join(cwd, 'run/model'));
  const found = await loadWeights(join(cwd, 'merged'), expected.config);
  for (const [name, { data }] of expected.weights) expect(found.get(name)?.data, name).toEqual(data);
  const evaluated = async (model: string) => {
    const argv = ['evaluate', '--data', 'data', '--model', model, '--precision', 'f32', '--split', 'test'];
    const { systems } = await cliJson<{ systems: unknown }>(argv, cwd);
    return systems;
  };
  expect(await evaluated('run/model')).toEqual(await evaluated('merged'));
});

test('stage 1 does not start from an adapter', async () => {
  const { status, stderr } = await cli(['sft', '--data', 'data', '--base', 'run/model', '--out', 'again'], {
    cwd,
  });
  expect(status).toBe(2);
  expect(stderr).toContain('search-r3 merge');
});
