import type { Collection, Qrels } from 'search-r3/dataset';
import { splitFor, withoutMissing, withValidation } from 'search-r3/pipeline';
import { expect, test } from 'vitest';

const qrelsOf = (...rows: [string, string, number][]): Qrels => {
  const qrels: Qrels = new Map();
  for (const [query, document, grade] of rows) {
    qrels.set(query, (qrels.get(query) ?? new Map()).set(document, grade));
  }
  return qrels;
};

function collectionOf(splits: Record<string, Qrels>): Collection {
  const ids = [...new Set(Object.values(splits).flatMap((qrels) => [...qrels.keys()]))];
  return {
    corpus: [
      { id: 'a', text: 'x' },
      { id: 'b', text: 'y' },
    ],
    queries: new Map(ids.filter((id) => id !== 'nobody').map((id) => [id, { id, text: id }])),
    qrels: new Map(Object.entries(splits)),
  };
}

const train = qrelsOf(...Array.from({ length: 11 }, (_, i): [string, string, number] => [`q${i}`, 'a', 1]));

test('a share of train is held out: the same for a seed, another for another', () => {
  const collection = collectionOf({ train, test: qrelsOf(['t', 'a', 1]) });
  const split = (seed: number) => {
    const { qrels } = withValidation(collection, 0.25, seed);
    return [[...(qrels.get('train')?.keys() ?? [])], [...(qrels.get('dev')?.keys() ?? [])]];
  };
  const [rest = [], held = []] = split(1);
  expect([rest.length, held.length]).toEqual([8, 3]);
  expect([...rest, ...held].sort()).toEqual([...train.keys()].sort());
  expect(split(1)).toEqual([rest, held]);
  expect(split(2)).not.toEqual([rest, held]);
  expect(collection.qrels.get('train')?.size).toBe(11);
});

test('a collection with a split dev, without train, or with nothing to hold out stays as it is', () => {
  for (const [splits, share] of [
    [{ train, dev: qrelsOf(['d', 'a', 1]) }, 0.5],
    [{ test: train }, 0.5],
    [{ train }, 0],
    [{ train }, 0.04],
  ] as const) {
    const collection = collectionOf(splits);
    expect(withValidation(collection, share, 0)).toBe(collection);
  }
});

test('judgements of missing documents go, and queries that are missing or left without a judgement', () => {
  const odd = qrelsOf(
    ['q0', 'a', 2],
    ['q0', 'gone', 1],
    ['q1', 'gone', 1],
    ['nobody', 'a', 1],
    ['q2', 'b', 0],
  );
  const { qrels } = withoutMissing(collectionOf({ odd, train }));
  expect(qrels.get('odd')).toEqual(qrelsOf(['q0', 'a', 2], ['q2', 'b', 0]));
  expect(qrels.get('train')).toEqual(train);
});

test('queries are split as the settings say, or as they were for the model', () => {
  const settings = {
    seed: 3,
    validation: { share: 0.1, every: 0, queries: 9 },
    queries: { sftShare: 0.4, titlePairs: false },
  };
  const own = { seed: 3, validation: 0.1, sft: 0.4 };
  const notes: string[] = [];
  const splitOf = (split?: typeof own) => splitFor({ split }, settings, (text) => notes.push(text));
  expect([splitOf(), splitOf({ ...own })]).toEqual([own, own]);
  expect(notes).toEqual([]);
  const other = { seed: 4, validation: 0.1, sft: 0.6 };
  expect(splitOf(other)).toEqual(other);
  expect(notes).toEqual([expect.stringContaining('seed 4, validation.share 0.1, queries.sftShare 0.6')]);
});
