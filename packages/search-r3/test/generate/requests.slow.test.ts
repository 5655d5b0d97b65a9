/** Concurrent requests: what each of them gets, whoever else is being served. */
import { Session } from 'onnx-grad';
import { type Completion, type GenerationRequest, Generator, type TokenEvent } from 'search-r3/generate';
import { InputError, InterruptedError, randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { inferenceOf, tinyModel } from '../decoder/tiny.js';
import { relativeError } from '../reference/finite-differences.js';
import { EMBED_TOKEN } from '../reference/fixtures.js';
import { expectDrawn } from './draws.js';
import { MODELS, reference } from './models.js';

const random = randomStream(4, 'requests');
const prompt = (length: number) => Array.from({ length }, () => random.integer(22));

/** All ways to sample, on prompts of different lengths. */
const REQUESTS: GenerationRequest[] = [
  { temperature: 0 },
  { temperature: 0, repetitionPenalty: 1.7 },
  {},
  { temperature: 0.6, samples: 3 },
  { temperature: 1.4, topK: 4 },
  { topP: 0.7, samples: 2 },
  { minP: 0.3 },
  { temperature: 1.3, topK: 9, topP: 0.8, minP: 0.05, repetitionPenalty: 1.3 },
  { temperature: 0.9, repetitionPenalty: 0.6 },
  { minNewTokens: 6, temperature: 1.2, samples: 2 },
].map((settings, i) => ({
  maxNewTokens: 9 + (i % 4),
  stop: [3, 17],
  embedToken: EMBED_TOKEN,
  seed: 100 + i,
  prompt: prompt([5, 1, 9, 3, 12, 2, 7][i % 7]!),
  ...settings,
}));

const tokensOf = (completions: readonly Completion[]) =>
  completions.map(({ tokens, finish }) => ({ tokens, finish }));

describe.each(MODELS)('%s', (_, config) => {
  const model = tinyModel(config);
  const without = reference(config);
  let generator: Generator;
  beforeAll(async () => {
    generator = await Generator.create(model.config, inferenceOf(model), { slots: 6, stepTokens: 20 });
  });
  afterAll(() => generator.dispose());

  test('requests at the same time draw what their settings say', async () => {
    const all = await Promise.all(REQUESTS.map((request) => generator.submit(request).completions));
    for (const [i, request] of REQUESTS.entries()) {
      expect(all[i]!.length).toBe(request.samples ?? 1);
      for (const [sample, completion] of all[i]!.entries()) {
        expectDrawn(without, request, completion, sample);
        expect(completion.hidden !== undefined).toBe(completion.finish === 'embed');
        expect(completion.tokens.length).toBeLessThanOrEqual(request.maxNewTokens);
        const early = completion.tokens.slice(0, request.minNewTokens ?? 0);
        expect(early.filter((token) => [3, 17, EMBED_TOKEN].includes(token))).toEqual([]);
      }
    }
  });

  test('a long prompt that is read in pieces says what it says whole', async () => {
    const options = { maxNewTokens: 6, temperature: 0, stop: [] };
    const request = { prompt: prompt(73), ...options };
    const [pieces] = await generator.submit(request).completions;
    const [[whole]] = (await generator.generate([request.prompt], options)) as [[Completion]];
    expect(pieces!.tokens).toEqual(whole.tokens);
    expectDrawn(without, request, pieces!);
  });

  test('a probe is the state at an embed token, and changes nothing', async () => {
    const request: GenerationRequest = { ...REQUESTS[3]!, stop: [], maxNewTokens: 12, samples: 3 };
    const alone = await generator.submit(request).completions;
    const probes: Promise<{ hidden: Float32Array; tokens: number }>[] = [];
    const events: TokenEvent[] = [];
    const submission = generator.submit({
      ...request,
      onToken: (event) => {
        if (events.push(event) % 2 === 1) probes.push(submission.probe(event.sample));
      },
    });
    const others = REQUESTS.map((other) => generator.submit(other).completions);
    const completions = await submission.completions;
    await Promise.all(others);
    expect(tokensOf(completions)).toEqual(tokensOf(alone));
    const asked = events.filter((__, i) => i % 2 === 0);
    const found = await Promise.all(probes);
    for (const [i, { sample }] of asked.entries()) {
      const upTo = events.slice(0, 2 * i + 1).filter((event) => event.sample === sample).length;
      const ended = completions[sample]!.tokens[upTo - 1] === EMBED_TOKEN;
      expect(found[i]!.tokens).toBe(ended ? upTo - 1 : upTo);
      const tokens = completions[sample]!.tokens.slice(0, found[i]!.tokens);
      const { hidden } = without.forward([...request.prompt, ...tokens, EMBED_TOKEN]);
      expect(relativeError(found[i]!.hidden, hidden.data.slice(-model.config.hiddenSize))).toBeLessThan(1e-5);
    }
    expect(found.length).toBeGreaterThan(8);
  });
});

describe('one model', () => {
  const config = MODELS[2]![1];
  const model = tinyModel(config);
  const without = reference(config);
  const width = model.config.hiddenSize;
  let generator: Generator;
  beforeAll(async () => {
    generator = await Generator.create(model.config, inferenceOf(model), { slots: 5, stepTokens: 16 });
  });
  afterAll(() => generator.dispose());

  const hiddenAt = (tokens: readonly number[]) => without.forward([...tokens]).hidden.data.slice(-width);

  test('alone, in a crowd, in a batch and streamed, a seed gives the same tokens', async () => {
    const crowd = await Promise.all(REQUESTS.map((request) => generator.submit(request).completions));
    for (const [i, request] of REQUESTS.entries()) {
      const alone = await generator.submit(request).completions;
      expect(tokensOf(alone)).toEqual(tokensOf(crowd[i]!));
      const streamed: number[][] = alone.map(() => []);
      const submission = generator.submit(request);
      const noise = generator.submit(REQUESTS[(i + 3) % REQUESTS.length]!);
      for await (const { sample, token } of submission) streamed[sample]!.push(token);
      expect(streamed).toEqual(alone.map(({ tokens }) => tokens));
      await noise.completions;
      const { prompt: own, seed, index, priority, signal, onToken, ...options } = request;
      const before = REQUESTS[(i + 1) % REQUESTS.length]!.prompt;
      const batch = await generator.generate([before, own], { ...options, seeds: [7, seed!] });
      expect(tokensOf(batch[1]!)).toEqual(tokensOf(alone));
      const numbered = await generator.submit({ ...request, seed: 5, index: 1 }).completions;
      const [, second] = await generator.generate([before, own], { ...options, seed: 5 });
      expect(tokensOf(second!)).toEqual(tokensOf(numbered));
    }
  });

  test('with forceEmbed, every completion has its embedding', async () => {
    const finishes = new Set<string>();
    for (const [i, request] of REQUESTS.entries()) {
      const plain = await generator.submit({ ...request, samples: 4 }).completions;
      const forced = await generator.submit({ ...request, samples: 4, forceEmbed: true }).completions;
      expect(tokensOf(forced), String(i)).toEqual(tokensOf(plain));
      for (const { tokens, finish, hidden } of forced) {
        finishes.add(finish);
        const reasoning = finish === 'length' ? tokens : tokens.slice(0, -1);
        expect(relativeError(hidden!, hiddenAt([...request.prompt, ...reasoning, EMBED_TOKEN]))).toBeLessThan(
          1e-5,
        );
      }
    }
    expect([...finishes].sort()).toEqual(['embed', 'length', 'stop']);
  });

  test('probes before, at and after the end, of any tokens', async () => {
    const request = { ...REQUESTS[0]!, stop: [], maxNewTokens: 4, embedToken: EMBED_TOKEN };
    for (const forceEmbed of [false, true]) {
      const last: Promise<{ hidden: Float32Array; tokens: number }>[] = [];
      const submission = generator.submit({
        ...request,
        forceEmbed,
        onToken: () => last.push(submission.probe()),
      });
      const early = submission.probe();
      const [{ tokens }] = (await submission.completions) as [Completion];
      expect(tokens.length).toBe(4);
      const all = await Promise.all([early, ...last, submission.probe()]);
      expect(all.map((probe) => probe.tokens)).toEqual([0, 1, 2, 3, 4, 4]);
      for (const probe of all) {
        const expected = hiddenAt([...request.prompt, ...tokens.slice(0, probe.tokens), EMBED_TOKEN]);
        expect(relativeError(probe.hidden, expected)).toBeLessThan(1e-5);
      }
    }
    const tokens = prompt(40);
    const hidden = await generator.probe(tokens, { embedToken: EMBED_TOKEN });
    expect(relativeError(hidden, hiddenAt([...tokens, EMBED_TOKEN]))).toBeLessThan(1e-5);
  });

  test('rows go on while a long prompt is read, at every step', async () => {
    const order: string[] = [];
    const running = generator.submit({
      prompt: [1, 2],
      maxNewTokens: 30,
      temperature: 0,
      stop: [],
      onToken: () => order.push('short'),
    });
    const long = generator.submit({
      prompt: prompt(160),
      maxNewTokens: 1,
      stop: [],
      onToken: () => order.push('long'),
    });
    await Promise.all([running.completions, long.completions]);
    // The short one has two tokens before the first of ten runs of 16 tokens, and one after each but the last.
    expect(order.indexOf('long')).toBe(11);
  });

  test('a request of higher priority goes first; others keep their order', async () => {
    const narrow = await Generator.create(model.config, inferenceOf(model), { slots: 1 });
    const ended: string[] = [];
    const submit = (name: string, priority?: number) =>
      narrow
        .submit({ prompt: [4, 5], maxNewTokens: 2, stop: [], ...(priority !== undefined && { priority }) })
        .completions.then(() => ended.push(name));
    await Promise.all([
      submit('a'),
      submit('b'),
      submit('low', -1),
      submit('c'),
      submit('high', 2),
      submit('d'),
    ]);
    expect(ended).toEqual(['high', 'a', 'b', 'c', 'd', 'low']);
    await narrow.dispose();
  });

  test('a cancelled request gives its slots to others, and only it ends', async () => {
    const expected = await generator.submit(REQUESTS[2]!).completions;
    const controller = new AbortController();
    const endless = { prompt: [1, 2, 3], maxNewTokens: 400, stop: [], samples: 5, temperature: 0.8 };
    let steps = 0;
    const aborted = generator.submit({ ...endless, signal: controller.signal, onToken: () => steps++ });
    const waiting = generator.submit(REQUESTS[2]!);
    const never = generator.submit({ ...endless, signal: AbortSignal.abort() });
    const cancelled = generator.submit(endless);
    cancelled.cancel();
    const seen: number[] = [];
    const reader = (async () => {
      for await (const { token } of aborted) {
        seen.push(token);
        if (seen.length === 40) controller.abort();
      }
    })();
    await expect(reader).rejects.toThrow(InterruptedError);
    for (const { completions } of [aborted, never, cancelled]) {
      await expect(completions).rejects.toThrow(InterruptedError);
    }
    expect(tokensOf(await waiting.completions)).toEqual(tokensOf(expected));
    // The step at hand and the one that was under way.
    expect(steps).toBeLessThanOrEqual(50);
  });

  test('a prompt that is half read can be cancelled', async () => {
    const controller = new AbortController();
    const running = generator.submit({
      prompt: [1, 2],
      maxNewTokens: 12,
      temperature: 0,
      stop: [],
      onToken: ({ sample }) => {
        if (++count === 4) controller.abort();
        expect(sample).toBe(0);
      },
    });
    let count = 0;
    const long = generator.submit({
      prompt: prompt(300),
      maxNewTokens: 3,
      stop: [],
      signal: controller.signal,
    });
    await expect(long.completions).rejects.toThrow(InterruptedError);
    const [found] = await running.completions;
    const [alone] = await generator.submit({ prompt: [1, 2], maxNewTokens: 12, temperature: 0, stop: [] })
      .completions;
    expect(found!.tokens).toEqual(alone!.tokens);
  });

  test('batches and requests take turns: a batch gives the same numbers to the last bit', async () => {
    const prompts = REQUESTS.map((request) => request.prompt);
    const options = { maxNewTokens: 8, stop: [3], embedToken: EMBED_TOKEN, samples: 2, seed: 4, slots: 7 };
    const quiet = await generator.generate(prompts, options);
    const crowd = REQUESTS.map((request) => generator.submit(request).completions);
    const busy = generator.generate(prompts, options);
    crowd.push(...REQUESTS.map((request) => generator.submit(request).completions));
    expect(await busy).toEqual(quiet);
    await Promise.all(crowd);
  });

  test('a request that needs more than the cache is served by itself', async () => {
    const bytes = 2 * model.config.layers * model.config.kvHeads * model.config.headDim * 4;
    const tight = await Generator.create(model.config, inferenceOf(model), { cacheBytes: 3 * 32 * bytes });
    const requests = [...REQUESTS, { ...REQUESTS[2]!, prompt: prompt(130) }, ...REQUESTS];
    const found = await Promise.all(requests.map((request) => tight.submit(request).completions));
    for (const [i, request] of requests.entries()) {
      for (const [sample, completion] of found[i]!.entries()) {
        expectDrawn(without, request, completion, sample);
      }
    }
    await tight.dispose();
  });

  test('an error of a callback ends its request alone', async () => {
    const failing = generator.submit({
      ...REQUESTS[0]!,
      onToken: () => {
        throw new Error('of the caller');
      },
    });
    const other = generator.submit(REQUESTS[1]!);
    await expect(failing.completions).rejects.toThrow('of the caller');
    expectDrawn(without, REQUESTS[1]!, (await other.completions)[0]!);
  });

  test('scores that are NaN end the requests that have them, however they are sampled', async () => {
    const own = tinyModel(config);
    own.weights.get('model.embed_tokens.weight')!.data.fill(Number.NaN, 21 * width, 22 * width);
    const broken = await Generator.create(own.config, inferenceOf(own));
    const clean = REQUESTS.slice(0, 3).map((request) => ({ ...request, prompt: [1, 2, 3], stop: [21] }));
    const runs = clean.map((request) => broken.submit({ ...request, minNewTokens: 9 }).completions);
    for (const settings of [{ temperature: 0 }, {}, { topK: 3 }, { topP: 0.5 }, { minP: 0.5 }]) {
      const { completions } = broken.submit({ prompt: [1, 21], maxNewTokens: 4, stop: [], ...settings });
      await expect(completions).rejects.toThrow(/^generate: no token can be drawn.*NaN$/);
    }
    for (const run of runs) expect((await run)[0]!.tokens.length).toBeGreaterThan(8);
    await broken.dispose();
  });

  test('a run that fails ends what is running, and nothing else', async () => {
    const own = await Generator.create(model.config, inferenceOf(model), { slots: 3 });
    const running = REQUESTS.slice(0, 3).map((request) => own.submit(request));
    const waiting = own.submit(REQUESTS[3]!);
    let steps = 0;
    for await (const _ of running[0]!) if (++steps === 3) break;
    const failing = vi.spyOn(Session.prototype, 'runInPlace').mockRejectedValueOnce(new Error('no memory'));
    for (const { completions } of running) await expect(completions).rejects.toThrow('no memory');
    for (const [sample, completion] of (await waiting.completions).entries()) {
      expectDrawn(without, REQUESTS[3]!, completion, sample);
    }
    failing.mockRestore();
    await own.dispose();
  });

  test('dispose ends what is running', async () => {
    const own = await Generator.create(model.config, inferenceOf(model));
    const { completions } = own.submit({ prompt: [1], maxNewTokens: 400, stop: [] });
    await own.dispose();
    await expect(completions).rejects.toThrow(InterruptedError);
  });

  test.each<[string, Partial<GenerationRequest>, RegExp]>([
    ['an empty prompt', { prompt: [] }, /^prompt: expected tokens, found none\.$/],
    ['a prompt as long as the model', { prompt: prompt(512) }, /^prompt: expected fewer tokens than the 512/],
    [
      'no room for a forced embed token',
      { prompt: prompt(508), embedToken: 3, forceEmbed: true },
      /at most 3/,
    ],
    ['a token of none', { prompt: [1, 999] }, /^prompt: token 1: expected a token id/],
    ['min-p above 1', { minP: 1.5 }, /minP: expected a number to 1, found 1.5/],
    ['no penalty', { repetitionPenalty: 0 }, /repetitionPenalty: expected a number above 0, found 0/],
    ['a minimum above the maximum', { minNewTokens: 5 }, /minNewTokens: expected at most maxNewTokens/],
    [
      'forcing no embed token',
      { forceEmbed: true },
      /embedToken: expected the embed token that forceEmbed needs/,
    ],
  ])('%s is refused', (_, settings, message) => {
    const submit = () => generator.submit({ prompt: [1], maxNewTokens: 4, stop: [], ...settings });
    expect(submit).toThrow(InputError);
    expect(submit).toThrow(message);
  });

  test('seeds are one per prompt', async () => {
    const failing = generator.generate([[1], [2]], { maxNewTokens: 1, stop: [], seeds: [1] });
    await expect(failing).rejects.toThrow(/seeds: expected one per prompt, 2, found 1/);
  });

  test('a probe needs an embed token and a sample of the request', async () => {
    const submission = generator.submit({ prompt: [1], maxNewTokens: 1, stop: [] });
    await expect(submission.probe()).rejects.toThrow(/no embed token/);
    const other = generator.submit({ prompt: [1], maxNewTokens: 1, stop: [], embedToken: EMBED_TOKEN });
    await expect(other.probe(1)).rejects.toThrow(/a sample from 0 to 0, found 1/);
    await Promise.all([submission.completions, other.completions]);
  });
});
