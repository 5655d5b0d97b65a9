/** Training and evaluation as calls: what they leave is what the commands leave, in a thread and without. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  evaluate,
  InputError,
  InterruptedError,
  type ProgressEvent,
  pretrain,
  type TrainConfig,
  train,
} from 'search-r3';
import { loadCheckpoint } from 'search-r3/checkpoint';
import { loadCorpus } from 'search-r3/dataset';
import { collectionWords, latentDirections } from 'search-r3/pretrain';
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

test.each(['random', 'lexical', 'latent'] as const)(
  'pretrain.start: %s, as rows of tokens tell',
  async (start) => {
    const { pretrain: own, data } = config;
    const shape = { ...own?.model, tied: false };
    const optimization = { warmupSteps: 0, learningRate: 1e-9 };
    const pretraining = { ...own, steps: 1, start, model: shape, optimization };
    const { model } = await pretrain({ data, out: join(cwd, `start-${start}`), pretrain: pretraining });
    const { weights, config: found, tokenizer, prompts } = await loadCheckpoint(model);
    const words = collectionWords(await loadCorpus(join(cwd, 'data/corpus.jsonl')), tokenizer, prompts!);
    const width = found.hiddenSize - 1;
    const directions = latentDirections(words.documents, words.logIdf, width, 0);
    const rows = weights.get('model.embed_tokens.weight')!.data;
    // Cosines of rows without their first channel with the directions, over tokens of the corpus.
    const cosines = [...new Set(words.documents.flat())].map((id) => {
      const row = rows.subarray(id * found.hiddenSize + 1, (id + 1) * found.hiddenSize);
      const dot = row.reduce((sum, x, i) => sum + x * directions[id * width + i]!, 0);
      return dot / Math.hypot(...row);
    });
    const mean = cosines.reduce((a, b) => a + b, 0) / cosines.length;
    if (start === 'latent') expect(mean).toBeGreaterThan(0.999);
    else expect(Math.abs(mean)).toBeLessThan(0.1);
    // The first channel is ln idf but for a factor.
    const firsts = words.documents.flat().map((id) => rows[id * found.hiddenSize]! / words.logIdf[id]!);
    const spread = Math.max(...firsts) - Math.min(...firsts);
    if (start === 'random') expect(spread).toBeGreaterThan(0.01);
    else expect(spread).toBeLessThan(1e-4);
  },
);
