/** Texts to vectors: which tokens are embedded, what the model wrote, and what is told beside the vector. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { directPrompt, reasoningPrompt } from 'search-r3/checkpoint';
import { memoryWeights, SequenceEncoder } from 'search-r3/decoder';
import { Embedder, type Embedding, type EmbedOptions } from 'search-r3/embed';
import { Generator } from 'search-r3/generate';
import { Model, makePolicy } from 'search-r3/model';
import { InputError, InterruptedError } from 'search-r3/run';
import { Tokenizer, trainByteLevelBpe } from 'search-r3/tokenizer';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { tinyBase, tinyPolicy, WORDS } from '../decoder/tiny-policy.js';
import { relativeError } from '../reference/finite-differences.js';

// Roles differ in one word, so that a mistaken one shows.
const policy = makePolicy(tinyBase('embedder'), {
  query: { system: 'represent who', assistant: 'the embedding is' },
  document: { system: 'represent where', assistant: 'the embedding is' },
  reasoning: { system: 'reason' },
});
const { tokenizer, prompts, embedId, stopIds } = policy;
const TEXTS = [
  'who',
  'food in bern',
  'old tower of the new river',
  'trade',
  'dance of ada in cork',
  'bern bern',
];
const LONG = Array.from({ length: 100 }, (_, i) => WORDS[i % 7]).join(' ');

let embedder: Embedder;
let encoder: SequenceEncoder;
let generator: Generator;
beforeAll(async () => {
  embedder = new Embedder(Model.of(policy));
  encoder = await SequenceEncoder.create(policy.config, memoryWeights(policy));
  generator = await Generator.create(policy.config, memoryWeights(policy));
});
afterAll(async () => {
  for (const session of [embedder.model, encoder, generator]) await session.dispose();
});

const encode = (ids: readonly number[]) => encoder.encode([ids]);

test.each(['query', 'document'] as const)('a %s is embedded at the end of its own prompt', async (role) => {
  const found = await embedder.embed(TEXTS, { role });
  expect(found.length).toBe(TEXTS.length);
  for (const [i, text] of TEXTS.entries()) {
    const { ids } = await directPrompt(tokenizer, prompts, text, role);
    const { vector, ...rest } = found[i]!;
    expect(ids.at(-1)).toBe(embedId);
    expect(relativeError(vector, await encode(ids))).toBeLessThan(1e-5);
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    expect(rest).toEqual({ truncated: false, tokens: ids.length });
  }
});

test('the role is query by default, and changes the vector', async () => {
  const [[query], [document], [neither]] = await Promise.all([
    embedder.embed(['bern'], { role: 'query' }),
    embedder.embed(['bern'], { role: 'document' }),
    embedder.embed(['bern']),
  ]);
  expect(neither).toEqual(query);
  expect(relativeError(document!.vector, query!.vector)).toBeGreaterThan(0.01);
});

describe('after reasoning', () => {
  const options: EmbedOptions = { reasoning: true, temperature: 1, seed: 20, maxNewTokens: 12 };

  test('the vector is that of prompt, reasoning and embed token, completed or not', async () => {
    const found = await embedder.embed(TEXTS, options);
    const built = await Promise.all(
      TEXTS.map(async (text) => (await reasoningPrompt(tokenizer, prompts, text)).ids),
    );
    const completions = await generator.generate(built, {
      maxNewTokens: 12,
      temperature: 1,
      seeds: TEXTS.map(() => 20),
      stop: stopIds,
      embedToken: embedId,
    });
    for (const [i, { vector, ...rest }] of found.entries()) {
      const [completion] = completions[i]!;
      const { tokens, finish, hidden } = completion!;
      const written = finish === 'length' ? tokens : tokens.slice(0, -1);
      expect(rest).toEqual({
        truncated: false,
        tokens: built[i]!.length + tokens.length,
        reasoning: tokenizer.decode(written),
        completed: finish === 'embed',
      });
      expect(relativeError(vector, await encode([...built[i]!, ...written, embedId]))).toBeLessThan(1e-5);
      if (hidden === undefined) continue;
      // What the generator saw at the embed token, as the reward does.
      const norm = Math.hypot(...hidden);
      expect(
        relativeError(
          hidden.map((x) => x / norm),
          vector,
        ),
      ).toBeLessThan(1e-5);
    }
    const finishes = completions.flat().map(({ finish }) => finish);
    expect([...new Set(finishes)].sort()).toEqual(['embed', 'length', 'stop']);
  });

  test('greedy by default; a seed reproduces samples', async () => {
    const words = async (more: EmbedOptions) =>
      (await embedder.embed(TEXTS, { reasoning: true, maxNewTokens: 12, ...more })).map(
        ({ reasoning }) => reasoning,
      );
    expect(await words({ seed: 1 })).toEqual(await words({ seed: 2 }));
    const sampled = await words({ temperature: 1, seed: 1 });
    expect(await words({ temperature: 1, seed: 1 })).toEqual(sampled);
    expect(await words({ temperature: 1, seed: 2 })).not.toEqual(sampled);
  });

  test('tells each piece as it is written, and each text as it is done', async () => {
    const pieces = TEXTS.map(() => [] as string[]);
    const done: number[] = [];
    const found = await embedder.embed(TEXTS, {
      ...options,
      onToken: ({ text, piece }) => pieces[text]!.push(piece),
      onProgress: (count, total) => {
        expect(total).toBe(TEXTS.length);
        done.push(count);
      },
    });
    expect(done).toEqual([1, 2, 3, 4, 5, 6]);
    expect(pieces.map((words) => words.join(''))).toEqual(found.map(({ reasoning }) => reasoning));
    // A word at a time, with the space before it.
    expect(Math.max(...pieces.flat().map((piece) => piece.trim().split(' ').length))).toBe(1);
    expect(pieces.flat().filter((piece) => piece.startsWith(' ')).length).toBeGreaterThan(TEXTS.length);
  });

  // A tokenizer that asks for clean-up once lost letters of what was streamed, and gave another text in the end.
  test.each([false, true])(
    'pieces of bytes are whole characters, and all of them: clean-up %s',
    async (cleanUp) => {
      const trained = await trainByteLevelBpe([TEXTS.join(' ')], { vocabSize: 300 });
      const folder = await mkdtemp(join(tmpdir(), 'bytes-'));
      await trained.save(folder);
      const file = join(folder, 'tokenizer_config.json');
      const config = JSON.parse(await readFile(file, 'utf8'));
      await writeFile(file, JSON.stringify({ ...config, clean_up_tokenization_spaces: cleanUp }));
      const bytes = await Tokenizer.load(folder);
      await rm(folder, { recursive: true });
      const said = await bytes.encode("the word 'social' is , well , n't clean .");
      expect(bytes.decode(said)).toBe("the word 'social' is , well , n't clean .");
      const base = tinyBase('bytes', { vocabSize: 301, maxPositions: 256 });
      const speaker = new Embedder(Model.of(makePolicy({ ...base, tokenizer: bytes }, {})));
      const pieces = TEXTS.map(() => [] as string[]);
      const found = await speaker.embed(TEXTS, {
        ...options,
        maxNewTokens: 60,
        maxLength: 190,
        onToken: ({ text, piece }) => pieces[text]!.push(piece),
      });
      await speaker.model.dispose();
      expect(pieces.map((all) => all.join(''))).toEqual(found.map(({ reasoning }) => reasoning));
      // A character of two bytes is written now and then by a model that draws any bytes, and comes in one piece.
      const wide = found.flatMap(({ reasoning }) => reasoning?.match(/[\u0080-\u07ff]/g) ?? []);
      expect(wide.length).toBeGreaterThan(0);
      for (const character of wide) expect(pieces.flat().join('|')).toContain(character);
    },
  );

  test('is for queries alone', async () => {
    await expect(embedder.embed(TEXTS, { role: 'document', reasoning: true })).rejects.toThrow(
      /reasoning.*expected false for documents/,
    );
  });
});

describe('more texts than are read at once', () => {
  const MANY = Array.from({ length: 1030 }, (_, i) => TEXTS[i % TEXTS.length] as string);

  test('are embedded as they are alone, and counted through', async () => {
    const done: number[] = [];
    const found = await embedder.embed(MANY, { onProgress: (count) => done.push(count) });
    const alone = await embedder.embed(TEXTS);
    expect(found).toHaveLength(1030);
    for (const i of [0, 1023, 1024, 1029]) {
      expect(relativeError(found[i]!.vector, alone[i % TEXTS.length]!.vector)).toBeLessThan(1e-5);
    }
    expect(done).toEqual([...done].sort((a, b) => a - b));
    expect(done).toContain(1024);
    expect(done.at(-1)).toBe(1030);
  });

  test.each([false, true])(
    'come as they are finished, to the same bits (reasoning: %j)',
    async (reasoning) => {
      const options = { reasoning, maxNewTokens: 3 };
      const pieces: number[] = [];
      const streamed: Embedding[] = [];
      let done = 0;
      const onProgress = (count: number) => {
        done = count;
      };
      for await (const piece of embedder.stream(MANY, { ...options, onProgress })) {
        pieces.push(piece.length);
        streamed.push(...piece);
        expect(done).toBe(streamed.length); // Nothing is done ahead.
      }
      expect(pieces).toEqual([1024, 6]);
      expect(streamed).toEqual(await embedder.embed(MANY, options));
    },
  );

  test('a text is sampled by its seed, wherever it stands', async () => {
    const options = { reasoning: true, maxNewTokens: 3, temperature: 1, seed: 5 };
    const texts = [...Array<string>(1030).fill(TEXTS[0] as string), TEXTS[2] as string];
    const words = (await embedder.embed(texts, options)).map(({ reasoning }) => reasoning);
    expect(new Set(words.slice(0, 1030)).size).toBe(1);
    const alone = await embedder.embed([TEXTS[2] as string], options);
    expect(words[1030]).toBe(alone[0]?.reasoning);
    expect(words[1030]).not.toBe(words[0]);
  });

  test('leave others their turn, and can be stopped before anything is embedded', async () => {
    const controller = new AbortController();
    setImmediate(() => controller.abort());
    const onProgress = () => expect.unreachable();
    await expect(embedder.embed(MANY, { signal: controller.signal, onProgress })).rejects.toThrow(
      InterruptedError,
    );
  });

  test('in strict mode, none is embedded where one does not fit', async () => {
    const texts = [...MANY.slice(0, 1027), LONG];
    const onProgress = () => expect.unreachable();
    await expect(embedder.embed(texts, { strict: true, maxLength: 30, onProgress })).rejects.toThrow(
      /^text 1027: prompt: expected at most 30 tokens/,
    );
  });
});

describe('samples, fusion and dimensions', () => {
  const options = { temperature: 1, seed: 6, maxNewTokens: 7, samples: 3, dimensions: 5 };

  test.each(['mean', 'direct+mean'] as const)(
    '%s: many texts are embedded as single requests',
    async (fusion) => {
      const how = { ...options, fusion, directWeight: 0.3 };
      const found = await embedder.embed(TEXTS, { ...how, reasoning: true });
      for (const [i, text] of TEXTS.entries()) {
        const { vector, reasoning, usage, truncated } = await embedder.submit({
          ...how,
          text,
          reasoning: 'on',
        });
        expect(found[i]!.vector.length).toBe(5);
        expect(relativeError(found[i]!.vector, vector)).toBeLessThan(1e-5);
        expect(found[i]).toMatchObject({
          truncated,
          tokens: usage.promptTokens + usage.reasoningTokens,
          reasoning: reasoning![0]!.text,
          reasonings: reasoning!.map((sample) => sample.text),
          completed: reasoning!.every(({ completed }) => completed),
        });
      }
    },
  );

  test('the weight is that of the direct vector', async () => {
    const one = async (more: EmbedOptions) => (await embedder.embed(['trade'], more))[0]!.vector;
    const direct = await one({});
    const mean = await one({ ...options, dimensions: 16, reasoning: true });
    const fused = await one({
      ...options,
      ...{ dimensions: 16, reasoning: true, fusion: 'direct+mean', directWeight: 0.3 },
    });
    const sum = Array.from(direct, (value, i) => 0.3 * value + 0.7 * mean[i]!);
    const norm = Math.hypot(...sum);
    expect(
      relativeError(
        fused,
        Float32Array.from(sum, (value) => value / norm),
      ),
    ).toBeLessThan(1e-5);
  });

  test('pieces are those of the first sample', async () => {
    const written: string[] = ['', ''];
    const onToken: EmbedOptions['onToken'] = ({ text, piece }) => {
      written[text] += piece;
    };
    const found = await embedder.embed(TEXTS.slice(0, 2), { ...options, reasoning: true, onToken });
    expect(written).toEqual(found.map(({ reasoning }) => reasoning));
  });

  test.each([
    [{ samples: 2 }, 'samples: expected 1 without reasoning'],
    [{ samples: 2, reasoning: true }, 'temperature: expected more than 0'],
    [{ fusion: 'direct+mean' }, 'fusion: expected "mean" without reasoning'],
    [{ dimensions: 17 }, 'dimensions: '],
    [{ directWeight: 1.5 }, 'directWeight: '],
  ] as [EmbedOptions, string][])('%j is refused', async (bad, message) => {
    await expect(embedder.embed(TEXTS, bad)).rejects.toThrow(message);
  });
});

test('a model that cannot reason is disposed of like any other', async () => {
  const unable = new Embedder(Model.of(tinyPolicy('narrow heads', { headDim: 4 })));
  await expect(unable.embed(['bern'], { reasoning: true })).rejects.toThrow(/head_dim: .*multiple of 8/);
  expect(await unable.embed(['bern'])).toHaveLength(1);
  await unable.model.dispose();
});

describe('text that does not fit', () => {
  test('is cut to the limit and said to be, or refused', async () => {
    const [cut, whole] = await embedder.embed([LONG, 'who'], { maxLength: 20 });
    expect(cut).toMatchObject({ truncated: true, tokens: 20 });
    expect(whole!.truncated).toBe(false);
    const { ids } = await directPrompt(tokenizer, prompts, LONG, 'query', { maxTokens: 20 });
    expect(relativeError(cut!.vector, await encode(ids))).toBeLessThan(1e-5);
    await expect(embedder.embed([LONG], { maxLength: 20, strict: true })).rejects.toThrow(InputError);
  });

  test('is refused with the reasoning too, by its place', async () => {
    const strict = { reasoning: true, maxNewTokens: 10, strict: true };
    const refused = embedder.embed(['who', LONG], strict);
    await expect(refused).rejects.toThrow(/^text 1: prompt: expected at most 53 tokens, found \d+ tokens/);
    const [fits] = await embedder.embed(['who'], strict);
    expect(fits!.truncated).toBe(false);
  });

  test('is cut to what the model can take, the reasoning counted', async () => {
    const positions = policy.config.maxPositions;
    const [direct] = await embedder.embed([LONG]);
    expect(direct).toMatchObject({ truncated: true, tokens: positions });
    const [reasoned] = await embedder.embed([LONG], { reasoning: true, maxNewTokens: 10 });
    expect(reasoned!.truncated).toBe(true);
    const prompt = (await reasoningPrompt(tokenizer, prompts, LONG, { maxTokens: positions - 11 })).ids;
    expect(reasoned!.tokens).toBeGreaterThan(prompt.length);
    expect(reasoned!.tokens).toBeLessThanOrEqual(prompt.length + 10);
    await expect(embedder.embed(['who'], { reasoning: true, maxNewTokens: 64 })).rejects.toThrow(
      /maxNewTokens: expected at most \d+, beside the \d+ tokens of the prompt in the 64 positions of the model, found 64/,
    );
    const most = positions - (await reasoningPrompt(tokenizer, prompts, '')).ids.length - 1;
    await embedder.embed(['who'], { reasoning: true, maxNewTokens: most });
    const more = embedder.embed(['who'], { reasoning: true, maxNewTokens: most + 1 });
    await expect(more).rejects.toThrow(`expected at most ${most},`);
  });

  test('a model with positions for less than its prompt is told of itself, not of options', async () => {
    const small = makePolicy(tinyBase('small', { maxPositions: 4 }), prompts);
    const own = new Embedder(Model.of(small));
    for (const reasoning of [false, true]) {
      const refused = own.embed(['who'], { reasoning });
      await expect(refused).rejects.toThrow(
        /^model: max_position_embeddings: expected room for the \d+ tokens of its prompt.*, found 4\. It takes a model of more/,
      );
    }
    await own.model.dispose();
  });
});

describe('lengths that the model was trained with', () => {
  const limits = { maxLength: 20, maxNewTokens: 3 };
  const kinds = [{ role: 'document' }, { role: 'query' }, { role: 'query', reasoning: true }] as const;

  test.each(kinds)('are the defaults: %j', async (kind) => {
    const own = new Embedder(Model.of({ ...policy, limits }));
    const lengths = 'reasoning' in kind ? limits : { maxLength: limits.maxLength };
    const expected = await embedder.embed([...TEXTS, LONG], { ...kind, ...lengths });
    expect(await own.embed([...TEXTS, LONG], kind)).toEqual(expected);
    expect(await embedder.embed([...TEXTS, LONG], kind)).not.toEqual(expected);
    const asked = { ...kind, maxLength: 30, ...('reasoning' in kind && { maxNewTokens: 9 }) };
    expect(await own.embed([LONG], asked)).toEqual(await embedder.embed([LONG], asked));
    await own.model.dispose();
  });

  test('one of them alone leaves the other as it is', async () => {
    const own = new Embedder(Model.of({ ...policy, limits: { maxLength: 20 } }));
    expect(own.limits).toEqual({ maxLength: 20, maxNewTokens: 44 });
    expect(embedder.limits).toEqual({ maxLength: 512, maxNewTokens: 44 });
    await own.model.dispose();
  });
});

test('a text is tokenized once, whatever is embedded in between', async () => {
  const own = new Embedder(Model.of({ ...policy, tokenizer: tokenizer.copy() }));
  const first = await own.embed([...TEXTS, LONG], { role: 'document', maxLength: 20 });
  const encode = vi.spyOn(own.model.tokenizer, 'encodeBatch');
  expect(await own.embed([...TEXTS, LONG], { role: 'document', maxLength: 20 })).toEqual(first);
  expect(encode).not.toHaveBeenCalled();
  await own.embed([LONG], { role: 'document', maxLength: 21 });
  expect(encode).toHaveBeenCalled();
  await own.model.dispose();
});

test('options are checked: values and names', async () => {
  await expect(embedder.embed(TEXTS, { maxLength: 0 })).rejects.toThrow(InputError);
  const misspelt = { rol: 'document' } as EmbedOptions;
  await expect(embedder.embed(TEXTS, misspelt)).rejects.toThrow(/rol/);
});

test('no texts give nothing', async () => {
  expect(await embedder.embed([])).toEqual([]);
  expect(await embedder.embed([], { reasoning: true })).toEqual([]);
});

test('stops when aborted', async () => {
  const signal = AbortSignal.abort();
  await expect(embedder.embed(TEXTS, { signal })).rejects.toThrow(InterruptedError);
  await expect(embedder.embed(TEXTS, { signal, reasoning: true })).rejects.toThrow(InterruptedError);
});
