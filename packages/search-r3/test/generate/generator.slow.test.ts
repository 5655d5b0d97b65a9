/** Generation against forward passes without a cache in float64, and against itself in other batches. */
import { type Completion, type GenerateOptions, Generator } from 'search-r3/generate';
import { InputError, InterruptedError, randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inferenceOf, tinyModel } from '../decoder/tiny.js';
import { relativeError } from '../reference/finite-differences.js';
import { EMBED_TOKEN } from '../reference/fixtures.js';
import { judge, MODELS, reference } from './models.js';

const random = randomStream(3, 'prompts');
/** Ragged, one of a single token, two equal. */
const PROMPTS = [5, 1, 9, 3, 12, 2].map((length) => Array.from({ length }, () => random.integer(22)));
PROMPTS.push([...(PROMPTS[2] as number[])]);

/** Rows end at different times: by two stop tokens, by the embed token, by length. */
const RAGGED: GenerateOptions = {
  maxNewTokens: 11,
  samples: 6,
  temperature: 0.7,
  stop: [3, 17],
  embedToken: EMBED_TOKEN,
  seed: 5,
};

function expectSame(found: Completion[][], expected: Completion[][]): void {
  const words = (completions: Completion[][]) =>
    completions.map((rows) => rows.map(({ tokens, finish }) => ({ tokens, finish })));
  expect(words(found)).toEqual(words(expected));
  for (const [i, completion] of expected.flat().entries()) {
    const other = found.flat()[i]!;
    for (const [t, value] of completion.logProbabilities.entries()) {
      expect(other.logProbabilities[t]).toBeCloseTo(value, 5);
    }
    expect(other.hidden === undefined).toBe(completion.hidden === undefined);
    if (completion.hidden) expect(relativeError(other.hidden!, completion.hidden)).toBeLessThan(1e-5);
  }
}

const beginning = ({ tokens, logProbabilities }: Completion, length: number) => ({
  tokens: tokens.slice(0, length),
  logProbabilities: logProbabilities.slice(0, length),
});

describe.each(MODELS)('%s', (_, config) => {
  let generator: Generator;
  const model = tinyModel(config);
  beforeAll(async () => {
    generator = await Generator.create(model.config, inferenceOf(model));
  });
  afterAll(() => generator.dispose());

  test('greedy with a cache is greedy without one', async () => {
    const completions = await generator.generate(PROMPTS, {
      maxNewTokens: 10,
      temperature: 0,
      stop: [],
      slots: 3,
    });
    const without = reference(config);
    for (const [i, [completion]] of completions.entries()) {
      expect(completion!.finish).toBe('length');
      expect(completion!.tokens.length).toBe(10);
      const row = judge(without, PROMPTS[i]!, completion!);
      expect(Math.max(...row.gaps)).toBeLessThan(1e-4);
      for (const [t, value] of row.logProbabilities.entries()) {
        expect(completion!.logProbabilities[t]).toBeCloseTo(value, 4);
      }
    }
  });

  test('samples: log-probabilities and embeddings are those without a cache, at the temperature', async () => {
    const completions = await generator.generate(PROMPTS, RAGGED);
    const without = reference(config);
    const finishes = new Set(completions.flat().map(({ finish }) => finish));
    expect([...finishes].sort()).toEqual(['embed', 'length', 'stop']);
    for (const [i, rows] of completions.entries()) {
      for (const completion of rows) {
        const row = judge(without, PROMPTS[i]!, completion, RAGGED.temperature);
        for (const [t, value] of row.logProbabilities.entries()) {
          expect(Math.abs(completion.logProbabilities[t]! - value)).toBeLessThan(1e-4);
        }
        if (completion.finish !== 'embed') continue;
        expect(completion.tokens.at(-1)).toBe(EMBED_TOKEN);
        expect(relativeError(completion.hidden!, row.hidden)).toBeLessThan(1e-5);
      }
    }
  });

  test('slots refilled and compacted, one by one, and all at once give the same', async () => {
    const all = await generator.generate(PROMPTS, RAGGED);
    for (const slots of [1, 4, 5]) expectSame(await generator.generate(PROMPTS, { ...RAGGED, slots }), all);
  });
});

describe('one model', () => {
  const config = MODELS[3]![1];
  const model = tinyModel(config);
  const without = reference(config);
  let generator: Generator;
  beforeAll(async () => {
    generator = await Generator.create(model.config, inferenceOf(model));
  });
  afterAll(() => generator.dispose());
  const greedy = (prompts: readonly (readonly number[])[], options: Partial<GenerateOptions> = {}) =>
    generator.generate(prompts, { maxNewTokens: 10, temperature: 0, stop: [], ...options });

  test('a prompt by itself gives what it gives in a batch', async () => {
    const batch = await greedy(PROMPTS);
    for (const [i, prompt] of PROMPTS.entries()) {
      expectSame(await greedy([prompt]), [batch[i]!]);
    }
    expect(batch[6]).toEqual(batch[2]);
  });

  test('a seed reproduces its draws, another gives others; samples of a prompt differ', async () => {
    const first = await generator.generate(PROMPTS, RAGGED);
    expect(await generator.generate(PROMPTS, RAGGED)).toEqual(first);
    const other = await generator.generate(PROMPTS, { ...RAGGED, seed: 6 });
    const texts = (completions: Completion[][]) => completions.flat().map(({ tokens }) => tokens.join());
    expect(texts(other).filter((text, i) => text === texts(first)[i]).length).toBeLessThan(6);
    for (const rows of first) expect(new Set(texts([rows])).size).toBeGreaterThan(3);
  });

  test('a prompt and a sample draw from a stream of their own, by their numbers', async () => {
    const [temperature, samples] = [0.7, 3];
    for (const seed of [5, 6]) {
      const completions = await generator.generate(PROMPTS, {
        ...RAGGED,
        temperature,
        samples,
        seed,
        slots: 4,
      });
      for (const [i, rows] of completions.entries()) {
        for (const [sample, completion] of rows.entries()) {
          const stream = randomStream(seed, 'generate', i, sample);
          const { probabilities } = judge(without, PROMPTS[i]!, completion, temperature);
          for (const [t, token] of completion.tokens.entries()) {
            // The token in whose share of the cumulative distribution the number lies, within float32.
            const drawn = stream.uniform();
            const below = probabilities[t]!.slice(0, token).reduce((a, b) => a + b, 0);
            expect(drawn).toBeGreaterThan(below - 1e-5);
            expect(drawn).toBeLessThan(below + probabilities[t]![token]! + 1e-5);
          }
        }
      }
      // Two of the prompts are equal.
      expect(completions[6]!.map(({ tokens }) => tokens)).not.toEqual(
        completions[2]!.map(({ tokens }) => tokens),
      );
    }
  });

  test('with a seed per prompt, each gives what it gives by itself', async () => {
    const seeds = PROMPTS.map((_, i) => 40 + (i % 3));
    const batch = await generator.generate(PROMPTS, { ...RAGGED, seeds, slots: 3 });
    for (const [i, prompt] of PROMPTS.entries()) {
      const own = await generator.generate([prompt], { ...RAGGED, seed: seeds[i]! });
      expect(own[0]!.map(({ tokens }) => tokens)).toEqual(batch[i]!.map(({ tokens }) => tokens));
    }
    const few = generator.generate(PROMPTS, { ...RAGGED, seeds: seeds.slice(1) });
    await expect(few).rejects.toThrow(/seeds: expected .*7.*, found 6/);
  });

  test('greedy samples are all the same', async () => {
    const [rows] = await greedy([PROMPTS[0]!], { samples: 3 });
    expect(rows).toEqual([rows![0], rows![0], rows![0]]);
  });

  test('ends at a stop token, which is the last of the completion', async () => {
    const [[whole]] = (await greedy([PROMPTS[4]!])) as [[Completion]];
    const stop = whole.tokens[4]!;
    const at = whole.tokens.indexOf(stop);
    const [[cut]] = (await greedy([PROMPTS[4]!], { stop: [stop] })) as [[Completion]];
    expectSame([[cut]], [[{ ...beginning(whole, at + 1), finish: 'stop' }]]);
  });

  test.each([0, 1, 4, 9])(
    'an embed token as the last token allowed (%i before it) still embeds',
    async (before) => {
      // What is said greedily says where a token stands for the first time.
      const found = (await greedy(PROMPTS)).flatMap(([row], i) =>
        row!.tokens.indexOf(row!.tokens[before]!) === before ? [{ prompt: PROMPTS[i]!, row: row! }] : [],
      );
      expect(found.length).toBeGreaterThan(0);
      for (const { prompt, row } of found) {
        const embedToken = row.tokens[before]!;
        const [[last]] = (await greedy([prompt], { embedToken, maxNewTokens: before + 1 })) as [[Completion]];
        expect(last.finish).toBe('embed');
        expect(last.tokens).toEqual(row.tokens.slice(0, before + 1));
        expect(relativeError(last.hidden!, judge(without, prompt, last).hidden)).toBeLessThan(1e-5);
        if (before === 0) continue;
        const [[short]] = (await greedy([prompt], { embedToken, maxNewTokens: before })) as [[Completion]];
        expectSame([[short]], [[{ ...beginning(row, before), finish: 'length' }]]);
      }
    },
  );

  test('top-k and top-p draw only what they allow', async () => {
    const [temperature, topP, topK] = [1.6, 0.6, 4];
    const options = { ...RAGGED, temperature, samples: 12 };
    const outside = { p: 0, k: 0 };
    for (const limits of [{ topP }, { topK }, { topP, topK }, {}]) {
      const completions = await generator.generate(PROMPTS, { ...options, ...limits });
      for (const [i, rows] of completions.entries()) {
        for (const completion of rows) {
          const { probabilities } = judge(without, PROMPTS[i]!, completion, temperature);
          for (const [t, token] of completion.tokens.entries()) {
            const own = probabilities[t]![token]!;
            const better = probabilities[t]!.filter((p) => p > own);
            const mass = better.reduce((a, b) => a + b, 0);
            // The best tokens before the last one allowed have less mass than top-p. Equal within float32.
            if ('topP' in limits) expect(mass).toBeLessThan(topP + 1e-5);
            else if (mass >= topP) outside.p++;
            if ('topK' in limits) expect(better.length).toBeLessThan(topK);
            else if (better.length >= topK) outside.k++;
          }
        }
      }
    }
    expect(Math.min(outside.p, outside.k)).toBeGreaterThan(100);
  });

  test('tokens and completions are told as they come', async () => {
    const tokens: number[][][] = PROMPTS.map(() => Array.from({ length: 6 }, () => []));
    const finished: string[] = [];
    const completions = await generator.generate(PROMPTS, {
      ...RAGGED,
      slots: 5,
      onToken: ({ prompt, sample, token }) => tokens[prompt]![sample]!.push(token),
      onFinished: ({ prompt, sample, completion }) => {
        expect(tokens[prompt]![sample]).toEqual(completion.tokens);
        finished.push(`${prompt} ${sample}`);
      },
    });
    expect(tokens).toEqual(completions.map((rows) => rows.map((row) => row.tokens)));
    expect(new Set(finished).size).toBe(PROMPTS.length * 6);
    expect(finished.length).toBe(PROMPTS.length * 6);
  });

  test('calls at the same time take turns', async () => {
    const [short, long] = [PROMPTS.slice(0, 3), PROMPTS.slice(2)];
    const expected = [await greedy(short), await greedy(long, { maxNewTokens: 21 })];
    const failing = greedy([[]]).catch((error: unknown) => error);
    const found = await Promise.all([greedy(short), greedy(long, { maxNewTokens: 21 })]);
    expect(found).toEqual(expected);
    expect(await failing).toBeInstanceOf(InputError);
  });

  test('stops when aborted, and generates again afterwards', async () => {
    const before = await greedy(PROMPTS);
    const controller = new AbortController();
    let drawn = 0;
    const onToken = () => {
      if (++drawn === 20) controller.abort();
    };
    await expect(greedy(PROMPTS, { signal: controller.signal, onToken })).rejects.toThrow(InterruptedError);
    // The step at hand is finished: 7 rows.
    expect(drawn).toBeLessThan(28);
    expect(await greedy(PROMPTS)).toEqual(before);
  });

  test('shorter and longer runs in turn use the same generator', async () => {
    const short = await greedy(PROMPTS.slice(1, 4), { maxNewTokens: 2 });
    const long = await greedy(PROMPTS, { maxNewTokens: 40, samples: 2 });
    expect(await greedy(PROMPTS.slice(1, 4), { maxNewTokens: 2 })).toEqual(short);
    expect(long[1]![0]!.tokens.slice(0, 2)).toEqual(short[0]![0]!.tokens);
    for (const [i, [row]] of long.entries()) {
      expect(Math.max(...judge(without, PROMPTS[i]!, row!).gaps)).toBeLessThan(1e-4);
    }
  });

  test('sees weights that are changed in place', async () => {
    const own = tinyModel(config);
    const training = await Generator.create(own.config, inferenceOf(own));
    const options = { maxNewTokens: 8, temperature: 0, stop: [] };
    const before = await training.generate(PROMPTS, options);
    for (const { data } of own.weights.values()) data.set(data.map((value, i) => value * (1 + (i % 3))));
    const after = await training.generate(PROMPTS, options);
    const fresh = await Generator.create(own.config, inferenceOf(own));
    expect(after).toEqual(await fresh.generate(PROMPTS, options));
    expect(after).not.toEqual(before);
    await training.dispose();
    await fresh.dispose();
  });

  test('no prompts give nothing', async () => {
    expect(await greedy([])).toEqual([]);
  });

  test.each<[string, object, RegExp]>([
    ['a temperature below 0', { temperature: -1 }, /temperature: expected a number from 0, found -1/],
    [
      'a temperature that is no number',
      { temperature: Number.NaN },
      /temperature: expected number, found NaN/,
    ],
    ['a mass that is no number', { topP: Number.NaN }, /topP: expected number, found NaN/],
    ['no mass', { topP: 0 }, /topP: expected a number above 0, found 0/],
    ['a mass above 1', { topP: 1.5 }, /topP: expected a number to 1, found 1.5/],
    ['half a token', { topK: 1.5 }, /topK: expected a whole number, found 1.5/],
    ['no new tokens', { maxNewTokens: 0 }, /maxNewTokens: expected a whole number from 1, found 0/],
    ['no slots', { slots: 0 }, /slots: expected a whole number from 1, found 0/],
    ['no samples', { samples: 0 }, /samples: expected a whole number from 1, found 0/],
    [
      'a stop token outside of the vocabulary',
      { stop: [2, 999] },
      /stop\.1: expected a whole number below \d+, found 999/,
    ],
    [
      'an embed token outside of the vocabulary',
      { embedToken: -1 },
      /embedToken: expected a whole number from 0, found -1/,
    ],
    ['an unknown option', { topk: 3 }, /topk: .*the unknown key "topk"\. Did you mean "topK"\?/],
    [
      'more new tokens than positions',
      { maxNewTokens: 504 },
      /maxNewTokens: expected at most 503, beside the 9 tokens of prompt 2 in the 512 positions of the model, found 504/,
    ],
  ])('%s is refused', async (_, options, message) => {
    const error = await greedy(PROMPTS, options).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
    expect((error as InputError).problem.source).toBe('generate options');
  });

  test.each<[string, number[], RegExp]>([
    ['an empty prompt', [], /^prompt 1: expected tokens, found none\.$/],
    [
      'a token of none',
      [3, config.vocabSize],
      /^prompt 1: token 1: expected a token id from 0 to \d+, found \d+\.$/,
    ],
    ['a negative token', [-1], /^prompt 1: token 0: expected a token id from 0 to \d+, found -1\.$/],
    ['half a token', [1, 2, 0.5], /^prompt 1: token 2: expected a token id from 0 to \d+, found 0\.5\.$/],
    [
      'a prompt as long as the model',
      Array.from({ length: 512 }, () => 1),
      /^prompt 1: expected fewer tokens than the 512 positions of the model, found 512\.$/,
    ],
  ])('%s is refused by the number of the prompt', async (_, prompt, message) => {
    const error = await greedy([[1], prompt]).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
  });

  test('generates up to the last position of the model', async () => {
    const prompt = Array.from({ length: 508 }, (_, i) => i % 22);
    const [[completion]] = (await greedy([prompt], { maxNewTokens: 4 })) as [[Completion]];
    expect(completion.tokens).toHaveLength(4);
  });
});

test('head widths that cached attention can not take are refused by name', async () => {
  const { config, feeds } = tinyModel({ ...MODELS[2]![1], headDim: 6 });
  await expect(Generator.create(config, inferenceOf({ config, feeds }))).rejects.toThrow(
    /head_dim: expected a multiple of 8.*found 6/,
  );
});

test('prompts that are too much for one run are read in several', async () => {
  const [, config] = MODELS[0] as (typeof MODELS)[number];
  const model = tinyModel(config);
  const generator = await Generator.create({ ...model.config, maxPositions: 1024 }, inferenceOf(model));
  // 18 * 620 padded tokens; a run takes 8,192.
  const long = Array.from({ length: 18 }, (_, i) =>
    Array.from({ length: 450 + 10 * i }, () => random.integer(22)),
  );
  const options = { maxNewTokens: 4, stop: [], temperature: 0, samples: 2 };
  const together = await generator.generate(long, options);
  expectSame(together, await generator.generate(long, { ...options, slots: 2 }));
  await generator.dispose();
});
