/** Self-distilled reasoning targets: what the base says, cut and cleaned, and how the options change it. */
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Checkpoint, reasoningPrompt } from 'search-r3/checkpoint';
import { Generator } from 'search-r3/generate';
import { frozenCopy, Model, makePolicy } from 'search-r3/model';
import { runSft } from 'search-r3/pipeline';
import { InputError, InterruptedError, type ProgressEvent, RunFolder } from 'search-r3/run';
import {
  type ReasoningTargets,
  type SftOptions,
  SftTrainer,
  sampleTargets,
  sftOptionsSchema,
  TargetSampler,
} from 'search-r3/sft';
import { trainLoop } from 'search-r3/train';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { tinyBase, tinyPolicy } from '../decoder/tiny-policy.js';
import { asParameters } from '../reference/decoder.js';
import { referenceModel } from '../reference/objectives.js';
import { DATA, QUERIES } from './tiny-data.js';

const base = Model.of(tinyPolicy('targets', { layers: 1 }));
const sample = (changes: SftOptions['reasoning'], seed = 0, queries = QUERIES) =>
  sampleTargets(base, queries, sftOptionsSchema.parse({ seed, reasoning: changes }));
const tokens = (targets: ReasoningTargets) => QUERIES.map(({ id }) => targets.get(id)!);

test('one per query, at most as long as allowed, without the tokens that end it', async () => {
  const ends = [base.embedId, ...base.stopIds];
  for (const maxNewTokens of [4, 20]) {
    const targets = await sample({ maxNewTokens });
    expect([...targets.keys()]).toEqual(QUERIES.map(({ id }) => id));
    const lengths = tokens(targets).map(({ length }) => length);
    // The embed token counts.
    expect(Math.max(...lengths)).toBe(maxNewTokens - 1);
    // Some end by themselves.
    expect(Math.min(...(await all(maxNewTokens)).map(({ length }) => length))).toBeLessThan(maxNewTokens - 1);
    for (const target of tokens(targets)) for (const token of target) expect(ends).not.toContain(token);
  }
});

/** A model to be trained, on a copy of the weights of a base. */
const started = (from: Checkpoint) => Model.of(makePolicy(frozenCopy(from)));

/** Many targets of the same queries. */
async function all(maxNewTokens: number): Promise<number[][]> {
  const found = [];
  for (const seed of [0, 1, 2, 3, 4, 5, 6, 7]) found.push(...tokens(await sample({ maxNewTokens }, seed)));
  return found;
}

test('a low temperature gives what is most probable, 1 does not', async () => {
  const model = referenceModel(
    base.config,
    asParameters(base.checkpoint.weights, () => false),
  );
  /** The share of tokens that were the most probable. */
  const greedy = async (temperature: number) => {
    const targets = await sample({ temperature, maxNewTokens: 10 });
    let [best, total] = [0, 0];
    for (const { id, text } of QUERIES) {
      const prompt = (await reasoningPrompt(base.tokenizer, base.prompts, text)).ids;
      const target = targets.get(id)!;
      const { vocabSize } = base.config;
      const { data } = model.forward([...prompt, ...target]).logits;
      for (const [i, token] of target.entries()) {
        const at = (prompt.length - 1 + i) * vocabSize;
        const scores = data.slice(at, at + vocabSize);
        if (scores.indexOf(Math.max(...scores)) === token) best++;
        total++;
      }
    }
    return best / total;
  };
  expect(await greedy(1e-3)).toBe(1);
  expect(await greedy(1)).toBeLessThan(0.8);
});

test('the same seed gives the same targets, another gives others', async () => {
  const first = await sample({});
  expect(await sample({})).toEqual(first);
  expect(await sample({}, 1)).not.toEqual(first);
});

test('more queries than are sampled at once: all get one, and it is told how far it is', async () => {
  const many = Array.from({ length: 131 }, (_, i) => ({ ...QUERIES[i % 5]!, id: `${i}` }));
  const told: [string, number, number][] = [];
  const progress = {
    report: ({ stage, step, steps }: ProgressEvent) => told.push([stage, step, steps]),
  };
  const options = sftOptionsSchema.parse({ reasoning: { maxNewTokens: 6 } });
  const targets = await sampleTargets(base, many, options, { progress });
  expect(targets.size).toBe(131);
  expect(told).toEqual(Array.from({ length: 131 }, (_, i) => ['reasoning targets', i + 1, 131]));
  // The same text under another id draws otherwise, in the next piece too.
  const same = [0, 5, 10, 125, 130].map((i) => targets.get(`${i}`)!.join());
  expect(new Set(same).size).toBeGreaterThan(2);
  const aborted = sampleTargets(base, many, options, { signal: AbortSignal.abort() });
  await expect(aborted).rejects.toThrow(InterruptedError);
});

test('a target follows from the seed and the id of its query, whatever else is sampled', async () => {
  const many = Array.from({ length: 131 }, (_, i) => ({ ...QUERIES[i % 5]!, id: `${i}` }));
  const options = { maxNewTokens: 20 };
  const all = await sample(options, 3, many);
  const few = [many[130]!, many[7]!, many[64]!];
  for (const [id, tokens] of await sample(options, 3, few)) expect(tokens, id).toEqual(all.get(id));
  const renamed = await sample(options, 3, [{ ...many[7]!, id: 'other' }]);
  expect(renamed.get('other')).not.toEqual(all.get('7'));
  const known = new Map([['7', [1, 2]]]);
  const sampler = new TargetSampler(base, many, sftOptionsSchema.parse({ seed: 3, reasoning: options }), {
    known,
  });
  await sampler.reach(9);
  await sampler.dispose();
  expect(sampler.targets.get('7')).toEqual([1, 2]);
  // Of the 130 others, 128 are sampled at once.
  expect(sampler.targets.size).toBe(129);
  expect(sampler.targets.get('8')).toEqual(all.get('8'));
  expect(known.size).toBe(1);
});

test('no two ids under any two seeds draw from one stream', async () => {
  const generate = vi.spyOn(Generator.prototype, 'generate');
  for (const seed of [0, 1, 12]) {
    for (const ids of [
      ['0', '1'],
      ['12', '01'],
    ]) {
      await sample(
        { maxNewTokens: 3 },
        seed,
        ids.map((id) => ({ ...QUERIES[0]!, id })),
      );
    }
  }
  const seeds = generate.mock.calls.flatMap(([, options]) => options.seeds ?? []);
  generate.mockRestore();
  expect(seeds.length).toBe(12);
  expect(new Set(seeds).size).toBe(12);
  expect(seeds.every(Number.isSafeInteger)).toBe(true);
});

test('maxLength: the prompt is cut to it', async () => {
  const generate = vi.spyOn(Generator.prototype, 'generate');
  const long = QUERIES.map((query) => ({ ...query, text: `${query.text} `.repeat(12) }));
  const bare = (await reasoningPrompt(base.tokenizer, base.prompts, '')).ids.length;
  for (const maxLength of [bare + 2, bare + 7]) {
    generate.mockClear();
    await sampleTargets(base, long, sftOptionsSchema.parse({ maxLength, reasoning: { maxNewTokens: 3 } }));
    const lengths = generate.mock.calls.flatMap(([prompts]) => prompts.map(({ length }) => length));
    expect(lengths).toEqual(long.map(() => maxLength));
  }
  generate.mockRestore();
});

test('maxQueries: so many are drawn once and used throughout', async () => {
  const own = tinyBase('targets', { layers: 1 });
  const data = { ...DATA, sft: [...QUERIES], rl: [], document: DATA.document };
  /** Tokens of each step, of two queries each, without reasoning: which queries they were can be told from it. */
  const steps = async (maxQueries: number | undefined, seed = 0) => {
    const options = sftOptionsSchema.parse({
      steps: 4,
      batchSize: 2,
      seed,
      reasoning: { enabled: false },
      optimization: { warmupSteps: 0 },
      ...(maxQueries !== undefined && { maxQueries }),
    });
    const found: number[] = [];
    await runSft(started(own), data, options, {
      onStep: (_, { metrics }) => found.push(metrics.tokens as number),
    });
    return found;
  };
  expect(new Set(await steps(undefined)).size).toBeGreaterThan(1);
  expect(new Set(await steps(2)).size).toBe(1);
  const bySeed = await Promise.all([0, 1, 2, 3].map(async (seed) => (await steps(2, seed))[0]));
  expect(new Set(bySeed).size).toBeGreaterThan(1);
  expect(new Set(await steps(9)).size).toBeGreaterThan(1);
});

describe('sampled as training needs them', () => {
  const own = tinyBase('targets', { layers: 1 });
  /** More than two pieces. */
  const queries = Array.from({ length: 273 }, (_, i) => ({ ...QUERIES[i % 5]!, id: `${i}` }));
  const data = { ...DATA, negatives: () => undefined, sft: queries, rl: [], document: DATA.document };
  const optionsOf = (steps: number) =>
    sftOptionsSchema.parse({
      steps,
      batchSize: 50,
      seed: 4,
      reasoning: { maxNewTokens: 6 },
      optimization: { warmupSteps: 0, schedule: 'constant' },
    });
  let folder: string;
  let expected: Awaited<ReturnType<typeof beforehand>>;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'targets-'));
    expected = await beforehand(7);
  });
  afterAll(() => rm(folder, { recursive: true }));
  afterEach(() => vi.restoreAllMocks());
  const open = (name: string, resume = false) => RunFolder.create(join(folder, name), {}, { resume });
  /** Pieces as the run folder has them. */
  const recorded = async (name: string) =>
    (await readFile(join(folder, name, 'targets.jsonl'), 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { targets: [string, number[]][] }).targets);

  /** Everything sampled in the order of the collection, then trained on. */
  async function beforehand(steps: number) {
    const options = optionsOf(steps);
    const policy = makePolicy(frozenCopy(own));
    const start = frozenCopy(policy);
    const targets = await sampleTargets(Model.of(start), queries, options);
    const trainer = new SftTrainer(
      Model.of(policy),
      start,
      policy.embedId,
      { ...data, queries, targets },
      options,
    );
    await trainLoop(trainer);
    await trainer.dispose();
    return { targets, weights: policy.weights };
  }

  test('the same targets and the same model as when all are sampled beforehand', async () => {
    const generate = vi.spyOn(Generator.prototype, 'generate');
    const dispose = vi.spyOn(Generator.prototype, 'dispose');
    const steps: [number, number, number][] = [];
    const run = await open('whole');
    const onStep = (step: number) =>
      steps.push([step, generate.mock.calls.length, dispose.mock.calls.length]);
    const model = started(own);
    await runSft(model, data, optionsOf(7), { run, onStep });
    await run.close();
    const pieces = await recorded('whole');
    expect(pieces.map(({ length }) => length)).toEqual([128, 128, 17]);
    expect(new Map(pieces.flat())).toEqual(new Map(expected.targets));
    for (const [name, { data: found }] of model.checkpoint.weights) {
      expect(found, name).toEqual(expected.weights.get(name)!.data);
    }
    // Steps of 50 reach 128 in the third and 256 in the sixth, which needs the last: the generator goes.
    expect(steps).toEqual([
      [1, 1, 0],
      [2, 1, 0],
      [3, 2, 0],
      [4, 2, 0],
      [5, 2, 0],
      [6, 3, 1],
      [7, 3, 1],
    ]);
  });

  test('only those that the steps need', async () => {
    const run = await open('short');
    await runSft(started(own), data, optionsOf(3), { run });
    await run.close();
    expect((await recorded('short')).map(({ length }) => length)).toEqual([128, 22]);
  });

  test('stopped while sampling, the steps before are kept; resumed, nothing is sampled twice', async () => {
    const stop = new AbortController();
    const progress = {
      report: ({ stage, step }: ProgressEvent) => {
        if (stage === 'reasoning targets' && step === 140) stop.abort();
      },
    };
    const run = await open('cut');
    const cut = runSft(started(own), data, optionsOf(7), { run, progress, signal: stop.signal });
    await expect(cut).rejects.toThrow(new InterruptedError('sft: stopped after step 2'));
    await run.close();
    expect(await readdir(join(folder, 'cut/checkpoints'))).toEqual(['step-2']);
    const path = join(folder, 'cut/targets.jsonl');
    const before = await readFile(path, 'utf8');
    // Killed while writing.
    await appendFile(path, '{"step":1,"targets":[["7",[');
    const generate = vi.spyOn(Generator.prototype, 'generate');
    const again = await open('cut', true);
    const model = started(own);
    await runSft(model, data, optionsOf(7), { run: again });
    await again.close();
    expect(generate.mock.calls.map(([prompts]) => prompts.length)).toEqual([128, 17]);
    expect((await readFile(path, 'utf8')).startsWith(before)).toBe(true);
    expect(new Map((await recorded('cut')).flat())).toEqual(new Map(expected.targets));
    for (const [name, { data: found }] of model.checkpoint.weights) {
      expect(found, name).toEqual(expected.weights.get(name)!.data);
    }
  });

  test('a run that sampled everything before training goes on with what it has', async () => {
    const run = await open('earlier');
    const stored = queries.map(({ id }, i) => [id, [i % 7, 3]]);
    await run.writeFile('targets.json', JSON.stringify(stored));
    const generate = vi.spyOn(Generator.prototype, 'generate');
    const tokens: unknown[] = [];
    await runSft(started(own), data, optionsOf(2), {
      run,
      onStep: (_, { metrics }) => tokens.push(metrics.tokens),
    });
    await run.close();
    expect(generate).not.toHaveBeenCalled();
    expect(tokens).toHaveLength(2);
    await writeFile(join(folder, 'earlier/targets.json'), '[["0", ["three"]]]');
    const broken = await open('earlier', true);
    await expect(runSft(started(own), data, optionsOf(3), { run: broken })).rejects.toThrow(InputError);
    await broken.close();
  });
});
