/** Which queries each stage learns from: worked by hand on five documents. */
import type { Collection } from 'search-r3/dataset';
import { type TrainingDataOptions, trainingData } from 'search-r3/pipeline';
import { InputError, randomStream } from 'search-r3/run';
import { positivesOf } from 'search-r3/sft';
import { describe, expect, test } from 'vitest';

const DOCUMENTS = ['a', 'b', 'c', 'd', 'e'];
const query = (id: string) => ({ id, text: `what is ${id} ?` });

/** Queries q0, q1, ... of splits, each answered by one document. */
function collectionOf(splits: Record<string, readonly number[]>): Collection {
  const numbers = [...new Set(Object.values(splits).flat())];
  return {
    corpus: DOCUMENTS.map((id) => ({ id, title: `title ${id}`, text: `text ${id}` })),
    queries: new Map(numbers.map((i) => [`q${i}`, query(`q${i}`)])),
    qrels: new Map(
      Object.entries(splits).map(([split, own]) => [
        split,
        new Map(own.map((i) => [`q${i}`, new Map([[DOCUMENTS[i % 5]!, 1]])])),
      ]),
    ),
  };
}

const idsOf = (collection: Collection, options: TrainingDataOptions = {}) => {
  const { sft, rl } = trainingData(collection, options);
  return { sft: sft.map(({ id }) => id), rl: rl.map(({ id }) => id) };
};

describe('splits', () => {
  const both = collectionOf({
    train: [0, 1, 2, 3, 4, 5, 6],
    sft: [10, 11],
    rl: [12, 13, 14],
    more: [11, 15],
  });

  test('those named for the stages are theirs', () => {
    expect(idsOf(both)).toEqual({ sft: ['q10', 'q11'], rl: ['q12', 'q13', 'q14'] });
  });

  test('sftSplit and rlSplit: others instead', () => {
    expect(idsOf(both, { sftSplit: 'train' }).sft).toHaveLength(7);
    expect(idsOf(both, { rlSplit: 'train' }).rl).toHaveLength(7);
    expect(idsOf(both, { sftSplit: 'rl', rlSplit: 'sft' })).toEqual({
      sft: ['q12', 'q13', 'q14'],
      rl: ['q10', 'q11'],
    });
  });

  test.each([
    [0.5, 4],
    [0.2, 1],
    [0.9, 6],
  ])('of one split for both, stage 1 has a share of %d and stage 2 the rest', (sftShare, count) => {
    const { sft, rl } = idsOf(both, { sftSplit: 'train', rlSplit: 'train', sftShare, seed: 3 });
    expect(sft).toHaveLength(count);
    expect([...sft, ...rl].sort()).toEqual(['q0', 'q1', 'q2', 'q3', 'q4', 'q5', 'q6']);
    expect(idsOf(both, { sftSplit: 'train', rlSplit: 'train', sftShare, seed: 3 })).toEqual({ sft, rl });
    expect(idsOf(both, { sftSplit: 'train', rlSplit: 'train', sftShare, seed: 4 })).not.toEqual({ sft, rl });
  });

  test('a query of both stages is refused by name', () => {
    const refused = () => idsOf(both, { rlSplit: 'more' });
    expect(refused).toThrow(InputError);
    expect(refused).toThrow(
      'split more: q11: expected queries that are not in the split sft of stage 1, found one that is',
    );
  });
});

describe('titles of the corpus as queries', () => {
  const corpus = [
    { id: 'a', title: 'tower', text: 'river bridge' },
    { id: 'b', title: 'castle', text: 'river stone' },
    { id: 'c', title: 'mill', text: 'wood' },
  ];
  const collection: Collection = {
    corpus,
    queries: new Map([['q', { id: 'q', text: 'what stands at the bridge ?' }]]),
    qrels: new Map([
      ['sft', new Map([['q', new Map([['a', 2]])]])],
      ['rl', new Map([['q1', new Map([['b', 1]])]])],
    ]),
  };
  collection.queries.set('q1', { id: 'q1', text: 'stones' });
  const { sft, document, negatives } = trainingData(collection, { titlePairs: true });
  const [judged, tower] = sft;

  test('their positives are the texts alone, and so are negatives found that are like those', () => {
    const [body] = positivesOf(tower!);
    expect(document(body!)).toBe('river bridge');
    const random = randomStream(2, 'negatives');
    const drawn = Array.from({ length: 200 }, () => negatives(tower!, body!, random));
    // No other document is like the title; b is like the text, which is searched for in half of the draws.
    expect(new Set(drawn)).toEqual(new Set(['b', undefined]));
    const found = drawn.filter((id) => id === 'b').length;
    expect(Math.abs(found - 100)).toBeLessThan(3 * Math.sqrt(50));
  });

  test('a text that answers a judged query is no negative of it, and its positives stay what they were', () => {
    const [body] = positivesOf(tower!);
    expect([...judged!.relevant]).toEqual([
      ['a', 2],
      [body, 2],
    ]);
    expect(positivesOf(judged!)).toEqual(['a']);
  });
});
