/** Self-distilled reasoning targets: what the base says, cut and cleaned, and how the options change it. */
import { reasoningPrompt } from 'search-r3/checkpoint';
import { Generator } from 'search-r3/generate';
import { runSft } from 'search-r3/pipeline';
import { InterruptedError } from 'search-r3/run';
import { type ReasoningTargets, type SftOptions, sampleTargets, sftOptionsSchema } from 'search-r3/sft';
import { expect, test, vi } from 'vitest';
import { tinyBase, tinyPolicy } from '../decoder/tiny-policy.js';
import { asParameters } from '../reference/decoder.js';
import { referenceModel } from '../reference/objectives.js';
import { DATA, QUERIES } from './tiny-data.js';

const base = tinyPolicy('targets', { layers: 1 });
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

/** Many targets of the same queries. */
async function all(maxNewTokens: number): Promise<number[][]> {
  const found = [];
  for (const seed of [0, 1, 2, 3, 4, 5, 6, 7]) found.push(...tokens(await sample({ maxNewTokens }, seed)));
  return found;
}

test('a low temperature gives what is most probable, 1 does not', async () => {
  const model = referenceModel(
    base.config,
    asParameters(base.weights, () => false),
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
  const told: [number, number][] = [];
  const options = sftOptionsSchema.parse({ reasoning: { maxNewTokens: 6 } });
  const targets = await sampleTargets(base, many, options, {
    onProgress: (done, total) => told.push([done, total]),
  });
  expect(targets.size).toBe(131);
  expect(told).toEqual([
    [128, 131],
    [131, 131],
  ]);
  // The same text at another place draws otherwise, in the next piece too.
  const same = [0, 5, 10, 125, 130].map((i) => targets.get(`${i}`)!.join());
  expect(new Set(same).size).toBeGreaterThan(2);
  const again = Array.from({ length: 130 }, () => QUERIES[0]!).map((query, i) => ({ ...query, id: `${i}` }));
  const drawn = await sampleTargets(base, again, sftOptionsSchema.parse({ reasoning: { maxNewTokens: 20 } }));
  expect(drawn.get('128')).not.toEqual(drawn.get('0'));
  expect(drawn.get('129')).not.toEqual(drawn.get('1'));
  const aborted = sampleTargets(base, many, options, { signal: AbortSignal.abort() });
  await expect(aborted).rejects.toThrow(InterruptedError);
});

test('no two pieces under any two seeds draw the same', async () => {
  const generate = vi.spyOn(Generator.prototype, 'generate');
  const equal = Array.from({ length: 129 }, (_, i) => ({ ...QUERIES[0]!, id: `${i}` }));
  const pieces = new Map<string, number[]>();
  for (const seed of [0, 1, 127, 128, 129]) {
    const targets = await sample({ maxNewTokens: 8 }, seed, equal);
    // The first of each piece, in a stream by the number it has in its piece.
    pieces.set(`${seed} first`, targets.get('0')!);
    pieces.set(`${seed} second`, targets.get('128')!);
  }
  const seeds = generate.mock.calls.map(([, { seed }]) => seed!);
  generate.mockRestore();
  expect(seeds.length).toBe(10);
  expect(new Set(seeds).size).toBe(10);
  expect(seeds.every(Number.isSafeInteger)).toBe(true);
  expect(pieces.get('0 second')).not.toEqual(pieces.get('128 first'));
  expect(pieces.get('1 second')).not.toEqual(pieces.get('129 first'));
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
    await runSft(own, data, options, { onStep: (_, { metrics }) => found.push(metrics.tokens as number) });
    return found;
  };
  expect(new Set(await steps(undefined)).size).toBeGreaterThan(1);
  expect(new Set(await steps(2)).size).toBe(1);
  const bySeed = await Promise.all([0, 1, 2, 3].map(async (seed) => (await steps(2, seed))[0]));
  expect(new Set(bySeed).size).toBeGreaterThan(1);
  expect(new Set(await steps(9)).size).toBeGreaterThan(1);
});
