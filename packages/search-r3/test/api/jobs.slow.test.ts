/** Training and evaluation as calls leave what the commands leave, with and without a thread. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DivergenceError,
  evaluate,
  InputError,
  InterruptedError,
  loadRetriever,
  type ProgressEvent,
  pretrain,
  sft,
  type TrainConfig,
  train,
} from 'search-r3';
import { loadCheckpoint } from 'search-r3/checkpoint';
import { loadCorpus } from 'search-r3/dataset';
import { asPolicy } from 'search-r3/model';
import { sizedToCollection, trainSettings } from 'search-r3/pipeline';
import { collectionWords, latentDirections } from 'search-r3/pretrain';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { cliJson, tinyCollection, weightsOf, writeCollection, writeModel } from '../cli/tiny.js';

let cwd: string;
let config: TrainConfig;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'api-jobs-'));
  await writeCollection(join(cwd, 'data'));
  const optimization = { warmupSteps: 1 };
  config = {
    data: join(cwd, 'data'),
    out: join(cwd, 'run'),
    validation: { queries: 2 },
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

test('train and evaluate give the model and the figures of the commands, with progress and notes', async () => {
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

test('an aborted run can be resumed and ends with the same model', async () => {
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
  '%s: an error in a callback ends the job and unlocks its folder at once',
  async (thread) => {
    const out = join(cwd, `thrown-${thread}`);
    const thrown = new RangeError('enough');
    const failing = train(
      { ...config, out },
      {
        thread,
        onProgress: ({ stage }) => {
          if (stage === 'sft') throw thrown;
        },
      },
    );
    expect(await failing.catch((error: unknown) => error)).toBe(thrown);
    const files = await readdir(out, { recursive: true });
    expect(files.filter((file) => file.endsWith('.lock'))).toEqual([]);
    expect(files).not.toContain('model');
    const { model } = await train({ ...config, out }, { resume: true });
    expect(await weightsOf(model)).toEqual(await weightsOf(join(cwd, 'run/model')));
  },
);

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

test.each(['worker', 'current'] as const)(
  '%s: a divergence error names the update and a remedy',
  async (thread) => {
    const { data, pretrain: own } = config;
    const optimization = { warmupSteps: 0, learningRate: 1e30 };
    const out = join(cwd, `diverged-${thread}`);
    const diverging = pretrain({ data, out, pretrain: { ...own, steps: 4, optimization } }, { thread });
    const error = await diverging.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DivergenceError);
    expect((error as DivergenceError).message).toMatch(
      /^update 2 of 4: the gradient of .* is not finite\. Lower the learning rate \(it is 1e\+30\), or/,
    );
    expect(await readdir(out)).not.toContain('model');
  },
);

test.each(['train', 'sft'] as const)('%s: leaves nothing if aborted before its first step', async (name) => {
  const out = join(cwd, `aborted-${name}`);
  const reason = new Error('of the caller');
  const base = await writeModel(join(cwd, 'base'));
  const how = { thread: 'current', signal: AbortSignal.abort(reason) } as const;
  const { data, sft: own } = config;
  const aborted = name === 'train' ? train({ ...config, out }, how) : sft({ data, base, out, sft: own }, how);
  const error = await aborted.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(InterruptedError);
  if (name === 'train') expect((error as InterruptedError).cause).toBe(reason);
  expect(await readdir(cwd)).not.toContain(`aborted-${name}`);
});

test('defaults shrink for a collection of five documents, with a note; the model embeds as it was trained', async () => {
  const { corpus, queries } = tinyCollection();
  const train_ = queries.slice(0, 5).map(({ _id }, i): [string, string, number] => [_id, `d${i}`, 1]);
  const data = join(cwd, 'five');
  await writeCollection(data, { corpus: corpus.slice(0, 5), qrels: { train: train_ } });
  const { batchSize: _pretrain, ...pretraining } = config.pretrain ?? {};
  const notes: string[] = [];
  const { run, model } = await train(
    {
      data,
      out: join(cwd, 'run-on-five'),
      pretrain: { ...pretraining, steps: 1 },
      validation: { share: 0 },
      sft: { steps: 1, reasoning: { maxNewTokens: 8 }, matryoshka: [8, 20] },
      rl: { steps: 1, groupSize: 2, maxNewTokens: 10, maxLength: 50 },
    },
    { thread: 'current', onNote: (note) => notes.push(note) },
  );
  // Five queries: round(2.5) for stage 1, the rest for stage 2.
  expect(notes.slice(0, 3)).toEqual([
    `pretrain.batchSize is 5 instead of its default 64: there are no more documents of ${data}.`,
    `sft.batchSize is 3 instead of its default 32: there are no more queries of stage 1 in ${data}.`,
    `rl.queriesPerStep is 2 instead of its default 16: there are no more queries of stage 2 in ${data}.`,
  ]);
  const made = parse(await readFile(join(run, 'config.yaml'), 'utf8')) as Record<string, object>;
  expect(made).toMatchObject({
    pretrain: { batchSize: 5 },
    sft: { batchSize: 3 },
    rl: { queriesPerStep: 2 },
  });
  const sizes = { documents: 5, sft: 3, rl: 2 };
  const fits = { data, pretrain: { batchSize: 5 }, sft: { batchSize: 3 }, rl: { queriesPerStep: 2 } };
  const settings = trainSettings.parse({ ...fits, out: 'x' });
  expect(sizedToCollection(settings, sizes)).toEqual(settings);
  expect(() => sizedToCollection(settings, { ...sizes, rl: 1 })).toThrow(
    /rl\.queriesPerStep: expected at most the 1 queries of stage 2 .*, found 2/,
  );

  // Of 192 positions stage 1 leaves 9 for the reasoning.
  expect((await loadCheckpoint(join(run, 'sft/model'))).limits).toEqual({ maxLength: 183, maxNewTokens: 8 });
  expect((await loadCheckpoint(model)).limits).toEqual({ maxLength: 50, maxNewTokens: 10 });
  // Stage 2 keeps the lengths of the vectors of stage 1.
  for (const folder of [join(run, 'sft/model'), model]) {
    expect((await loadCheckpoint(folder)).matryoshka).toEqual([8, 20]);
  }
  await using retriever = await loadRetriever(model, { thread: 'current' });
  const text = Array<string>(90).fill('bread').join(' ');
  const [trained] = await retriever.embed([text], { reasoning: true });
  const [same] = await retriever.embed([text], { reasoning: true, maxLength: 50, maxNewTokens: 10 });
  expect(trained).toEqual(same);
  expect(trained?.truncated).toBe(true);
});

test.each(['random', 'lexical', 'latent'] as const)(
  'pretrain.start: %s shows in the rows of tokens',
  async (start) => {
    const { pretrain: own, data } = config;
    const shape = { ...own?.model, tied: false };
    const optimization = { warmupSteps: 0, learningRate: 1e-9 };
    const pretraining = { ...own, steps: 1, start, model: shape, optimization };
    const parts = new Set<string>();
    const { model } = await pretrain(
      { data, out: join(cwd, `start-${start}`), pretrain: pretraining },
      { onProgress: ({ stage, unit }) => parts.add(`${stage}, by the ${unit}`) },
    );
    expect([...parts]).toEqual([
      'pretrain words, by the text',
      'pretrain vocabulary, by the token',
      'pretrain key terms, by the document',
      ...(start === 'random' ? [] : ['pretrain tokens, by the document']),
      ...(start === 'latent' ? ['pretrain directions, by the document'] : []),
      'pretrain, by the step',
    ]);
    const { weights, config: found, tokenizer, prompts } = asPolicy(await loadCheckpoint(model));
    const words = await collectionWords(await loadCorpus(join(cwd, 'data/corpus.jsonl')), tokenizer, prompts);
    const width = found.hiddenSize - 1;
    const directions = await latentDirections(words.documents, words.logIdf, width, 0);
    const rows = weights.get('model.embed_tokens.weight')!.data;
    // Cosines between rows without their first channel and the directions, over tokens of the corpus.
    const cosines = [...new Set(words.documents.flat())].map((id) => {
      const row = rows.subarray(id * found.hiddenSize + 1, (id + 1) * found.hiddenSize);
      const dot = row.reduce((sum, x, i) => sum + x * directions[id * width + i]!, 0);
      return dot / Math.hypot(...row);
    });
    const mean = cosines.reduce((a, b) => a + b, 0) / cosines.length;
    if (start === 'latent') expect(mean).toBeGreaterThan(0.999);
    else expect(Math.abs(mean)).toBeLessThan(0.1);
    // The first channel is ln idf up to a factor.
    const firsts = words.documents.flat().map((id) => rows[id * found.hiddenSize]! / words.logIdf[id]!);
    const spread = Math.max(...firsts) - Math.min(...firsts);
    if (start === 'random') expect(spread).toBeGreaterThan(0.01);
    else expect(spread).toBeLessThan(1e-4);
  },
);
