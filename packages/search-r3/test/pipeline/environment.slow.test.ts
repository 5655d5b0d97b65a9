/** Stage 2 in the environment that its options name, and options of it that make no sense. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Session } from 'onnx-grad';
import { directPrompt, directPrompts, reasoningPrompts } from 'search-r3/checkpoint';
import { mergeConfig, parseConfig } from 'search-r3/cli';
import { frozenCopy, Model, type Policy } from 'search-r3/model';
import { createEnvironment, rlSettings, runRl } from 'search-r3/pipeline';
import { type RlOptions, rlOptionsSchema } from 'search-r3/rl';
import { InputError, InterruptedError, RunFolder } from 'search-r3/run';
import type { LoopOptions, StepRecord } from 'search-r3/train';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';
import { DATA, DOCUMENTS, QUERIES } from '../sft/tiny-data.js';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const policy = tinyPolicy('rl', { layers: 1 });
const model = Model.of(policy);
afterAll(() => model.dispose());
const collection = {
  corpus: [...DOCUMENTS].map(([id, text]) => ({ id, text })),
  queries: new Map(),
  qrels: new Map(),
};
const data = { sft: [], rl: QUERIES, document: DATA.document, negatives: DATA.negatives };

interface Trained {
  policy: Policy;
  records: StepRecord[];
}

async function trained(changes: RlOptions, loop: LoopOptions = {}): Promise<Trained> {
  const own = frozenCopy(policy);
  const records: StepRecord[] = [];
  const options = rlOptionsSchema.parse({
    steps: 5,
    queriesPerStep: 2,
    groupSize: 4,
    maxNewTokens: 8,
    seed: 3,
    optimization: { learningRate: 3e-2 },
    ...changes,
  });
  const onStep = (finished: number, record: StepRecord) => {
    records.push(record);
    loop.onStep?.(finished, record);
  };
  await using trained = Model.of(own);
  await runRl(trained, collection, data, options, { ...loop, onStep });
  return { policy: own, records };
}

const few: RlOptions = { environment: { kind: 'selective', budget: { documents: 2 } }, auditEvery: 2 };

const rewards = ({ records }: Trained) =>
  records.map(({ completions }) => completions?.map(({ reward, rank }) => [reward, rank]));

/** Documents that were encoded, and their tokens, step by step. */
const totals = ({ records }: Trained, prefix: string) =>
  records.map(({ metrics }) =>
    Object.entries(metrics).reduce(
      (total, [name, value]) => (name.startsWith(prefix) ? total + (value ?? 0) : total),
      0,
    ),
  );

let exact: Trained;
let parent: string;
beforeAll(async () => {
  exact = await trained({});
  parent = await mkdtemp(join(tmpdir(), 'rl-environment-'));
});
afterAll(() => rm(parent, { recursive: true }));

describe('the environment of a run', () => {
  test('selective with a budget of the whole corpus: rewards, losses and weights of the exact one', async () => {
    const found = await trained({ environment: { kind: 'selective', budget: { fraction: 1 } } });
    expect(rewards(found)).toEqual(rewards(exact));
    expect(new Set(rewards(exact).flat(2)).size).toBeGreaterThan(4);
    for (const name of ['loss', 'gradient_norm', 'contrastive']) {
      const of = ({ records }: Trained) => records.map(({ metrics }) => metrics[name]);
      expect(of(found)).toEqual(of(exact));
    }
    expect(found.policy.weights).toEqual(exact.policy.weights);
    expect(found.policy.weights).not.toEqual(policy.weights);
    // What it encodes is known by its causes.
    expect(exact.records.at(-1)?.metrics.documents_full).toBe(DOCUMENTS.size);
    expect(found.records.at(-1)?.metrics.documents_full).toBeUndefined();
    for (const prefix of ['documents_', 'tokens_']) {
      expect(totals(found, prefix)).toEqual(totals(exact, prefix));
      expect(totals(exact, prefix)[0]).toBeGreaterThanOrEqual(DOCUMENTS.size);
    }
  });

  test('selective with a small budget: fewer documents, and other rewards', async () => {
    const found = await trained({ ...few, auditEvery: 0 });
    const [first, ...later] = totals(found, 'documents_');
    expect(first).toBe(DOCUMENTS.size);
    for (const [i, count] of later.entries()) {
      // The positives of two queries, of which no query has more than two, and two more.
      expect(count, `step ${i + 1}`).toBeLessThanOrEqual(6);
      expect(count, `step ${i + 1}`).toBeGreaterThan(0);
    }
    expect(rewards(found)).not.toEqual(rewards(exact));
    expect(found.policy.weights).not.toEqual(exact.policy.weights);
  });

  test('what is cut to fit is counted, and told once', async () => {
    const { tokenizer, prompts } = policy;
    const limit = { maxTokens: 9 };
    const all = [...DOCUMENTS.values()];
    const prompted = await directPrompts(tokenizer, prompts, all, 'document', limit);
    const cut = prompted.filter(({ truncated }) => truncated).length;
    expect(cut).toBeGreaterThan(0);
    expect(cut).toBeLessThan(DOCUMENTS.size);
    const warnings: unknown[] = [];
    const onWarning: LoopOptions['onWarning'] = (step, { code, message }) => {
      if (code === 'truncated_documents') warnings.push({ step, message });
    };
    const { records } = await trained({ maxLength: 9 }, { onWarning });
    for (const { metrics, completions } of records) {
      const queries = new Set(completions?.map(({ query }) => query));
      const asked = await reasoningPrompts(tokenizer, prompts, [...queries], limit);
      const long = asked.filter(({ truncated }) => truncated).length;
      expect(metrics).toMatchObject({ truncated_queries: long, truncated_documents: cut });
    }
    expect(new Set(records.map(({ metrics }) => metrics.truncated_queries)).size).toBeGreaterThan(1);
    const message = `${cut} documents are longer than maxLength (9) and were cut.`;
    expect(warnings).toEqual([{ step: 1, message }]);
    const { metrics } = exact.records[0] as StepRecord;
    expect(metrics).toMatchObject({ truncated_queries: 0, truncated_documents: 0 });
  });

  test('its draws are by the seed of the stage', async () => {
    const versions = async (seed: number) => {
      const environment = { kind: 'selective', policy: 'random', budget: { documents: 3 } } as const;
      const options = rlOptionsSchema.parse({ seed, environment });
      const made = await createEnvironment(model, collection, DATA.document, options);
      const none = { vectors: new Float32Array(), relevant: [] };
      for (const version of [0, 1, 2]) await made.environment.refresh(version, none);
      const { arrays } = made.environment.state();
      await made.environment.dispose();
      return arrays;
    };
    expect(await versions(1)).toEqual(await versions(1));
    expect(await versions(2)).not.toEqual(await versions(1));
  });

  test.each(['exact', 'selective'] as const)(
    'documents added and of another text are encoded by what they say: %s',
    async (kind) => {
      const { tokenizer, prompts } = policy;
      const texts = new Map(DOCUMENTS);
      const options = rlOptionsSchema.parse({ environment: { kind } });
      const made = await createEnvironment(model, collection, (id) => texts.get(id)!, options);
      const none = { vectors: new Float32Array(), relevant: [] };
      await made.environment.refresh(0, none);
      const [first] = texts.keys();
      texts.set(first!, 'red river');
      texts.set('new', 'a stone');
      made.environment.change({ changed: [first!], added: ['new'] });
      const { tokens } = await made.environment.refresh(0, none);
      const changed = await Promise.all(
        [first!, 'new'].map(
          async (id) => (await directPrompt(tokenizer, prompts, texts.get(id)!, 'document')).ids,
        ),
      );
      expect(Object.values(tokens)).toEqual([changed[0]!.length + changed[1]!.length]);
      const encoder = await model.encoder();
      const best = await made.environment.search(await encoder.encode(changed), 1);
      expect(best.map(([hit]) => hit)).toEqual(
        [first!, 'new'].map((id) => ({ id, score: expect.closeTo(1, 5) })),
      );
      await made.environment.dispose();
    },
  );

  test.each(['exact', 'selective'] as const)(
    'documents are tokenized once for as long as they are there: %s',
    async (kind) => {
      const texts = new Map([...DOCUMENTS, ['new', 'a stone']]);
      const [first, second] = texts.keys() as MapIterator<string>;
      const options = rlOptionsSchema.parse({ environment: { kind } });
      const made = await createEnvironment(model, collection, (id) => texts.get(id)!, options);
      const encode = vi.spyOn(policy.tokenizer, 'encodeBatch');
      const times = (id: string) =>
        encode.mock.calls.flatMap(([asked]) => asked).filter((asked) => asked.includes(texts.get(id)!))
          .length;
      const refresh = (version: number) =>
        made.environment.refresh(version, { vectors: new Float32Array(), relevant: [] });
      await refresh(0);
      await refresh(1);
      expect([first!, second!, 'new'].map(times)).toEqual([1, 1, 0]);
      made.environment.change({ removed: [first!], added: ['new'] });
      await refresh(2);
      made.environment.change({ added: [first!] });
      await refresh(3);
      expect([first!, second!, 'new'].map(times)).toEqual([2, 1, 1]);
      encode.mockRestore();
      await made.environment.dispose();
    },
  );

  test.each(['exact', 'selective'] as const)(
    'documents are cut to the length of the stage: %s',
    async (kind) => {
      const { tokenizer, prompts } = policy;
      const prompt = async (limit: { maxTokens?: number }) =>
        await Promise.all(
          collection.corpus.map(
            async ({ text }) => (await directPrompt(tokenizer, prompts, text, 'document', limit)).ids,
          ),
        );
      const lengths = (await prompt({})).map(({ length }) => length);
      const maxLength = Math.ceil((Math.min(...lengths) + Math.max(...lengths)) / 2);
      const expected = await prompt({ maxTokens: maxLength });
      const tokens = (of: readonly { length: number }[]) =>
        of.reduce((total, { length }) => total + length, 0);
      expect(tokens(expected)).toBeLessThan(tokens(await prompt({})));
      const options = rlOptionsSchema.parse({ maxLength, environment: { kind } });
      const made = await createEnvironment(model, collection, DATA.document, options);
      const { tokens: counted } = await made.environment.refresh(0, {
        vectors: new Float32Array(),
        relevant: [],
      });
      expect(counted.full).toBe(tokens(expected));
      const encoder = await model.encoder();
      const vectors = await encoder.encode(expected);
      // Each document is its own nearest, with the score of a vector with itself.
      const best = await made.environment.search(vectors, 1);
      expect(best.map(([hit]) => hit!.score)).toEqual(best.map(() => expect.closeTo(1, 5)));
      await made.environment.dispose();
    },
  );

  test.each([8192, 40, 1])('documents are encoded in runs of %i padded tokens at most', async (maxTokens) => {
    const run = vi.spyOn(Session.prototype, 'run');
    const options = rlOptionsSchema.parse({ optimization: { maxTokens } });
    const made = await createEnvironment(model, collection, DATA.document, options);
    const { tokens } = await made.environment.refresh(0, { vectors: new Float32Array(), relevant: [] });
    const shapes = run.mock.calls.flatMap(([{ ids }]) => (ids === undefined ? [] : [ids.shape as number[]]));
    run.mockRestore();
    await made.environment.dispose();
    // The longest first: as many as fit when padded to it, one where none does.
    const lengths = (
      await Promise.all(
        collection.corpus.map(
          async ({ text }) =>
            (
              await directPrompt(policy.tokenizer, policy.prompts, text, 'document')
            ).ids.length,
        ),
      )
    ).sort((a, b) => b - a);
    expect(tokens.full).toBe(lengths.reduce((a, b) => a + b, 0));
    const expected: number[][] = [];
    while (lengths.length > 0) {
      const [longest] = lengths as [number];
      const rows = Math.min(lengths.length, Math.max(1, Math.floor(maxTokens / longest)));
      expected.push([rows, longest]);
      lengths.splice(0, rows);
    }
    expect(shapes).toEqual(expected);
    expect(expected.length).toBe({ 8192: 1, 40: 3, 1: 8 }[maxTokens]);
  });

  test.each(['exact', 'selective'] as const)('its rewards are cut where the stage says: %s', async (kind) => {
    const cut = await trained({ environment: { kind }, reward: { cut: 2 } });
    const ranked = rewards(cut).flat() as [number, number | null][];
    const beyond = ranked.filter(([, rank]) => rank !== null && rank > 2);
    expect(beyond.length).toBeGreaterThan(0);
    for (const [reward] of beyond) expect(reward).toBe(0);
  });

  test('stopped and resumed, with audits: to the bit as never stopped', async () => {
    const whole = await trained(few);
    expect(whole.records.map(({ metrics }) => 'audited_error' in metrics)).toEqual([
      true,
      false,
      true,
      false,
      true,
    ]);
    const path = join(parent, 'run');
    const stop = new AbortController();
    const run = await RunFolder.create(path, {});
    const onStep = (finished: number) => finished === 2 && stop.abort();
    await expect(trained(few, { run, signal: stop.signal, onStep })).rejects.toThrow(InterruptedError);
    await run.close();
    const again = await RunFolder.create(path, {}, { resume: true });
    const resumed = await trained(few, { run: again });
    await again.close();
    expect(resumed.records.map(({ metrics }) => metrics)).toEqual(
      whole.records.slice(2).map(({ metrics }) => metrics),
    );
    expect(resumed.policy.weights).toEqual(whole.policy.weights);
  });
});

describe('settings', () => {
  const load = (environment: string, ...set: [string, string][]) => {
    const file = parseConfig('a.yaml', `data: x\nout: y\nmodel: m\nrl:\n  environment: ${environment}\n`);
    const given = set.map(([key, value]) => ({ source: `--set ${key}`, key, value }));
    return mergeConfig(rlSettings, file, given).rl.environment;
  };

  test('from a file and from the command line', () => {
    expect(load('{ kind: exact }')).toEqual({ kind: 'exact' });
    expect(load('{ kind: selective }')).toMatchObject({ policy: 'value', budget: { fraction: 0.05 } });
    const budget = '{ kind: exact }\n  auditEvery: 5';
    expect(
      load(
        budget,
        ['rl.environment.kind', 'selective'],
        ['rl.environment.budget.targetError', '0.01'],
        ['rl.environment.drift.kernel', 'false'],
      ),
    ).toMatchObject({
      kind: 'selective',
      budget: { targetError: 0.01 },
      drift: { kernel: false, map: true },
    });
  });

  test.each([
    ['{ kind: all }', 'kind: expected "exact" or "selective", found "all".'],
    [
      '{ budget: { fraction: 0.1 } }',
      'budget: expected no such setting with kind exact, found {"fraction":0.1}.',
    ],
    ['{ kind: selective, budget: { fraction: 2 } }', 'budget.fraction: expected a number to 1, found 2.'],
    [
      '{ kind: selective, budget: { documents: 0 } }',
      'budget.documents: expected a whole number from 1, found 0.',
    ],
    [
      '{ kind: selective, budget: { documents: 3, targetError: 0.1 } }',
      'budget: expected one of documents, fraction and targetError, found {"documents":3,"targetError":0.1}.',
    ],
    [
      '{ kind: selective, budget: {} }',
      'budget: expected one of documents, fraction and targetError, found {}.',
    ],
    [
      '{ kind: selective, budget: { fraction: 0.1, most: 0.2 } }',
      'budget.most: expected no such setting without targetError, found 0.2.',
    ],
    [
      '{ kind: selective, index: ann }',
      'index: expected exact, because the drift map moves every vector, found "ann".',
    ],
    [
      '{ kind: exact, budget: { fraction: 0.1 } }',
      'budget: expected no such setting with kind exact, found {"fraction":0.1}.',
    ],
  ])('refused: %s', (environment, message) => {
    let found: unknown;
    try {
      load(environment);
    } catch (error) {
      found = error;
    }
    expect(found).toBeInstanceOf(InputError);
    expect((found as InputError).message).toMatch(/^a\.yaml(:5)?: rl\.environment\./);
    expect((found as InputError).message).toContain(`rl.environment.${message}`);
  });

  test.each(['seed', 'cut'])('%s is that of the stage', (key) => {
    expect(() => load(`{ kind: selective, ${key}: 3 }`)).toThrow(`unknown key "${key}"`);
  });
});
