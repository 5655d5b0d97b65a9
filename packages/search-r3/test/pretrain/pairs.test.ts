/** Pairs without judgements: what is drawn, that a query is not left in its document, and that steps can be resumed. */
import { directPrompt, resolvePrompts } from 'search-r3/checkpoint';
import type { Document } from 'search-r3/dataset';
import {
  COLLECTION_PROMPTS,
  collectionPairs,
  collectionTokenizer,
  equalPairs,
  textPair,
} from 'search-r3/pretrain';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';

const [S1, S2, S3] = ['Iron feeds the blood.', 'Spinach holds iron.', 'Cooks boil it well.'] as const;
const FULL: Document = { id: 'full', title: 'Iron', text: `${S1} ${S2} ${S3}` };
const CORPUS: Document[] = [
  FULL,
  { id: 'bare', text: `${S2} ${S3}` },
  { id: 'single', text: 'Zinc heals.' },
  { id: 'titled', title: 'Zinc', text: 'It heals.' },
  { id: 'empty', title: 'Nothing', text: '' },
];

const drawn = (document: Document, characters = 1000) =>
  new Set(
    Array.from({ length: 300 }, (_, draw) => {
      const { query, document: text } = textPair(document, randomStream(draw, 'pair'), characters);
      return `${query} | ${text}`;
    }),
  );

describe('a pair', () => {
  test('is a title and a passage, or a sentence and what else the document says', () => {
    expect(drawn(FULL)).toEqual(
      new Set([
        `Iron | ${S1} ${S2} ${S3}`,
        `Iron | ${S2} ${S3}`,
        `Iron | ${S3}`,
        `${S1} | Iron ${S2} ${S3}`,
        `${S2} | Iron ${S1} ${S3}`,
        `${S2} | Iron ${S3}`,
        `${S3} | Iron ${S1} ${S2}`,
        `${S3} | Iron`,
      ]),
    );
  });

  test('of a document that has little to say', () => {
    expect(drawn(CORPUS[1]!)).toEqual(new Set([`${S2} | ${S3}`, `${S3} | ${S2}`, `${S3} | ${S3}`]));
    expect(drawn(CORPUS[2]!)).toEqual(new Set(['Zinc heals. | Zinc heals.']));
    expect(drawn(CORPUS[3]!)).toEqual(new Set(['Zinc | It heals.']));
    expect(drawn(CORPUS[4]!)).toEqual(new Set(['Nothing | Nothing']));
  });

  test('a passage ends with the sentence that reaches the characters', () => {
    expect(drawn(FULL, 10)).toContain(`Iron | ${S1}`);
    expect(drawn(FULL, 10)).not.toContain(`Iron | ${S1} ${S2} ${S3}`);
    expect(drawn(FULL, S1.length + 2)).toContain(`Iron | ${S1} ${S2}`);
  });
});

const prompts = resolvePrompts(COLLECTION_PROMPTS);
const tokenizer = await collectionTokenizer(CORPUS, prompts, 420);
tokenizer.addToken(prompts.embedToken);

test('pairs with the same document, query text or document text are no negatives of each other', () => {
  const pairs = [
    { id: 'a', query: [1, 2], document: [3] },
    { id: 'b', query: [1, 2], document: [4] },
    { id: 'a', query: [5], document: [6] },
    { id: 'c', query: [1], document: [6] },
    { id: 'd', query: [12], document: [7] },
  ];
  expect(equalPairs(pairs)).toEqual([[1, 2], [0], [0, 3], [2], []]);
});

describe('the pairs of a collection', () => {
  const options = { batchSize: 5, maxLength: 24, seed: 3 };
  const source = (changes: Partial<typeof options> = {}) =>
    collectionPairs(CORPUS, tokenizer, prompts, { ...options, ...changes });

  test('documents of equal texts are one: their pairs are no negatives of each other', async () => {
    const twins = [...CORPUS, { id: 'twin', title: 'iron', text: `${S1}  ${S2}\n${S3}` }];
    const pairs = await collectionPairs(twins, tokenizer, prompts, { ...options, batchSize: 6 })(0);
    expect(pairs.map(({ id }) => id).sort()).toEqual([...CORPUS.map(({ id }) => id), 'full'].sort());
  });

  test('every document once an epoch, in the prompts of query and document', async () => {
    for (const step of [0, 1, 2]) {
      const pairs = await source()(step);
      expect(pairs.map(({ id }) => id).sort()).toEqual(CORPUS.map(({ id }) => id).sort());
      const titled = pairs.find(({ id }) => id === 'titled')!;
      expect(titled.query).toEqual((await directPrompt(tokenizer, prompts, 'Zinc', 'query')).ids);
      expect(titled.document).toEqual((await directPrompt(tokenizer, prompts, 'It heals.', 'document')).ids);
    }
  });

  test('follow from seed and step alone', async () => {
    const [a, b, other] = [source(), source(), source({ seed: 4 })];
    const forwards = [await a(0), await a(1), await a(2)];
    const backwards = [await b(2), await b(1), await b(0)];
    expect(backwards.toReversed()).toEqual(forwards);
    expect([await other(0), await other(1), await other(2)]).not.toEqual(forwards);
  });

  test('batchSize and maxLength', async () => {
    expect(await source({ batchSize: 2 })(0)).toHaveLength(2);
    const lengths = async (maxLength: number) =>
      (await source({ maxLength })(0)).flatMap(({ query, document }) => [query.length, document.length]);
    expect(Math.max(...(await lengths(100)))).toBeGreaterThan(24);
    expect(Math.max(...(await lengths(24)))).toBe(24);
    expect(() => source({ batchSize: 6 })).toThrow(/batchSize: expected at most the 5/);
  });
});
