/** Training queries, and what may be a negative of them. */
import { type Collection, documentText, sameTexts } from 'search-r3/dataset';
import { randomStream } from 'search-r3/run';
import {
  lexicalNegatives,
  mayBeNegative,
  positivesOf,
  queryKey,
  trainingQueries,
  withNoNegatives,
} from 'search-r3/sft';
import { describe, expect, test } from 'vitest';

const TEXTS = {
  d1: 'the tower of bern stands by the river',
  d2: 'a tower in cork, old and grey',
  d3: 'dances of the river people',
  d4: 'how to cook potatoes',
  d5: 'the old river and its tower',
  d6: 'bern has a bridge over the river beside the tower',
};
const corpus = Object.entries(TEXTS).map(([id, text]) => ({ id, title: '', text }));
const collection: Collection = {
  corpus,
  queries: new Map(
    [
      ['q1', 'tower of bern'],
      ['q2', 'potatoes'],
      ['q3', 'unjudged'],
      ['q4', 'nothing relevant'],
    ].map(([id, text]) => [id as string, { id: id as string, text: text as string }]),
  ),
  qrels: new Map([
    [
      'train',
      new Map([
        [
          'q1',
          new Map([
            ['d1', 2],
            ['d2', 0],
            ['d6', 1],
          ]),
        ],
        ['q2', new Map([['d4', 1]])],
        ['q4', new Map([['d3', 0]])],
        ['missing', new Map([['d1', 1]])],
      ]),
    ],
    ['empty', new Map([['q4', new Map([['d3', 0]])]])],
  ]),
};

describe('trainingQueries', () => {
  test('takes what has text and a relevant document, without the judgements that say no', () => {
    const queries = trainingQueries(collection, 'train');
    expect(queries).toEqual([
      {
        id: 'q1',
        text: 'tower of bern',
        relevant: new Map([
          ['d1', 2],
          ['d6', 1],
        ]),
      },
      { id: 'q2', text: 'potatoes', relevant: new Map([['d4', 1]]) },
    ]);
    expect(queries.map(positivesOf)).toEqual([['d1', 'd6'], ['d4']]);
    expect(positivesOf({ ...queries[0]!, positives: ['d6'] })).toEqual(['d6']);
  });

  test('names a split that is not there, and one that teaches nothing', () => {
    expect(() => trainingQueries(collection, 'test')).toThrow(/expected the split test, found train, empty/);
    expect(() => trainingQueries(collection, 'empty')).toThrow(/expected queries with a relevant document/);
  });
});

describe('queries that are documents', () => {
  const own = (id: string, text: string, judged: Record<string, number>): Collection => ({
    corpus,
    queries: new Map([[id, { id, text }]]),
    qrels: new Map([['train', new Map([[id, new Map(Object.entries(judged))]])]]),
  });

  test('have their own document, which does not answer them', () => {
    const [query] = trainingQueries(own('d1', TEXTS.d1!, { d1: 2, d2: 1 }), 'train');
    expect(query).toEqual({ id: 'd1', text: TEXTS.d1, own: 'd1', relevant: new Map([['d2', 1]]) });
    expect(['d1', 'd2', 'd3'].map((id) => mayBeNegative(query!, id))).toEqual([false, false, true]);
    const drawn = Array.from({ length: 60 }, (_, i) =>
      lexicalNegatives(corpus)(query!, 'd2', randomStream(i, 'own')),
    );
    expect(drawn).not.toContain('d1');
    expect(drawn).toContain('d5');
  });

  test('are those of the option', () => {
    const named = own('d1', 'other words', { d2: 1 });
    expect(trainingQueries(named, 'train')[0]?.own).toBe('d1');
    expect(trainingQueries(named, 'train', 'never')[0]).not.toHaveProperty('own');
    const numbered = own('d1', 'other words', { d1: 1 });
    expect(trainingQueries(numbered, 'train')[0]).not.toHaveProperty('own');
    expect(() => trainingQueries(numbered, 'train', 'always')).toThrow(/queries with a relevant document/);
  });
});

describe('documents of equal texts', () => {
  const twins = [
    ...corpus,
    { id: 'e1', title: TEXTS.d1!.split(' ')[0]!, text: `${TEXTS.d1!.split(' ').slice(1).join('  ')}\n` },
    { id: 'e5', text: TEXTS.d5!.toUpperCase() },
  ];
  const same = sameTexts(twins.map((document) => [document.id, documentText(document)]));

  test('are no negatives of what one of them answers', () => {
    const queries = trainingQueries(collection, 'train');
    const [first, second] = withNoNegatives(queries, same);
    expect(first).toEqual({ ...queries[0], noNegatives: new Set(['e1']) });
    expect(second).toBe(queries[1]);
    const source = lexicalNegatives(twins, { candidates: 2 });
    const drawn = Array.from({ length: 80 }, (_, i) => source(first!, 'd1', randomStream(i, 'twins')));
    expect(new Set(drawn)).toEqual(new Set(['d5', 'e5']));
    const unaware = Array.from({ length: 80 }, (_, i) => source(queries[1]!, 'd1', randomStream(i, 'twins')));
    expect(unaware).toContain('e1');
  });

  test('nor are those that answer an equal query, or that are the text of the query', () => {
    const query = (id: string, text: string, answer: string) => ({
      id,
      text,
      relevant: new Map([[answer, 1]]),
    });
    const queries = [
      query('a', 'The same?', 'd1'),
      query('b', 'the  SAME?', 'd2'),
      query('c', TEXTS.d5!, 'd2'),
    ];
    const named = queries.map(({ id, text }) => [queryKey(id), text] as const);
    const all = sameTexts([
      ...twins.map((document) => [document.id, documentText(document)] as const),
      ...named,
    ]);
    const [a, b, c] = withNoNegatives(queries, all);
    expect(a?.noNegatives).toEqual(new Set(['d1', 'e1', 'd2']));
    expect(b?.noNegatives).toBe(a?.noNegatives);
    expect(c?.noNegatives).toEqual(new Set(['d5', 'e5']));
  });

  test('nor of what is a document like them', () => {
    const [query] = withNoNegatives(
      [{ id: 'd5', text: 'x', own: 'd5', relevant: new Map([['d2', 1]]) }],
      same,
    );
    expect(query?.noNegatives).toEqual(new Set(['e5']));
  });
});

describe('lexicalNegatives', () => {
  const [query] = trainingQueries(collection, 'train');
  const draw = (candidates: number, times = 200) => {
    const source = lexicalNegatives(corpus, { candidates });
    const random = randomStream(3, 'negatives');
    const found = Array.from({ length: times }, () => source(query!, 'd1', random));
    return new Map([...new Set(found)].map((id) => [id, found.filter((other) => other === id).length]));
  };

  test('are like the query or its answer, and never relevant', () => {
    const counts = draw(10);
    // q1 shares "tower" with d2 and d5; its answer d1 "tower", "river" or both with d2, d3 and d5; nothing with d4.
    expect([...counts.keys()].sort()).toEqual(['d2', 'd3', 'd5']);
    // Half of the draws from {d2, d5}, half from {d2, d3, d5}: d3 in a sixth. Three standard deviations of 200 draws.
    expect(Math.abs(counts.get('d3')! - 200 / 6)).toBeLessThan(3 * Math.sqrt((200 * 5) / 36));
  });

  test('one candidate from each side is the best of it', () => {
    // d5 has the tower and the river of the answer; for the query alone it ties with d2 up to length.
    const counts = draw(1);
    expect(counts.size).toBeLessThanOrEqual(2);
    expect(counts.has('d3')).toBe(false);
    expect(counts.get('d5')).toBeGreaterThan(60);
  });

  test('where nothing is alike there is none', () => {
    const source = lexicalNegatives(corpus);
    const [, potatoes] = trainingQueries(collection, 'train');
    expect(source(potatoes!, 'd4', randomStream(1, 'none'))).toBeUndefined();
  });
});
