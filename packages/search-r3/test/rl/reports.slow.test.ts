/**
 * What stage 2 tells of steps that teach little or nothing, resampling and audits; rollouts are made by hand, the
 * environment says what they are worth.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadCheckpoint } from 'search-r3/checkpoint';
import { type Completion, type GenerateOptions, Generator } from 'search-r3/generate';
import { type RlOptions, rlOptionsSchema } from 'search-r3/rl';
import type { TrainingQuery } from 'search-r3/sft';
import { EpochSampler, GradientEngine } from 'search-r3/train';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { DOCUMENTS, QUERIES } from '../sft/tiny-data.js';
import { type CraftedEnvironment, completion, craftedEnvironment } from './crafted.js';
import { policy, queriesOf, type Stage, stage } from './support.js';

afterEach(() => vi.restoreAllMocks());

const VARIED = [completion(2, 0.9), completion(4, 0.2), completion(3, 0.5)];
const EQUAL = [completion(2, 0.6), completion(4, 0.6), completion(3, 0.6)];
const CUT = [completion(6, 'length'), completion(6, 'length'), completion(6, 'length')];
const SILENT = [completion(3, 'stop'), completion(5, 'stop'), completion(1, 'stop')];

interface Call {
  /** Queries by id, recognised by their prompts. */
  queries: string[];
  options: GenerateOptions;
}

/** Lets `say` write the completions of each query. */
function script(run: Stage, say: (query: string, call: number) => readonly Completion[]): Call[] {
  const calls: Call[] = [];
  vi.spyOn(Generator.prototype, 'generate').mockImplementation(async (prompts, options) => {
    const { tokenizer } = run.policy;
    const queries = prompts.map((ids) => {
      const text = tokenizer.decode(ids);
      // The longest of the texts that are in the prompt.
      const known = QUERIES.filter((query) => text.includes(query.text));
      return known.sort((a, b) => b.text.length - a.text.length)[0]!.id;
    });
    calls.push({ queries, options });
    return queries.map((query) => [...say(query, calls.length - 1)]);
  });
  return calls;
}

async function step(
  changes: RlOptions,
  say: (query: string, call: number) => readonly Completion[],
  environment: CraftedEnvironment = craftedEnvironment(),
  steps = 1,
) {
  const options = rlOptionsSchema.parse({
    steps: 4,
    queriesPerStep: 2,
    groupSize: 3,
    maxNewTokens: 6,
    seed: 7,
    ...changes,
  });
  const run = await stage(options, { environment });
  const before = new Map([...policy.weights].map(([name, { data }]) => [name, data.slice()]));
  const calls = script(run, say);
  try {
    const records = [];
    for (let index = 0; index < steps; index++) records.push(await run.trainer.step(index));
    const moved = [...run.policy.weights].filter(([name, { data }]) =>
      data.some((value, i) => value !== before.get(name)![i]),
    );
    const { version } = run.model;
    return { records, record: records[0]!, calls, options, moved: moved.length, version };
  } finally {
    await run.dispose();
  }
}

const codes = ({ warnings = [] }: { warnings?: { code: string }[] }) => warnings.map(({ code }) => code);

describe('zero-variance groups', () => {
  test('are a metric, and a warning where there is no other', async () => {
    const { record, moved, version } = await step({}, () => EQUAL);
    expect(record.metrics).toMatchObject({ zero_variance: 1, loss: 0, gradient_norm: 0, anchors: 0 });
    expect(record.metrics.reward).toBeCloseTo(0.6, 6);
    expect(record.warnings).toEqual([
      { code: 'zero_variance', message: expect.stringContaining('nothing was learned') },
    ]);
    expect([moved, version]).toEqual([0, 0]);
  });

  test('one of two is half, and no warning', async () => {
    const options = rlOptionsSchema.parse({ queriesPerStep: 2, seed: 7 });
    const [first] = queriesOf(options, 0).map(({ id }) => id);
    const varied = (query: string) => (query === first ? EQUAL : VARIED);
    const { record, moved, version } = await step({ numIterations: 3 }, varied);
    expect(record.metrics.zero_variance).toBe(0.5);
    expect(codes(record)).toEqual([]);
    expect([moved, version]).toEqual([policy.weights.size, 3]);
  });
});

test('a step without variance uses up its part of the schedule', async () => {
  // 3 steps of 2 updates: linear from 5/6 to 0. Nothing is learned in the second.
  const changes: RlOptions = {
    steps: 3,
    numIterations: 2,
    optimization: { learningRate: 0.006, schedule: 'linear', warmupSteps: 0, finalLearningRate: 0 },
  };
  const { records } = await step(
    changes,
    (_query, call) => (call === 1 ? EQUAL : VARIED),
    craftedEnvironment(),
    3,
  );
  const rates = records.map(({ metrics }) => metrics.learning_rate);
  expect(rates).toEqual([expect.closeTo(0.004, 12), undefined, expect.closeTo(0, 12)]);
});

describe('truncation', () => {
  test('of everything is reported apart from other failures, and warned of', async () => {
    const { record } = await step({}, () => CUT);
    expect(record.metrics).toMatchObject({ reward: 0, truncated: 1, no_embed_token: 0, embedded: 0 });
    expect(record.warnings).toEqual([
      { code: 'truncated', message: expect.stringMatching(/100 % .*maxNewTokens \(6\).*Raise it/) },
      expect.objectContaining({ code: 'zero_variance' }),
    ]);
  });

  test('is not what ends without an embed token', async () => {
    const { record } = await step({}, () => SILENT);
    expect(record.metrics).toMatchObject({ reward: 0, truncated: 0, no_embed_token: 1, embedded: 0 });
    expect(codes(record)).toEqual(['zero_variance']);
  });

  test('of some is counted, without a warning', async () => {
    const { record } = await step({}, () => [CUT[0]!, VARIED[0]!, SILENT[1]!]);
    const third = expect.closeTo(1 / 3, 12);
    expect(record.metrics).toMatchObject({ truncated: third, no_embed_token: third, embedded: third });
    expect(codes(record)).toEqual([]);
  });
});

test('completions are recorded with what they wrote, without the tokens that end them', async () => {
  const { record } = await step({}, () => [CUT[0]!, VARIED[1]!, SILENT[1]!]);
  const { tokenizer } = policy;
  const words = (tokens: readonly number[]) => tokenizer.decode(tokens);
  const [cut, embedded, silent] = record.completions!;
  expect(record.completions!.length).toBe(6);
  expect(record.completions!.map(({ sample }) => sample)).toEqual([0, 1, 2, 0, 1, 2]);
  expect(cut).toMatchObject({
    reasoning: words(CUT[0]!.tokens),
    tokens: 6,
    outcome: 'truncated',
    rank: null,
  });
  expect(embedded).toMatchObject({
    reasoning: words(VARIED[1]!.tokens.slice(0, -1)),
    tokens: 4,
    outcome: 'embedded',
    rank: 1,
    reward: expect.closeTo(0.2, 6),
  });
  expect(silent).toMatchObject({
    reasoning: words(SILENT[1]!.tokens.slice(0, -1)),
    tokens: 5,
    outcome: 'no_embed_token',
    reward: 0,
  });
});

describe('resampling', () => {
  const standard = rlOptionsSchema.parse({ steps: 4, queriesPerStep: 2, groupSize: 3, seed: 7 });
  const [first, second] = queriesOf(standard, 0).map(({ id }) => id) as [string, string];
  const rest = QUERIES.map(({ id }) => id).filter((id) => id !== first && id !== second);

  test('is off by default', async () => {
    const { calls } = await step({}, () => EQUAL);
    expect(calls.map(({ queries }) => queries)).toEqual([[first, second]]);
  });

  test('is bounded, asks only for what is missing, and never twice for the same query', async () => {
    const { calls, record } = await step({ resampleRounds: 3 }, () => EQUAL);
    expect(calls.length).toBeLessThanOrEqual(4);
    expect(calls.length).toBeGreaterThan(1);
    const asked = calls.flatMap(({ queries }) => queries);
    expect(new Set(asked).size).toBe(asked.length);
    expect(record.metrics.zero_variance).toBe(1);
    // The step has its size all the same.
    expect(record.completions!.length).toBe(6);
  });

  test('keeps what varies, and fills up with what does not', async () => {
    const say = (query: string) => (query === second ? VARIED : EQUAL);
    const { calls, record } = await step({ resampleRounds: 2 }, say);
    for (const { queries } of calls.slice(1)) {
      expect(queries.length).toBeLessThanOrEqual(1);
      for (const query of queries) expect(rest).toContain(query);
    }
    expect(record.completions!.map(({ queryId }) => queryId)).toEqual([
      second,
      second,
      second,
      first,
      first,
      first,
    ]);
    expect(record.metrics.zero_variance).toBe(0.5);
  });

  test('replaces a zero-variance group by one with variance', async () => {
    const say = (query: string, call: number) => (query === first || call > 0 ? VARIED : EQUAL);
    const { calls, record } = await step({ resampleRounds: 4 }, say);
    expect(record.metrics.zero_variance).toBe(0);
    expect(record.completions!.filter(({ queryId }) => queryId === second)).toEqual([]);
    expect(record.completions!.filter(({ queryId }) => rest.includes(queryId)).length).toBe(3);
    expect(calls.length).toBeGreaterThan(1);
  });

  test('stops as soon as there is nothing to replace', async () => {
    const { calls } = await step({ resampleRounds: 5 }, () => VARIED);
    expect(calls.length).toBe(1);
  });

  test('reads further queries from batches behind the last step, each batch once', async () => {
    const rounds = 3;
    const { calls, options } = await step({ resampleRounds: rounds }, () => EQUAL, craftedEnvironment(), 4);
    const { queriesPerStep: batchSize, seed, steps } = options;
    const sampler = new EpochSampler({ count: QUERIES.length, batchSize, seed, label: 'rl' });
    const batch = (position: number) => sampler.batch(position).map((i) => QUERIES[i]!.id);
    const expected: string[][] = [];
    let further = steps;
    for (let index = 0; index < steps; index++) {
      const asked = batch(index);
      expected.push([...asked]);
      for (let round = 1; round <= rounds; round++) {
        const fresh = batch(further++).filter((id) => !asked.includes(id));
        asked.push(...fresh);
        if (fresh.length > 0) expected.push(fresh);
      }
    }
    expect(calls.map(({ queries }) => queries)).toEqual(expected);
  });

  test('leaves the queries of later steps what they are, and every round draws anew', async () => {
    const { calls } = await step({ resampleRounds: 2 }, () => EQUAL, craftedEnvironment(), 3);
    const steps = [0, 1, 2].map((index) => queriesOf(standard, index).map(({ id }) => id));
    // Seeds tell step and round: three rounds a step at most, those without a fresh query not sampled.
    const round = ({ options }: Call) => (options.seed! - 7) / 1_000_003;
    const first = calls.filter((call) => round(call) % 3 === 0);
    expect(first.map(({ queries }) => queries)).toEqual(steps);
    expect(calls.every(({ queries }) => queries.length > 0)).toBe(true);
    expect(new Set(calls.map(({ options }) => options.seed)).size).toBe(calls.length);
  });
});

test('rollouts are sampled as the options say, from the whole vocabulary', async () => {
  const { calls } = await step({ temperature: 0.8, groupSize: 3 }, () => VARIED);
  const [{ options }] = calls as [Call];
  expect(options).toMatchObject({
    samples: 3,
    maxNewTokens: 6,
    temperature: 0.8,
    embedToken: policy.embedId,
    stop: policy.stopIds,
  });
  expect(options.topK).toBeUndefined();
  expect(options.topP).toBeUndefined();
});

describe('audits', () => {
  const audit = {
    rewardError: 0.25,
    interval: [0.1, 0.4],
    misplaced: { estimate: 7.5, interval: [2, 11] },
    encoded: 3,
    tokens: 50,
  } as const;
  const told = {
    audited_error: 0.25,
    audited_error_low: 0.1,
    audited_error_high: 0.4,
    misplaced_documents: 7.5,
    misplaced_documents_low: 2,
    misplaced_documents_high: 11,
    documents_audit: 3,
    tokens_audit: 50,
  };

  test('are made every so many steps, and told at their own', async () => {
    const environment = craftedEnvironment({ audit });
    const { records } = await step({ auditEvery: 2 }, () => VARIED, environment, 4);
    expect(environment.audited).toEqual([0, 2]);
    for (const [i, { metrics }] of records.entries()) {
      const found = Object.entries(metrics).filter(([name]) => name in told);
      expect(Object.fromEntries(found)).toEqual(i % 2 === 0 ? told : {});
    }
    expect(records.flatMap(codes)).toEqual([]);
  });

  test('warn where the error may be larger than it should', async () => {
    const environment = craftedEnvironment({ audit: { ...audit, exceeded: true } });
    const { record } = await step({ auditEvery: 1 }, () => VARIED, environment);
    expect(record.warnings).toEqual([
      { code: 'environment_error', message: expect.stringContaining('0.1000 to 0.4000') },
    ]);
  });

  test('are off by default', async () => {
    const environment = craftedEnvironment({ audit });
    await step({}, () => VARIED, environment, 2);
    expect(environment.audited).toEqual([]);
    expect(environment.refreshed).toEqual([0, 1]);
  });
});

describe('the environment', () => {
  const refresh = {
    encoded: { positives: 4, value: 9, full: 0 },
    tokens: { positives: 40, value: 95 },
    rounds: 3,
    expectedError: 0.02,
    positivesUnseen: 0.25,
    recall: 0.97,
    parts: { encode: 0, value: 0 },
  };

  test('is told of by cause, with its parts of the time', async () => {
    const { record } = await step({}, () => VARIED, craftedEnvironment({ refresh }));
    expect(record.metrics).toMatchObject({
      documents_positives: 4,
      documents_value: 9,
      documents_full: 0,
      tokens_positives: 40,
      tokens_value: 95,
      refresh_rounds: 3,
      expected_error: 0.02,
      positives_unseen: 0.25,
      search_recall: 0.97,
      skipped_queries: 0,
    });
    expect(Object.keys(record.metrics)).not.toContain('documents_region');
    expect(record.timings).toMatchObject({ environment_encode: 0, environment_value: 0 });
    expect(record.timings.environment).toBeGreaterThanOrEqual(0);
  });

  test('of resampling rounds: documents add up', async () => {
    const { record, calls } = await step({ resampleRounds: 2 }, () => EQUAL, craftedEnvironment({ refresh }));
    expect(calls.length).toBeGreaterThan(1);
    expect(record.metrics).toMatchObject({
      documents_value: 9 * calls.length,
      tokens_value: 95 * calls.length,
      refresh_rounds: 3 * calls.length,
      expected_error: 0.02,
    });
  });

  test('without any document of a query: it is skipped, and counted', async () => {
    const options = rlOptionsSchema.parse({ queriesPerStep: 2, seed: 7 });
    const [first, second] = queriesOf(options, 0) as [TrainingQuery, TrainingQuery];
    const gone = [...first.relevant.keys()];
    // The other query keeps a document of its own.
    expect([...second.relevant.keys()].some((id) => !gone.includes(id))).toBe(true);
    const environment = craftedEnvironment({ gone });
    const { record, calls } = await step({}, () => VARIED, environment);
    expect(calls.map(({ queries }) => queries)).toEqual([[second.id]]);
    expect(record.metrics).toMatchObject({ skipped_queries: 1 });
    expect(record.completions!.every(({ queryId }) => queryId === second.id)).toBe(true);
    for (const { relevant } of environment.rewarded) {
      for (const grades of relevant) for (const id of gone) expect(grades.has(id)).toBe(false);
    }
  });

  test('a removed document is neither positive nor negative, where its query has others', async () => {
    // d1 is the positive of q1, which has d4 too; d8 is the hard negative of q1 and q3.
    const gone = ['d1', 'd8'];
    const compute = vi.spyOn(GradientEngine.prototype, 'compute');
    const environment = craftedEnvironment({ gone });
    const { record } = await step({ queriesPerStep: 5 }, () => VARIED, environment);
    expect(record.metrics).toMatchObject({ skipped_queries: 0 });
    const [{ sequences, contrastive }] = compute.mock.calls[0]!;
    const texts = contrastive!.documents.map((i) => policy.tokenizer.decode([...sequences[i]!.ids]));
    const has = (id: string) => texts.some((text) => text.includes(DOCUMENTS.get(id)!));
    expect(['d1', 'd8'].filter(has)).toEqual([]);
    expect(['d2', 'd3', 'd4', 'd5', 'd7'].filter(has)).toEqual(['d2', 'd3', 'd4', 'd5', 'd7']);
    for (const { relevant } of environment.rewarded) {
      for (const grades of relevant) for (const id of gone) expect(grades.has(id)).toBe(false);
    }
  });

  test('without documents of all queries: nothing is learned, and it is said', async () => {
    const gone = QUERIES.flatMap(({ relevant }) => [...relevant.keys()]);
    const { record, moved } = await step({}, () => VARIED, craftedEnvironment({ gone }));
    expect(record.metrics).toMatchObject({ skipped_queries: 2, reward: 0 });
    expect(codes(record)).toEqual(['no_queries']);
    expect(moved).toBe(0);
  });
});

test("the new token's rows are trained, and saved", async () => {
  const options = rlOptionsSchema.parse({ steps: 1, queriesPerStep: 2, groupSize: 3, maxNewTokens: 6 });
  const run = await stage(options, { environment: craftedEnvironment() });
  script(run, () => VARIED);
  const width = policy.config.hiddenSize;
  const rows = (from: typeof policy.weights) =>
    ['model.embed_tokens.weight', 'lm_head.weight'].map((name) =>
      from.get(name)!.data.slice(policy.embedId * width, (policy.embedId + 1) * width),
    );
  const before = rows(policy.weights);
  const folder = await mkdtemp(join(tmpdir(), 'rows-'));
  try {
    await run.trainer.step(0);
    await run.trainer.save(folder);
    const loaded = await loadCheckpoint(join(folder, 'model'));
    const after = rows(run.policy.weights);
    expect(rows(loaded.weights)).toEqual(after);
    for (const [i, row] of after.entries()) {
      // AdamW's first step moves every number by about the learning rate.
      expect(row.every((value, j) => Math.abs(value - before[i]![j]!) > 1e-5)).toBe(true);
    }
  } finally {
    await run.dispose();
    await rm(folder, { recursive: true });
  }
});

test('a KL penalty needs the model it is relative to', async () => {
  const options = rlOptionsSchema.parse({ beta: 0.1, queriesPerStep: 2 });
  await expect(stage(options, { environment: craftedEnvironment() })).rejects.toThrow(
    /beta > 0 needs a reference/,
  );
});
