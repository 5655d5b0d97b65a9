/** Requests: each equals `embed` or a hand computation, whoever else is being served; and what is refused. */
import { directPrompt, reasoningPrompt } from 'search-r3/checkpoint';
import { memoryWeights, SequenceEncoder } from 'search-r3/decoder';
import { Embedder, type EmbedRequest, type EmbedResult } from 'search-r3/embed';
import { Model, makeEmbeddingModel, makePolicy } from 'search-r3/model';
import { InputError, InterruptedError, randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { tinyBase, WORDS } from '../decoder/tiny-policy.js';

const policy = makePolicy(tinyBase('request'), {
  query: { system: 'represent who', assistant: 'the embedding is' },
  document: { system: 'represent where', assistant: 'the embedding is' },
  reasoning: { system: 'reason' },
});
const { tokenizer, prompts, embedId, config } = policy;
const LONG = Array.from({ length: 100 }, (_, i) => WORDS[i % 7]).join(' ');
const TEXTS = ['who', 'food in bern', 'old tower of the new river', 'trade', 'dance of ada in cork', LONG];
const SAMPLED = { reasoning: 'on', temperature: 1, maxNewTokens: 12 } as const;

let embedder: Embedder;
let encoder: SequenceEncoder;
beforeAll(async () => {
  embedder = new Embedder(Model.of(policy));
  encoder = await SequenceEncoder.create(config, memoryWeights(policy));
});
afterAll(async () => {
  await embedder.model.dispose();
  await encoder.dispose();
});

const encode = (ids: readonly number[]) => encoder.encode([ids]);
const reasoningIds = async (text: string, maxTokens?: number) =>
  (await reasoningPrompt(tokenizer, prompts, text, maxTokens === undefined ? {} : { maxTokens })).ids;

/** Largest difference of two vectors of one length. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Math.max(...Array.from(a, (value, i) => Math.abs(value - (b[i] as number))));
}

function unit(values: readonly number[]): number[] {
  const length = Math.hypot(...values);
  return values.map((value) => value / length);
}

const halfway = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  unit(Array.from(a, (value, i) => (value + (b[i] as number)) / 2));

describe('a request equals embed', () => {
  test.each([
    [{}, {}],
    [
      { role: 'document', maxLength: 20 },
      { role: 'document', maxLength: 20 },
    ],
    [
      { reasoning: 'on', maxNewTokens: 9 },
      { reasoning: true, maxNewTokens: 9 },
    ],
    [
      { ...SAMPLED, seed: 7 },
      { ...SAMPLED, reasoning: true, seed: 7 },
    ],
  ] as const)('%j', async (settings, options) => {
    const expected = await embedder.embed(TEXTS, options);
    const found = await Promise.all(TEXTS.map((text) => embedder.submit({ text, ...settings })));
    for (const [i, { vector, usage, truncated, reasoning }] of found.entries()) {
      const one = expected[i]!;
      expect(difference(vector, one.vector)).toBeLessThan(1e-6);
      expect(truncated).toBe(one.truncated);
      expect(usage.promptTokens + usage.reasoningTokens).toBe(one.tokens);
      expect(reasoning?.map(({ text }) => text)).toEqual(
        one.reasoning === undefined ? undefined : [one.reasoning],
      );
      expect(reasoning?.[0]?.completed).toBe(one.completed);
    }
    expect(found.map(({ truncated }) => truncated)).toEqual([...Array(5).fill(false), true]);
  });

  test('the ids of a prompt, of which only the embed token is missing', async () => {
    const [direct, reasoned] = await embedder.embed(['food in bern'], {});
    expect(reasoned).toBeUndefined();
    const { ids } = await directPrompt(tokenizer, prompts, 'food in bern', 'query');
    const byIds = await embedder.submit({ tokens: ids.slice(0, -1) });
    expect(difference(byIds.vector, direct!.vector)).toBeLessThan(1e-6);
    expect(byIds.usage).toEqual({ promptTokens: ids.length, reasoningTokens: 0 });
    const byText = await embedder.submit({ text: 'food in bern', ...SAMPLED });
    const same = await embedder.submit({ tokens: await reasoningIds('food in bern'), ...SAMPLED });
    expect(same.reasoning).toEqual(byText.reasoning);
    expect(difference(same.vector, byText.vector)).toBeLessThan(1e-6);
  });

  test('a model that embeds at the last token adds none to ids', async () => {
    const plain = { query: { text: 'who {text} in' }, document: { text: '{text}' } };
    const own = new Embedder(Model.of(makeEmbeddingModel({ ...tinyBase('request'), prompts: plain })));
    const tokens = await tokenizer.encode('who bern in');
    const [byText, byIds] = await Promise.all([own.submit({ text: 'bern' }), own.submit({ tokens })]);
    expect(difference(byIds.vector, byText.vector)).toBeLessThan(1e-6);
    expect(byIds.usage.promptTokens).toBe(3);
    await expect(own.submit({ text: 'bern', reasoning: 'on' })).rejects.toThrow(/expected a prompt for reas/);
    await expect(own.submit({ text: 'bern', reasoning: 'ada' })).rejects.toThrow(
      /expected a prompt for reas/,
    );
    await expect(own.probe({ text: 'bern', written: '' })).rejects.toThrow(/expected a prompt for reasoning/);
    await own.model.dispose();
  });

  test('fewer dimensions: the first numbers, scaled to length 1', async () => {
    const { vector } = await embedder.submit({ text: 'bern' });
    const cut = await embedder.submit({ text: 'bern', dimensions: 5 });
    expect(difference(cut.vector, unit([...vector.slice(0, 5)]))).toBeLessThan(1e-6);
  });
});

describe('reasoning of your own', () => {
  const reasoning = 'tower of cork <|embed_token|> ada';

  test('stands where that of the model would, and holds no special tokens', async () => {
    const written = await tokenizer.encode(tokenizer.escapeSpecialTokens(reasoning));
    expect(written).not.toContain(embedId);
    expect(written.length).toBeGreaterThan(4);
    const prompt = await reasoningIds('trade');
    const { vector, ...rest } = await embedder.submit({ text: 'trade', reasoning });
    expect(difference(vector, await encode([...prompt, ...written, embedId]))).toBeLessThan(1e-6);
    const usage = { promptTokens: prompt.length, reasoningTokens: written.length };
    expect(rest).toEqual({ truncated: false, usage });
  });

  test('cuts the text to what it leaves, or is refused', async () => {
    const written = await tokenizer.encode('ada bern cork');
    const prompt = await reasoningIds(LONG, config.maxPositions - written.length - 1);
    expect(prompt.length).toBe(config.maxPositions - 4);
    const { vector, truncated } = await embedder.submit({ text: LONG, reasoning: 'ada bern cork' });
    expect(truncated).toBe(true);
    expect(difference(vector, await encode([...prompt, ...written, embedId]))).toBeLessThan(1e-6);
    await expect(embedder.submit({ text: 'who', reasoning: LONG })).rejects.toThrow(
      /^embed request: reasoning: expected at most \d+, beside the \d+ tokens of the prompt.* found 100/,
    );
  });
});

describe('several vectors become one', () => {
  test('samples: the mean of the vectors of what was written', async () => {
    const { vector, reasoning, usage } = await embedder.submit({ text: 'trade', ...SAMPLED, samples: 3 });
    expect(reasoning).toHaveLength(3);
    expect(new Set(reasoning!.map(({ text }) => text)).size).toBe(3);
    const prompt = await reasoningIds('trade');
    const vectors = await Promise.all(
      reasoning!.map(({ tokens }) => encode([...prompt, ...tokens, embedId])),
    );
    const mean = unit(Array.from(vectors[0]!, (_, i) => vectors.reduce((sum, one) => sum + one[i]!, 0) / 3));
    expect(difference(vector, mean)).toBeLessThan(1e-6);
    expect(usage.promptTokens).toBe(prompt.length);
    const least = reasoning!.reduce((sum, { tokens }) => sum + tokens.length, 0);
    expect(usage.reasoningTokens).toBeGreaterThanOrEqual(least);
    expect(usage.reasoningTokens).toBeLessThanOrEqual(least + 3);
    for (const { text, tokens } of reasoning!) expect(tokenizer.decode(tokens)).toBe(text);
    const [first] = (await embedder.submit({ text: 'trade', ...SAMPLED })).reasoning!;
    expect(reasoning![0]).toEqual(first);
  });

  test('direct+mean: half of the direct vector, half of the mean of the samples, each cut first', async () => {
    const settings = { text: 'trade', ...SAMPLED, samples: 3, dimensions: 7 };
    const mean = await embedder.submit(settings);
    const direct = await embedder.submit({ text: 'trade', dimensions: 7 });
    const fused = await embedder.submit({ ...settings, fusion: 'direct+mean' });
    expect(difference(fused.vector, halfway(direct.vector, mean.vector))).toBeLessThan(1e-6);
    expect(fused.reasoning).toEqual(mean.reasoning);
    expect(fused.usage).toEqual({
      promptTokens: direct.usage.promptTokens + mean.usage.promptTokens,
      reasoningTokens: mean.usage.reasoningTokens,
    });
    const own = { text: 'trade', reasoning: 'ada in cork' };
    const [alone, beside] = [
      await embedder.submit(own),
      await embedder.submit({ ...own, fusion: 'direct+mean' }),
    ];
    const whole = await embedder.submit({ text: 'trade' });
    expect(difference(beside.vector, halfway(whole.vector, alone.vector))).toBeLessThan(1e-6);
  });
});

describe('probe', () => {
  test('the vector after each part of the reasoning, with the prompt cut as it was', async () => {
    const request = { text: LONG, ...SAMPLED, minNewTokens: 6, seed: 2 };
    const { vector, reasoning } = await embedder.submit(request);
    const { tokens } = reasoning![0]!;
    expect(tokens.length).toBeGreaterThanOrEqual(6);
    const lengths = [0, 1, 3, tokens.length];
    const encoded = vi.spyOn(SequenceEncoder.prototype, 'encode');
    const curve = await Promise.all(
      lengths.map((n) => embedder.probe({ text: LONG, maxNewTokens: 12, written: tokens.slice(0, n) })),
    );
    expect(encoded).toHaveBeenCalledTimes(1);
    encoded.mockRestore();
    const prompt = await reasoningIds(LONG, config.maxPositions - 13);
    for (const [i, n] of lengths.entries()) {
      const expected = await encode([...prompt, ...tokens.slice(0, n), embedId]);
      expect(difference(curve[i]!, expected)).toBeLessThan(1e-6);
    }
    expect(difference(curve.at(-1)!, vector)).toBeLessThan(1e-6);
  });

  test('text is tokenized as reasoning of your own', async () => {
    const { vector } = await embedder.submit({ text: 'who', reasoning: 'ada in cork', dimensions: 6 });
    const probed = await embedder.probe({ text: 'who', written: 'ada in cork', dimensions: 6 });
    expect(difference(probed, vector)).toBeLessThan(1e-6);
  });

  test('refuses more than fits', async () => {
    await expect(embedder.probe({ text: 'who', written: [1, 2, 3, 4], maxNewTokens: 3 })).rejects.toThrow(
      'probe request: written: expected at most maxNewTokens, 3 tokens, found 4',
    );
    await expect(embedder.probe({ text: 'who', written: [config.vocabSize] })).rejects.toThrow(
      /^probe request: written/,
    );
    const aborted = embedder.probe({ text: 'who', written: '', signal: AbortSignal.abort() });
    await expect(aborted).rejects.toThrow(InterruptedError);
  });
});

describe('requests at the same time', () => {
  test('direct ones are encoded as one batch', async () => {
    const encoded = vi.spyOn(SequenceEncoder.prototype, 'encode');
    await Promise.all(
      TEXTS.map((text, i) => embedder.submit({ text: `${text} ${i}`, role: i % 2 ? 'query' : 'document' })),
    );
    expect(encoded.mock.calls.map(([sequences]) => sequences.length)).toEqual([6]);
    encoded.mockRestore();
  });

  test('fifty of all kinds: each gets its own', async () => {
    const random = randomStream(5, 'mixed requests');
    const kinds: Omit<EmbedRequest, 'text' | 'tokens'>[] = [
      {},
      { role: 'document' },
      { reasoning: 'on' },
      { reasoning: 'on', temperature: 1, samples: 2 },
      { reasoning: 'on', temperature: 0.7, fusion: 'direct+mean' },
      { reasoning: 'river in bern', fusion: 'direct+mean' },
    ];
    const requests = Array.from({ length: 50 }, (_, i): EmbedRequest => {
      const text = Array.from({ length: 1 + random.integer(8) }, () => WORDS[random.integer(14)]).join(' ');
      const settings = { seed: i, maxNewTokens: 2 + (i % 9), dimensions: 4 + (i % 13) };
      return { text, ...settings, ...kinds[i % kinds.length] };
    });
    const told = requests.map(() => new Map<number, string>());
    const together = await Promise.all(
      requests.map((request, i) => {
        const onToken = ({ sample, piece }: { sample: number; piece: string }) =>
          told[i]!.set(sample, (told[i]!.get(sample) ?? '') + piece);
        return embedder.submit({ ...request, onToken });
      }),
    );
    for (const [i, request] of requests.entries()) {
      const { vector, ...rest } = together[i]!;
      const { vector: alone, ...expected } = await embedder.submit(request);
      expect(difference(vector, alone)).toBeLessThan(1e-6);
      expect(rest).toEqual(expected);
      for (const [sample, { text }] of (rest.reasoning ?? []).entries()) {
        expect(told[i]!.get(sample) ?? '').toBe(text);
      }
    }
    expect(new Set(together.map(({ vector }) => vector.join())).size).toBeGreaterThan(45);
  });

  test('an aborted one ends, the others do not notice', async () => {
    const controllers = TEXTS.map(() => new AbortController());
    const requests = TEXTS.map(
      (text, i): EmbedRequest => ({
        text,
        ...(i < 4 ? { ...SAMPLED, minNewTokens: 12 } : {}),
        signal: controllers[i]!.signal,
      }),
    );
    let tokens = 0;
    const outcomes = await Promise.allSettled(
      requests
        .map((request, i) =>
          embedder.submit(
            i === 1
              ? {
                  ...request,
                  onToken: () => {
                    tokens++;
                    controllers[1]!.abort();
                  },
                }
              : request,
          ),
        )
        .concat(
          (async (): Promise<EmbedResult> => {
            controllers[4]!.abort();
            return embedder.submit({ text: 'who', signal: controllers[4]!.signal });
          })(),
        ),
    );
    expect(outcomes.map(({ status }) => status)).toEqual([
      ...['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
      ...['rejected', 'fulfilled', 'rejected'],
    ]);
    for (const one of outcomes) {
      if (one.status === 'rejected') expect(one.reason).toBeInstanceOf(InterruptedError);
    }
    expect(tokens).toBeLessThan(12);
    const { vector } = await embedder.submit({ ...requests[0]!, signal: new AbortController().signal });
    const first = (outcomes[0] as PromiseFulfilledResult<EmbedResult>).value;
    expect(difference(first.vector, vector)).toBeLessThan(1e-6);
  });

  test('an error of one is that of one', async () => {
    const [refused, thrown, fine] = await Promise.allSettled([
      embedder.submit({ text: LONG, strict: true }),
      embedder.submit({
        text: 'who',
        ...SAMPLED,
        onToken: () => {
          throw new RangeError('enough');
        },
      }),
      embedder.submit({ text: 'who' }),
    ]);
    expect(refused).toMatchObject({
      reason: { problem: { source: 'embed request', expected: 'at most 64 tokens' } },
    });
    expect(thrown).toMatchObject({ reason: { message: 'enough' } });
    expect(fine?.status).toBe('fulfilled');
  });
});

test.each<[string, object, RegExp]>([
  ['nothing to embed', {}, /: expected text or tokens, one of the two, found {}/],
  ['both', { text: 'who', tokens: [1] }, /: expected text or tokens, one of the two, found {"text":"who",/],
  ['no tokens', { tokens: [] }, /tokens: expected/],
  ['a token of another model', { tokens: [1, config.vocabSize] }, /tokens\.1: expected a.* below/],
  ['an embed token', { tokens: [1, embedId] }, /tokens: expected a prompt without the embed token/],
  ['a role of ids', { tokens: [1], role: 'query' }, /role: expected none for tokens/],
  ['too many ids', { tokens: Array(64).fill(1) }, /tokens: expected at most 63 tokens, found 64/],
  [
    'ids over the limit',
    { tokens: Array(9).fill(1), maxLength: 9 },
    /tokens: expected at most 8 tokens, found 9/,
  ],
  [
    'too many ids for reasoning',
    { tokens: Array(50).fill(1), reasoning: 'on', maxNewTokens: 14 },
    /tokens: expected at most 49 tokens, found 50/,
  ],
  [
    'a choice by the model',
    { reasoning: 'auto' },
    /reasoning: expected "off", "on" or your own .* found "auto"/,
  ],
  [
    'reasoning about documents',
    { role: 'document', reasoning: 'on' },
    /reasoning: expected "off" for documents/,
  ],
  ['own reasoning about documents', { role: 'document', reasoning: 'ada' }, /reasoning: expected "off"/],
  ['samples of nothing', { samples: 2 }, /samples: expected 1 unless reasoning is "on", found 2/],
  [
    'samples of own reasoning',
    { samples: 2, reasoning: 'ada', temperature: 1 },
    /samples: expected 1 unless/,
  ],
  ['equal samples', { samples: 2, reasoning: 'on' }, /temperature: expected more than 0/],
  ['fusion of one', { fusion: 'direct+mean' }, /fusion: expected "mean" unless there is reasoning/],
  [
    'fusion without a text',
    { tokens: [1], reasoning: 'on', fusion: 'direct+mean' },
    /fusion: expected "mean" for tokens/,
  ],
  ['an unknown fusion', { reasoning: 'on', fusion: 'max' }, /fusion: expected/],
  [
    'more dimensions than there are',
    { dimensions: 17 },
    /dimensions: expected a whole number to 16, found 17/,
  ],
  ['no dimensions', { dimensions: 0 }, /dimensions: expected a whole number from 1/],
  ['a negative temperature', { temperature: -1 }, /temperature: /],
  ['a minimum above the maximum', { maxNewTokens: 3, minNewTokens: 4 }, /minNewTokens: expected at most max/],
  ['too much reasoning', { reasoning: 'on', maxNewTokens: 64 }, /maxNewTokens: expected at most \d+, beside/],
  ['a misspelt setting', { sampels: 2 }, /sampels.*Did you mean "samples"/],
])('refuses %s', async (_what, settings, message) => {
  const input = 'tokens' in settings || Object.keys(settings).length === 0 ? {} : { text: 'who' };
  const refused = await embedder.submit({ ...input, ...settings } as EmbedRequest).catch((error) => error);
  expect(refused).toBeInstanceOf(InputError);
  expect((refused as InputError).problem.source).toBe('embed request');
  expect((refused as InputError).message).toMatch(message);
});

test.each([
  [undefined, 16],
  [9, 9],
])('a model trained for shorter vectors takes their lengths and its own: %j', async (cut, whole) => {
  const trained = { ...policy, matryoshka: [9, 5], ...(cut !== undefined && { dimensions: cut }) };
  await using model = Model.of(trained);
  const own = new Embedder(model);
  for (const dimensions of [whole, 9, 5]) {
    expect((await own.submit({ text: 'who', dimensions })).vector).toHaveLength(dimensions);
  }
  expect((await own.submit({ text: 'who' })).vector).toHaveLength(whole);
  const lengths = [...new Set([whole, 9, 5])].join(', ');
  for (const request of [
    own.submit({ text: 'who', dimensions: 6 }),
    own.probe({ text: 'who', written: '', dimensions: 6 }),
  ]) {
    await expect(request).rejects.toThrow(
      `dimensions: expected a length that the model was trained for: ${lengths}, found 6`,
    );
  }
});
