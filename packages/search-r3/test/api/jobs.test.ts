/** Training and evaluation as calls: what they leave is what the commands leave, in a thread and without. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  evaluate,
  InputError,
  InterruptedError,
  type ProgressEvent,
  type TrainConfig,
  train,
} from 'search-r3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cliJson, weightsOf, writeCollection } from '../cli/tiny.js';

let cwd: string;
let config: TrainConfig;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'api-jobs-'));
  await writeCollection(join(cwd, 'data'));
  const optimization = { warmupSteps: 1 };
  config = {
    data: join(cwd, 'data'),
    out: join(cwd, 'run'),
    development: { queries: 2 },
    pretrain: {
      steps: 2,
      batchSize: 6,
      vocabSize: 420,
      optimization,
      model: { hiddenSize: 32, intermediateSize: 32, layers: 1, heads: 4, kvHeads: 2, maxPositions: 192 },
      maxLength: 96,
    },
    sft: { steps: 3, batchSize: 4, reasoning: { maxNewTokens: 8 }, optimization },
    rl: { steps: 2, queriesPerStep: 2, groupSize: 2, maxNewTokens: 8 },
  };
});
afterAll(() => rm(cwd, { recursive: true }));

test('train and evaluate: the model and the figures of the commands, with progress and notes', async () => {
  const events: ProgressEvent[] = [];
  const notes: string[] = [];
  const { model, stages, report } = await train(config, {
    onProgress: (event) => events.push(event),
    onNote: (note) => notes.push(note),
  });
  expect(stages.map(({ stage, steps }) => [stage, steps])).toEqual([
    ['pretrain', 2],
    ['sft', 3],
    ['rl', 2],
  ]);
  expect(await readFile(report, 'utf8')).toContain('<html');
  expect(events.filter(({ stage }) => stage === 'sft').map(({ step }) => step)).toEqual([1, 2, 3]);
  expect(notes.join('\n')).toContain('Stage 2');

  const settings = Object.entries({ ...config, out: join(cwd, 'by-command') });
  const flags = settings.flatMap(([key, value]) => ['--set', `${key}=${JSON.stringify(value)}`]);
  const command = await cliJson<{ model: string }>(['train', ...flags], cwd);
  expect(await weightsOf(model)).toEqual(await weightsOf(command.model));

  const limits = { systems: ['bm25', 'reasoned'] as ['bm25', 'reasoned'], maxNewTokens: 8 };
  const { summary, rankings } = await evaluate({ data: config.data, model, evaluate: limits });
  const same = await evaluate({ data: config.data, model, evaluate: limits }, { thread: 'current' });
  expect({ summary, rankings }).toEqual({ summary: same.summary, rankings: same.rankings });
  expect(summary.queries).toBe(6);
  expect(rankings.reasoned?.size).toBe(6);
});

test('stopped by its signal it can be resumed, and ends in the same model', async () => {
  const out = join(cwd, 'stopped');
  const controller = new AbortController();
  const stopped = await train(
    { ...config, out },
    {
      signal: controller.signal,
      onProgress: ({ stage, step }) => {
        if (stage === 'sft' && step === 1) controller.abort();
      },
    },
  ).catch((error: unknown) => error);
  expect(stopped).toBeInstanceOf(InterruptedError);
  expect(await readdir(out)).not.toContain('model');
  const { model } = await train({ ...config, out }, { resume: true });
  expect(await weightsOf(model)).toEqual(await weightsOf(join(cwd, 'run/model')));
});

test.each(['worker', 'current'] as const)(
  '%s: bad settings are refused before anything is written',
  async (thread) => {
    const out = join(cwd, `refused-${thread}`);
    const refused = train({ ...config, out, rl: { groupSize: 1 } }, { thread });
    const error = await refused.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).problem).toMatchObject({
      source: 'settings',
      field: 'rl.groupSize',
      found: '1',
    });
    expect(await readdir(cwd)).not.toContain(`refused-${thread}`);
  },
);

test('aborted before it starts, nothing is trained, and the reason is the cause', async () => {
  const out = join(cwd, 'aborted');
  const reason = new Error('of the caller');
  const aborted = train({ ...config, out }, { thread: 'current', signal: AbortSignal.abort(reason) });
  const error = await aborted.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(InterruptedError);
  expect((error as InterruptedError).cause).toBe(reason);
  expect(await readdir(out)).not.toContain('pretrain');
});
