import { resolvePrompts } from 'search-r3/checkpoint';
import type { Document } from 'search-r3/dataset';
import {
  COLLECTION_PROMPTS,
  collectionSequences,
  collectionTokenizer,
  collectionWords,
  conversation,
  keyTerms,
  latentDirections,
  modelShapeSchema,
  scratchConfig,
} from 'search-r3/pretrain';
import {
  InputError,
  InterruptedError,
  type LongWorkOptions,
  type PartProgress,
  randomStream,
} from 'search-r3/run';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

const CORPUS: Document[] = [
  {
    id: 'a',
    title: 'Iron in spinach',
    text: 'Spinach holds iron. Iron feeds the blood. Cooks boil spinach <|im_end|> well.',
  },
  { id: 'b', title: 'Zinc', text: 'Zinc is a metal. Zinc heals the skin.' },
  { id: 'c', text: 'One sentence about the blood of fish.' },
  { id: 'd', title: 'Nothing', text: '' },
  {
    id: 'e',
    title: 'Rivers',
    text: 'The river carries mud and the mud makes land and land makes rivers slow.',
  },
];
const prompts = resolvePrompts(COLLECTION_PROMPTS);
const tokenizer = await collectionTokenizer(CORPUS, prompts, 500);

describe('long work on a collection', () => {
  // Every look at the clock is a turn later.
  beforeEach(() => {
    let now = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => (now += 60));
  });
  afterEach(() => vi.restoreAllMocks());

  const tells = (work: (how: LongWorkOptions) => Promise<unknown>) => async () => {
    const told: PartProgress[] = [];
    await work({ onProgress: (event) => told.push(event) });
    return told;
  };
  const documents = CORPUS.map((_, i) => i + 1);

  test('a vocabulary: texts are read, then tokens learnt, as many as there are', async () => {
    const told = await tells((how) => collectionTokenizer(CORPUS, prompts, 300, {}, how))();
    const of = (name: string) => told.filter(({ part }) => part === name);
    // A document, and six texts of the prompts with each; 300 tokens less 256 bytes and three special ones.
    expect(of('words').map(({ done }) => done)).toEqual([...Array.from({ length: 35 }, (_, i) => i + 1), 35]);
    expect(of('vocabulary').at(-1)).toEqual({ part: 'vocabulary', done: 41, total: 41 });
    expect(told.length).toBe(of('words').length + of('vocabulary').length);
    const most = await tells((how) => collectionTokenizer(CORPUS, prompts, 100_000, {}, how))();
    const [{ done, total } = { done: 0, total: 0 }] = most.slice(-1);
    expect(total).toBe(done);
    expect(done).toBeLessThan(1000);
  });

  test('key terms: documents are counted', async () => {
    const told = await tells((how) => keyTerms(CORPUS, how))();
    expect(told).toEqual([...documents, 5].map((done) => ({ part: 'key terms', done, total: 5 })));
  });

  test('tokens: 512 documents are encoded together, and counted; stopped, it leaves the rest', async () => {
    const many = Array.from({ length: 1100 }, (_, i) => CORPUS[i % CORPUS.length] as Document);
    const told: PartProgress[] = [];
    const controller = new AbortController();
    const onProgress = (event: PartProgress) => told.push(event);
    const { documents: ids } = await collectionWords(many, tokenizer, prompts, { onProgress });
    expect(ids).toHaveLength(1100);
    expect(told).toEqual([512, 1024, 1100].map((done) => ({ part: 'tokens', done, total: 1100 })));
    const work = { signal: controller.signal, onProgress: () => controller.abort() };
    await expect(collectionWords(many, tokenizer, prompts, work)).rejects.toThrow(InterruptedError);
  });

  test('directions: documents are counted over all iterations', async () => {
    const { documents: ids, logIdf } = await collectionWords(CORPUS, tokenizer, prompts);
    const told = await tells((how) => latentDirections(ids, logIdf, 3, 0, how))();
    // Five subspace iterations and the last look.
    expect(new Set(told.map(({ total }) => total))).toEqual(new Set([30]));
    expect([...new Set(told.map(({ done }) => done))]).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
  });

  test.each([
    ['words', (how: LongWorkOptions) => collectionTokenizer(CORPUS, prompts, 300, {}, how)],
    ['vocabulary', (how: LongWorkOptions) => collectionTokenizer(CORPUS, prompts, 300, {}, how)],
    ['key terms', (how: LongWorkOptions) => keyTerms(CORPUS, how)],
  ])('%s: stopped, it leaves the rest', async (name, work) => {
    const controller = new AbortController();
    let last: PartProgress | undefined;
    const onProgress = (event: PartProgress) => {
      last = event;
      if (event.part === name && event.done === 2) controller.abort();
    };
    await expect(work({ signal: controller.signal, onProgress })).rejects.toThrow(InterruptedError);
    expect(last).toMatchObject({ part: name, done: 2 });
  });
});

test('key terms of languages without spaces are words of a dictionary; marks stay in the word', async () => {
  const corpus: Document[] = [
    { id: 'a', text: '今天天气很好，我们去公园散步。' },
    { id: 'b', text: 'วันนี้เราไปเดินเล่นในสวน' },
    { id: 'c', text: 'हिन्दी की किताब' },
    { id: 'd', text: 'iron iPhone手机' },
  ];
  const terms = await keyTerms(corpus);
  expect(corpus.map((document) => terms(document, '').join(' '))).toEqual([
    '今天 天气 很好 我们 公园 散步',
    'วัน นี้ เรา ไป เดิน เล่น ใน สวน',
    'हिन्दी किताब',
    'iron iphone 手机',
  ]);
});

test('texts that are empty are refused', async () => {
  const empty = [1, 2].map((i) => ({ id: `d${i}`, title: ' ', text: '\n' }));
  const message =
    'corpus: expected at least one document with a text, found 2 whose title and text are empty.';
  const options = { batchSize: 1, maxLength: 16, chatShare: 0.5, seed: 0 };
  await expect(collectionSequences(empty, tokenizer, prompts, options)).rejects.toThrow(message);
  await expect(collectionWords(empty, tokenizer, prompts)).rejects.toThrow(message);
});

test('key terms by tf ln(N / df), the words of the question left out', async () => {
  const terms = await keyTerms(CORPUS);
  // Five documents: `the` is in a, b, c, e; `blood` in a, c (ln 5/2 = 0.92); the others of `a` in it alone (ln 5 =
  // 1.61): iron 3 times, spinach 3 times, boil, cooks, feeds, holds, im_end's `end`, well once each.
  const all = terms(CORPUS[0] as Document, '');
  expect(all.slice(0, 2).sort()).toEqual(['iron', 'spinach']);
  expect(all).toHaveLength(8);
  expect(all).not.toContain('the');
  expect(terms(CORPUS[0] as Document, 'IRON, boiled!')).not.toContain('iron');
  // `zinc` three times; `metal`, `heals`, `skin` once; words of two letters are none.
  expect(terms(CORPUS[1] as Document, 'Zinc')).toEqual(['metal', 'heals', 'skin', 'the']);
  const alone = await keyTerms([CORPUS[1] as Document]);
  expect(alone(CORPUS[1] as Document, '')).toEqual([]);
});

test('conversations: from a title or a sentence to key terms or another sentence of the same document', async () => {
  const terms = await keyTerms(CORPUS);
  const document = CORPUS[1] as Document;
  const seen = new Set<string>();
  for (let draw = 0; draw < 200; draw++) {
    const talk = conversation(document, terms, randomStream(draw, 'test'));
    seen.add(`${talk?.user} -> ${talk?.assistant}`);
  }
  const [first, second] = ['Zinc is a metal.', 'Zinc heals the skin.'];
  expect([...seen].sort()).toEqual(
    [
      `${first} -> heals, skin, the`,
      `${first} -> ${second}`,
      `${second} -> metal`,
      `${second} -> ${first}`,
      'Zinc -> metal, heals, skin, the',
      `Zinc -> ${first}`,
      `Zinc -> ${second}`,
    ].sort(),
  );
  // A single sentence without a title, whose words all are in the question.
  expect(conversation(CORPUS[2] as Document, terms, randomStream(0, 'test'))).toBeUndefined();
});

describe('sequences', () => {
  const options = { batchSize: 4, maxLength: 12, chatShare: 0.5, seed: 3 };

  test('follow from seed and step alone; an epoch takes every document once', async () => {
    const forwards = await collectionSequences(CORPUS, tokenizer, prompts, options);
    const backwards = await collectionSequences(CORPUS, tokenizer, prompts, options);
    const steps = [0, 1, 2, 3, 4];
    const expected = await Promise.all(steps.map(forwards));
    for (const step of steps.toReversed()) expect(await backwards(step)).toEqual(expected[step]);
    const other = await collectionSequences(CORPUS, tokenizer, prompts, { ...options, seed: 4 });
    expect(await Promise.all(steps.map(other))).not.toEqual(expected);
    for (const sequences of expected) {
      expect(sequences).toHaveLength(4);
      for (const ids of sequences) {
        expect(ids.length).toBeGreaterThanOrEqual(2);
        expect(ids.length).toBeLessThanOrEqual(12);
      }
    }
  });

  test('text alone: every piece of a long document is read, with the boundary around the whole', async () => {
    const source = await collectionSequences([CORPUS[4] as Document], tokenizer, prompts, {
      ...options,
      batchSize: 1,
      chatShare: 0,
    });
    const boundary = tokenizer.padId as number;
    const whole = [boundary, ...(await tokenizer.encode(`Rivers ${CORPUS[4]?.text}`)), boundary];
    const pieces = new Map<string, readonly number[]>();
    for (let step = 0; step < 60; step++) {
      const [ids = []] = await source(step);
      pieces.set(ids.join(), ids);
    }
    const starts = [...pieces.values()].map((ids) => whole.join().indexOf(ids.join()));
    expect(starts.every((start) => start >= 0)).toBe(true);
    const total = [...pieces.values()].reduce((sum, ids) => sum + ids.length, 0);
    expect(pieces.size).toBe(Math.ceil(whole.length / 12));
    expect(total).toBe(whole.length);
  });

  test('conversations have the form of the reasoning prompt; text cannot end a turn', async () => {
    const source = await collectionSequences([CORPUS[0] as Document], tokenizer, prompts, {
      ...options,
      batchSize: 1,
      maxLength: 400,
      chatShare: 1,
    });
    const end = tokenizer.idOf('<|im_end|>');
    for (let step = 0; step < 30; step++) {
      const [ids = []] = await source(step);
      expect(ids.filter((id) => id === end)).toHaveLength(3);
      expect(tokenizer.decode(ids)).toMatch(
        /^<\|im_start\|>system\nExpand the query\.<\|im_end\|>\n<\|im_start\|>user\n.+<\|im_end\|>\n<\|im_start\|>assistant\n.+<\|im_end\|>\n$/,
      );
    }
  });

  test('conversations end with the embed token where the tokenizer has it', async () => {
    const own = tokenizer.copy();
    const embedId = own.addToken(prompts.embedToken);
    const long = { ...options, batchSize: 1, maxLength: 400, chatShare: 1 };
    const [before, after] = await Promise.all(
      [tokenizer, own].map((each) => collectionSequences([CORPUS[0] as Document], each, prompts, long)),
    );
    for (let step = 0; step < 10; step++) {
      const [ids = []] = await before!(step);
      // Instead of the end of the turn and the line.
      expect(await after!(step)).toEqual([
        [...ids.slice(0, ids.lastIndexOf(tokenizer.eosId as number)), embedId],
      ]);
    }
  });

  test('a batch larger than the corpus is refused', async () => {
    await expect(
      collectionSequences(CORPUS, tokenizer, prompts, { ...options, batchSize: 6 }),
    ).rejects.toThrow(
      new InputError({
        source: 'pretrain',
        field: 'batchSize',
        expected: 'at most the 5 training queries',
        found: '6',
      }),
    );
  });
});

test('the words of the prompts become tokens, however rare in the corpus', async () => {
  for (const word of [
    'Represent',
    ' query',
    ' document',
    'Expand',
    'The',
    ' embedding',
    ' is',
    'assistant',
  ]) {
    expect(await tokenizer.encode(word), word).toHaveLength(1);
  }
});

test('a model of a shape: rows for the tokenizer, its end token, as many key heads as heads by default', () => {
  const shape = modelShapeSchema.parse({ hiddenSize: 64, heads: 4, layers: 3 });
  expect(scratchConfig(tokenizer, shape)).toMatchObject({
    architecture: 'qwen2',
    vocabSize: tokenizer.vocabSize,
    hiddenSize: 64,
    headDim: 16,
    kvHeads: 4,
    layers: 3,
    eosIds: [tokenizer.idOf('<|im_end|>')],
    padId: tokenizer.idOf('<|endoftext|>'),
  });
  expect(scratchConfig(tokenizer, modelShapeSchema.parse({ kvHeads: 2 })).kvHeads).toBe(2);
  expect(scratchConfig(tokenizer, modelShapeSchema.parse({})).tieWordEmbeddings).toBe(true);
  expect(scratchConfig(tokenizer, modelShapeSchema.parse({ tied: false })).tieWordEmbeddings).toBe(false);
});
