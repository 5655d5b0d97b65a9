import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadRetrieverFile } from 'search-r3/checkpoint';
import { loadBeir } from 'search-r3/dataset';
import { evaluatePolicy, loadPolicy, trainingData, withValidation } from 'search-r3/pipeline';
import { randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { cli, cliJson, tinyCollection, weightsOf, writeCollection, writeModel } from './tiny.js';

const CONFIG = `
data: data
queries: { titlePairs: true }
validation: { share: 0.2, every: 2 }
pretrain:
  vocabSize: 420
  model: { hiddenSize: 32, intermediateSize: 48, layers: 2, heads: 4, kvHeads: 2, maxPositions: 96 }
  steps: 6
  batchSize: 5
  maxLength: 48
  optimization: { warmupSteps: 2 }
sft:
  steps: 12
  batchSize: 4
  reasoning: { maxNewTokens: 6 }
  optimization: { warmupSteps: 2 }
rl: { steps: 4, queriesPerStep: 3, groupSize: 3, maxNewTokens: 9 }
saveEvery: 3
`;

interface Stage {
  stage: string;
  steps: number;
  metrics: Record<string, number | null>;
  validation: Record<string, number> | null;
  model: string;
}

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-train-'));
  await writeCollection(join(cwd, 'data'));
  await writeFile(join(cwd, 'tiny.yaml'), CONFIG);
});
afterAll(() => rm(cwd, { recursive: true }));

const settings = ['--config', 'tiny.yaml'];

describe('the whole pipeline', () => {
  let stages: Stage[];
  beforeAll(async () => {
    const result = await cliJson<{ stages: Stage[] }>(['train', ...settings, '--out', 'whole'], cwd);
    stages = result.stages;
  });

  /** The run in `out`, resumed, ends as the one that was never stopped. */
  async function expectWhole(out: string): Promise<void> {
    const argv = ['train', ...settings, '--out', out, '--resume'];
    const resumed = await cliJson<{ stages: Stage[] }>(argv, cwd);
    expect(resumed.stages.map(({ metrics }) => metrics)).toEqual(stages.map(({ metrics }) => metrics));
    expect(await weightsOf(join(cwd, out, 'model'))).toEqual(await weightsOf(join(cwd, 'whole/model')));
  }

  test('runs the stages in order, each with its model, and evaluates on held-out queries', async () => {
    expect(stages.map(({ stage, steps, model }) => [stage, steps, model])).toEqual([
      ['pretrain', 6, 'whole/pretrain/model'],
      ['sft', 12, 'whole/sft/model'],
      ['rl', 4, 'whole/rl/model'],
    ]);
    expect(stages.map(({ validation }) => Object.keys(validation ?? {}))).toEqual([
      [],
      ['direct', 'reasoned'],
      ['direct', 'reasoned'],
    ]);
    expect(await weightsOf(join(cwd, 'whole/model'))).toEqual(await weightsOf(join(cwd, 'whole/rl/model')));
    // Stage 1 changed the weights it was given.
    expect(await weightsOf(join(cwd, 'whole/sft/model'))).not.toEqual(
      await weightsOf(join(cwd, 'whole/pretrain/model')),
    );
    const { evaluations } = await cliJson<{ evaluations: { step: number; name: string }[] }>(
      ['inspect', 'whole/rl'],
      cwd,
    );
    expect(evaluations).toMatchObject([{ step: 4, name: 'reasoned' }]);
    const inspected = await cliJson<{ runs: { path: string; stages: Stage[] }[] }>(['inspect', 'whole'], cwd);
    expect(inspected.runs.map(({ path, stages: [last] }) => [path, last?.metrics])).toEqual(
      stages.map(({ stage, metrics }) => [join('whole', stage), metrics]),
    );
    const report = await readFile(join(cwd, 'whole/report.html'), 'utf8');
    for (const text of ['next-token loss', 'contrastive losses', 'mean reward', 'stage 2 (RL), 4 steps']) {
      expect(report).toContain(text);
    }
  });

  test('resumed when finished: nothing is trained again', async () => {
    const before = await weightsOf(join(cwd, 'whole/model'));
    const { status, stdout, stderr } = await cli(['train', ...settings, '--out', 'whole', '--resume'], {
      cwd,
    });
    expect(status).toBe(0);
    expect(stderr).toMatch(/^estimated: .*\n$/);
    expect(stdout).toContain('rl: 4 steps');
    expect(await weightsOf(join(cwd, 'whole/model'))).toEqual(before);
  });

  test('both stages are compared with equal limits: those of stage 2', async () => {
    const collection = withValidation(await loadBeir(join(cwd, 'data')), 0.2, 0);
    const qrels = collection.qrels.get('dev')!;
    for (const stage of ['sft', 'rl'] as const) {
      await using model = await loadPolicy(join(cwd, `whole/${stage}/model`));
      const limits = { maxLength: 96, maxNewTokens: 9, systems: ['reasoned'] as const };
      const { evaluation } = await evaluatePolicy(model, collection, qrels, limits);
      const found = stages.find((entry) => entry.stage === stage)?.validation?.reasoned;
      expect(found, stage).toBe(evaluation.systems[0]?.scores['ndcg@10'].mean);
    }
  });

  test('resumed from its folder alone it has the settings it was made with, and may make more steps', async () => {
    await cp(join(cwd, 'whole'), join(cwd, 'longer-whole'), { recursive: true });
    const longer = await cliJson<{ stages: Stage[] }>(
      ['train', '--out', 'longer-whole', '--resume', '--rl-steps', '6'],
      cwd,
    );
    expect(longer.stages.map(({ stage, steps }) => [stage, steps])).toEqual([
      ['pretrain', 6],
      ['sft', 12],
      ['rl', 6],
    ]);
    expect(longer.stages.slice(0, 2).map(({ metrics }) => metrics)).toEqual(
      stages.slice(0, 2).map(({ metrics }) => metrics),
    );
    const again = await cliJson<{ stages: Stage[] }>(
      ['train', '--config', 'longer-whole/config.yaml', '--out', 'again'],
      cwd,
    );
    expect(again.stages.map(({ steps }) => steps)).toEqual([6, 12, 6]);
    expect(again.stages[1]?.metrics).toEqual(stages[1]?.metrics);
  });

  test('the report shows no half characters at the end of a completion, and those that the model wrote', async () => {
    await cp(join(cwd, 'whole'), join(cwd, 'halves'), { recursive: true });
    const path = join(cwd, 'halves/rl/completions.jsonl');
    const lines = (await readFile(path, 'utf8')).trim().split('\n');
    const cut = lines.map((line) => {
      const record = JSON.parse(line) as { reasoning: string };
      return `${JSON.stringify({ ...record, reasoning: 'whole \uFFFD within \u2192\uFFFD' })}\n`;
    });
    await writeFile(path, cut.join(''));
    await cliJson(['train', '--out', 'halves', '--resume'], cwd);
    const report = await readFile(join(cwd, 'halves/report.html'), 'utf8');
    expect(report).toContain('whole \uFFFD within \u2192');
    expect(report).not.toContain('\u2192\uFFFD');
  });

  test('inspect says what the run is of, before its stages', async () => {
    const { stdout } = await cli(['inspect', 'whole'], { cwd });
    expect(stdout).toMatch(
      /^Run whole\n\ndata +data\nseed +0\nstages +pretrain, sft, rl\nmodel +whole\/model\n\nRun whole\/pretrain\n/,
    );
  });

  test('the stages alone, one after the other, give the same model', async () => {
    const run = (...argv: string[]) => cliJson<Stage>([...argv, ...settings], cwd, { spawned: true });
    const base = await run('pretrain', '--out', 'alone/base');
    const embedding = await run('sft', '--base', base.model, '--out', 'alone/sft');
    const final = await run('rl', '--model', embedding.model, '--out', 'alone/rl');
    expect([base.metrics, embedding.metrics, final.metrics]).toEqual(stages.map(({ metrics }) => metrics));
    expect(await weightsOf(join(cwd, final.model))).toEqual(await weightsOf(join(cwd, 'whole/model')));
  });

  test('interrupted in stage 1 and resumed, it ends in the same model', async () => {
    let asked = false;
    const interrupted = await cli(['train', ...settings, '--out', 'cut'], {
      cwd,
      onStderr: (text, kill) => {
        if (asked || !text.includes('\nsft 1/12')) return;
        asked = true;
        kill('SIGINT');
      },
    });
    expect(interrupted.status).toBe(130);
    expect(interrupted.stderr).toMatch(
      /sft: stopped after step \d+; run the same command with --resume to continue/,
    );
    expect(await readdir(join(cwd, 'cut'))).not.toContain('model');
    await expectWhole('cut');
  });

  const STAGES = ['pretrain', 'sft', 'rl'];
  test.each(Array.from({ length: scaled(1, 12) }, (_, i) => i))(
    'killed at a random moment in each stage and resumed every time, it ends in the same model (%i)',
    async (round) => {
      const out = `killed-${round}`;
      const random = randomStream(round, 'kill');
      for (const [i, stage] of STAGES.entries()) {
        const delay = random.integer(150);
        let asked = false;
        const argv = ['train', ...settings, '--out', out, ...(i === 0 ? [] : ['--resume'])];
        const { status, stderr } = await cli(argv, {
          cwd,
          onStderr: (text, kill) => {
            if (asked || !new RegExp(`^${stage} \\d+/`, 'm').test(text)) return;
            asked = true;
            setTimeout(() => kill('SIGKILL'), delay);
          },
        });
        expect({ status, asked }, `${stage}, after ${delay} ms\n${stderr}`).toEqual({
          status: null,
          asked: true,
        });
      }
      await expectWhole(out);
    },
  );

  test('no query of stage 2 or of the validation split is learnt from in stage 1', async () => {
    // 18 training queries, of which 20 % (4) are held out; the rest halved. 23 of 24 documents have a title.
    const collection = withValidation(await loadBeir(join(cwd, 'data')), 0.2, 0);
    const { sft, rl } = trainingData(collection, { titlePairs: true, seed: 0 });
    const validation = [...(collection.qrels.get('dev')?.keys() ?? [])];
    const judged = sft.filter(({ id }) => !id.startsWith('title'));
    expect([judged.length, sft.length - judged.length, rl.length, validation.length]).toEqual([7, 23, 7, 4]);
    const all = [...judged.map(({ id }) => id), ...rl.map(({ id }) => id), ...validation];
    expect(new Set(all).size).toBe(18);
  });

  test('with another seed, stage 2 and evaluation still share queries out as stage 1 did', async () => {
    const split = { seed: 0, validation: 0.2, sft: 0.5 };
    expect(await cliJson(['inspect', 'whole/sft/model'], cwd)).toMatchObject({ split });
    const argv = ['rl', ...settings, '--model', 'whole/sft/model', '--out', 'other-seed', '--seed', '1'];
    const { status, stderr } = await cli([...argv, '--set', 'rl.steps=4'], { cwd });
    expect(status).toBe(0);
    expect(stderr).toMatch(/split as when this model was trained \(seed 0, validation\.share 0\.2/);
    const rewarded = (await readFile(join(cwd, 'other-seed/completions.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { queryId: string }).queryId);
    const loaded = await loadBeir(join(cwd, 'data'));
    const { rl } = trainingData(withValidation(loaded, 0.2, 0), { seed: 0 });
    expect(rl.map(({ id }) => id)).toEqual(expect.arrayContaining([...new Set(rewarded)]));
    expect(await cliJson(['inspect', 'other-seed/model'], cwd)).toMatchObject({ split });
    // Tuned on its 4 held out queries; 10 % and another seed would hold out 2 others.
    const evaluated = ['evaluate', '--model', 'other-seed/model', '--data', 'data', '--seed', '1'];
    expect(await cliJson(evaluated, cwd)).toMatchObject({ fusion: { tunedOn: 'dev', queries: 4 } });
  });
});

describe('a single stage', () => {
  beforeAll(async () => {
    await writeModel(join(cwd, 'model'));
  });
  const sft = (...argv: string[]) => ['sft', ...settings, '--base', 'model', '--set', 'sft.steps=3', ...argv];

  test('--seed changes what is drawn, and the same seed gives the same', async () => {
    const losses = [];
    for (const [i, seed] of ['0', '1', '0'].entries()) {
      const { metrics } = await cliJson<Stage>(sft('--out', `seed-${i}`, '--seed', seed), cwd);
      losses.push(metrics.loss);
    }
    expect(losses[2]).toBe(losses[0]);
    expect(losses[1]).not.toBe(losses[0]);
  });

  test('resuming takes more steps, but no other objective and no other data', async () => {
    await cliJson(sft('--out', 'longer'), cwd);
    const { steps } = await cliJson<Stage>(sft('--out', 'longer', '--resume', '--set', 'sft.steps=5'), cwd);
    expect(steps).toBe(5);
    const other = await cli(sft('--out', 'longer', '--resume', '--set', 'sft.temperature=0.1'), { cwd });
    expect(other).toMatchObject({ status: 2, stdout: '' });
    expect(other.stderr).toMatch(/longer\/config\.yaml: sft\.temperature: expected 0\.05, .*, found 0\.1\./);
    const changed = join(cwd, 'changed');
    await writeCollection(changed);
    await writeFile(
      join(changed, 'corpus.jsonl'),
      (await readFile(join(changed, 'corpus.jsonl'), 'utf8')).replace('bread', 'bred'),
    );
    const data = await cli(sft('--out', 'longer', '--resume', '--data', 'changed'), { cwd });
    expect(data.stderr).toMatch(/config\.yaml: fingerprints\.data: expected "/);
  });

  test('a run that is there is neither continued nor replaced unless told so', async () => {
    await cliJson(sft('--out', 'there'), cwd);
    const before = await weightsOf(join(cwd, 'there/model'));
    const again = await cli(sft('--out', 'there', '--set', 'sft.temperature=0.5'), { cwd });
    expect(again).toMatchObject({ status: 2, stdout: '' });
    expect(again.stderr).toMatch(/^error: there: expected a new or empty folder, found .*overwrite it/m);
    expect(await weightsOf(join(cwd, 'there/model'))).toEqual(before);
    const both = await cli(sft('--out', 'there', '--resume', '--overwrite'), { cwd });
    expect(both.status).toBe(2);
    await cliJson(sft('--out', 'there', '--set', 'sft.temperature=0.5', '--overwrite'), cwd);
    expect(await weightsOf(join(cwd, 'there/model'))).not.toEqual(before);
  });

  test('judgements of missing documents are left out of training with --allow-missing', async () => {
    const { qrels } = tinyCollection();
    const train = [...(qrels.train ?? []), ['q0', 'gone', 3], ['nobody', 'd1', 1]] as [
      string,
      string,
      number,
    ][];
    await writeCollection(join(cwd, 'missing'), { qrels: { ...qrels, train } });
    const validation = ['--set', 'validation.share=0'];
    const with_ = await cliJson<Stage>(
      sft('--out', 'missing-1', '--data', 'missing', '--allow-missing', ...validation),
      cwd,
    );
    const without = await cliJson<Stage>(sft('--out', 'missing-2', ...validation), cwd);
    expect(with_.metrics).toEqual(without.metrics);
    expect(with_.validation).toBeNull();
  });

  test('stage 2 in a selective environment, interrupted and resumed, ends in the same model, which is another than before', async () => {
    const rl = (out: string, ...argv: string[]) => {
      const sizes = ['rl.steps=24', 'rl.groupSize=6', 'rl.maxNewTokens=12', 'validation.every=0'];
      const environment = ['kind=selective', 'budget.fraction=0.3'].map((set) => `rl.environment.${set}`);
      return [
        'rl',
        ...settings,
        '--model',
        'model',
        '--out',
        out,
        ...[...sizes, ...environment, 'rl.auditEvery=5'].flatMap((size) => ['--set', size]),
        ...argv,
      ];
    };
    const whole = await cliJson<Stage>(rl('rl-whole'), cwd);
    expect(whole.metrics.documents_value).toBeGreaterThan(0);
    expect(await weightsOf(join(cwd, whole.model))).not.toEqual(await weightsOf(join(cwd, 'model')));
    let asked = false;
    const interrupted = await cli(rl('rl-cut'), {
      cwd,
      onStderr: (text, kill) => {
        if (asked || !text.includes('rl 1/24')) return;
        asked = true;
        kill('SIGTERM');
      },
    });
    expect(interrupted.status).toBe(130);
    const resumed = await cliJson<Stage>(rl('rl-cut', '--resume'), cwd);
    expect(resumed.metrics).toEqual(whole.metrics);
    expect(await weightsOf(join(cwd, resumed.model))).toEqual(await weightsOf(join(cwd, whole.model)));
    const report = await readFile(join(cwd, 'rl-whole/report.html'), 'utf8');
    expect(report).toContain('early in stage 2');
  });

  test('built-in world: from scratch, with its own prompts', async () => {
    const argv = ['pretrain', '--data', 'atlas', '--out', 'atlas', '--steps', '1', '--batch-size', '2'];
    const shape = ['--set', 'pretrain.model.layers=1', '--set', 'pretrain.optimization.warmupSteps=0'];
    const { model } = await cliJson<Stage>([...argv, ...shape], cwd);
    const { prompts } = await loadRetrieverFile(join(cwd, model));
    expect(prompts).toMatchObject({ reasoning: { system: 'reason' }, query: { system: 'represent' } });
  });
});
