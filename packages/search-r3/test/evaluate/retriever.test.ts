/** BM25 without a model, and queries that are documents. */
import type { Collection, SelfExclusion } from 'search-r3/dataset';
import { RetrieverEvaluation, type RetrieverOptions } from 'search-r3/evaluate';
import { describe, expect, test } from 'vitest';

/** As in ArguAna: the queries are documents, each answered by the next one. */
const TEXTS = ['stew number zero', 'stew number one', 'number two of bread', 'stew three', 'salt'];
const corpus = TEXTS.map((text, i) => ({ id: `a${i}`, text }));
const collection: Collection = {
  corpus,
  queries: new Map(corpus.slice(0, 3).map((document) => [document.id, document])),
  qrels: new Map([['test', new Map([0, 1, 2].map((i) => [`a${i}`, new Map([[`a${i + 1}`, 1]])]))]]),
};
const qrels = collection.qrels.get('test')!;

const ranked = async (options: RetrieverOptions = {}, of = collection) => {
  const { rankings } = await new RetrieverEvaluation(undefined, of, { systems: ['bm25'], ...options }).run(
    qrels,
  );
  return [...(rankings.bm25 ?? [])].map(([id, ranking]) => `${id}: ${[...ranking.keys()].join(' ')}`);
};

describe('queries that are documents', () => {
  test('are not in their own ranking, which is as deep as asked for', async () => {
    expect(await ranked()).toEqual(['a0: a1 a3 a2', 'a1: a0 a3 a2', 'a2: a1 a0']);
    expect(await ranked({ depth: 1 })).toEqual(['a0: a1', 'a1: a0', 'a2: a1']);
    expect(await ranked({ excludeSelf: 'always' })).toEqual(await ranked());
  });

  test('are in it where the option says so', async () => {
    expect(await ranked({ excludeSelf: 'never', depth: 2 })).toEqual(['a0: a0 a1', 'a1: a1 a0', 'a2: a2 a1']);
  });

  test.each(['auto', 'always', 'never'] as SelfExclusion[])(
    '%s: of equal ids alone, a judgement of a query with its own id decides',
    async (excludeSelf) => {
      const other: Collection = {
        ...collection,
        queries: new Map([...collection.queries].map(([id]) => [id, { id, text: 'the stew' }])),
        qrels: new Map([...collection.qrels, ['train', new Map([['a0', new Map([['a0', 1]])]])]]),
      };
      const stews = (excluded?: string) => ['a3', 'a1', 'a0'].filter((id) => id !== excluded).join(' ');
      const drops = excludeSelf === 'always';
      expect(await ranked({ excludeSelf }, other)).toEqual(
        ['a0', 'a1', 'a2'].map((id) => `${id}: ${stews(drops ? id : undefined)}`),
      );
    },
  );
});

test('what the terms were is told; other systems need a model', async () => {
  const evaluation = new RetrieverEvaluation(undefined, collection, { analyzer: 'code', systems: ['bm25'] });
  expect((await evaluation.run(qrels)).analysis).toEqual({ kind: 'code', bigrams: false, dictionary: [] });
  expect([...evaluation.ownDocuments]).toEqual(['a0', 'a1', 'a2']);
  await expect(
    new RetrieverEvaluation(undefined, collection, { systems: ['direct'] }).run(qrels),
  ).rejects.toThrow(
    'RetrieverEvaluation: embedder: expected a model, for every system but bm25, found none.',
  );
});
