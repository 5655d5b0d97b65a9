import { type Collection, ownDocuments, type SelfExclusion } from 'search-r3/dataset';
import { expect, test } from 'vitest';

/** Documents and queries by id; judgements as `query document`. */
function collectionOf(
  documents: Record<string, string>,
  queries: Record<string, string>,
  splits: Record<string, readonly string[]>,
): Collection {
  const judged = (pairs: readonly string[]) => {
    const qrels = new Map<string, Map<string, number>>();
    for (const pair of pairs) {
      const [query, document] = pair.split(' ') as [string, string];
      qrels.set(query, (qrels.get(query) ?? new Map<string, number>()).set(document, 1));
    }
    return qrels;
  };
  return {
    corpus: Object.entries(documents).map(([id, text]) => ({ id, title: id === 'titled' ? 'T' : '', text })),
    queries: new Map(Object.entries(queries).map(([id, text]) => [id, { id, text }])),
    qrels: new Map(Object.entries(splits).map(([split, pairs]) => [split, judged(pairs)])),
  };
}
const own = (collection: Collection, choice?: SelfExclusion) => [...ownDocuments(collection, choice)];

test('the same id and text: the query is the document, whatever is judged', () => {
  const collection = collectionOf(
    { a: 'stew is good', b: 'bread', titled: 'x y', c: 'other' },
    { a: 'Stew  is good', b: 'bread', titled: 't x y', d: 'other' },
    { test: ['a a', 'b c', 'titled c', 'd b'] },
  );
  expect(own(collection)).toEqual(['a', 'b', 'titled']);
  expect(own(collection, 'always')).toEqual(['a', 'b', 'titled']);
  expect(own(collection, 'never')).toEqual([]);
});

test('the same id alone: only where no query of any split is judged with its own id', () => {
  const documents = { 1: 'one', 2: 'two', 3: 'three' };
  const queries = { 1: 'uno', 2: 'due', 9: 'nove' };
  expect(own(collectionOf(documents, queries, { test: ['1 2', '2 1', '9 3'] }))).toEqual(['1', '2']);
  const numbered = collectionOf(documents, queries, { train: ['2 2'], test: ['1 2', '9 3'] });
  expect(own(numbered)).toEqual([]);
  expect(own(numbered, 'always')).toEqual(['1', '2']);
});
