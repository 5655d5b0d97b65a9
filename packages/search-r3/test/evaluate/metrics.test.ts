import fc from 'fast-check';
import {
  compareIds,
  dcg,
  idealDcg,
  type MetricName,
  type MetricOptions,
  parseMetricName,
  rankDocuments,
  scoreQuery,
  scoreRankings,
} from 'search-r3/evaluate';
import { describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';

/** A ranking whose scores fall from left to right. */
const ranked = (...ids: string[]) => new Map(ids.map((id, i) => [id, ids.length - i]));

/** The value of one metric for one query. */
function score(
  metric: MetricName,
  judgements: Record<string, number>,
  ranking: Map<string, number>,
  options: MetricOptions = {},
): number {
  const qrels = new Map([['q', new Map(Object.entries(judgements))]]);
  return (
    Object.values(scoreRankings(qrels, new Map([['q', ranking]]), [metric], options))[0]?.mean ?? Number.NaN
  );
}

describe('published examples', () => {
  // usnistgov/trec_eval, test/results.test, qrels.test and out.test.aq: the first 20 documents of query 301.
  // 474 documents are relevant; of the first 20 those ranked 6, 7, 16, 18 and 20.
  const run: [string, number][] = [
    ['FBIS3-23986', 2.712466],
    ['FBIS3-20551', 3.137958],
    ['FBIS3-20552', 3.133914],
    ['FBIS3-21750', 2.670143],
    ['FBIS3-21938', 3.280215],
    ['FBIS3-22085', 3.228945],
    ['FBIS3-3189', 2.826465],
    ['FBIS3-3586', 2.785274],
    ['FBIS3-3622', 2.785274],
    ['FBIS3-45599', 2.795794],
    ['FBIS3-9399', 3.215889],
    ['FBIS4-21302', 2.632815],
    ['FBIS4-24388', 3.176254],
    ['FBIS4-3044', 2.693945],
    ['FBIS4-50478', 3.340779],
    ['FBIS4-7688', 2.669399],
    ['FR940303-1-00022', 2.918622],
    ['FR940620-1-00007', 2.971818],
    ['FR940620-1-00009', 3.023369],
    ['FR940804-0-00127', 2.92019],
  ];
  const relevant = ['FBIS3-20551', 'FBIS3-20552', 'FBIS3-21750', 'FBIS3-23986', 'FBIS4-21302'];
  const judgements: Record<string, number> = { 'FBIS4-50478': 0, 'FBIS3-21938': 0, 'FR940620-1-00009': 0 };
  for (const id of relevant) judgements[id] = 1;
  for (let i = relevant.length; i < 474; i++) judgements[`not-retrieved-${i}`] = 1;

  test.each<[MetricName, number]>([
    ['mrr', 0.1667],
    ['precision@5', 0],
    ['precision@10', 0.2],
    ['precision@15', 0.1333],
    ['precision@20', 0.25],
    ['recall@5', 0],
    ['recall@10', 0.0042],
    ['recall@15', 0.0042],
    ['recall@20', 0.0105],
  ])('trec_eval, query 301: %s = %d', (metric, expected) => {
    expect(score(metric, judgements, new Map(run))).toBeCloseTo(expected, 4);
  });

  test('trec_eval, query 301: of two equal scores the larger document id comes first', () => {
    const order = rankDocuments(new Map(run)).map(({ id }) => id);
    expect(order.slice(12, 16)).toEqual(['FBIS3-45599', 'FBIS3-3622', 'FBIS3-3586', 'FBIS3-23986']);
  });

  test('trec_eval since usnistgov/trec_eval#38: scores that a float could not tell apart do not tie', () => {
    const [higher, lower] = [0.1 + 0.2, 0.3];
    expect(Math.fround(higher)).toBe(Math.fround(lower));
    const order = rankDocuments(new Map([['b', lower]]).set('a', higher)).map(({ id }) => id);
    expect(order).toEqual(['a', 'b']);
  });

  // "Discounted cumulative gain", Wikipedia: grades 3, 2, 3, 0, 1, 2, not retrieved 3 and 2.
  test('Wikipedia: DCG, ideal DCG and nDCG at 6', () => {
    const grades = [3, 2, 3, 0, 1, 2];
    const judged = [...grades, 3, 2];
    expect(dcg(grades, 6)).toBeCloseTo(6.861, 3);
    expect(idealDcg(judged, 6)).toBeCloseTo(8.74, 3);
    expect(scoreQuery('ndcg@6', grades, judged)).toBeCloseTo(0.785, 3);
  });

  // Järvelin and Kekäläinen 2002, ACM TOIS 20(4), section 2: the gain vector G' and the ideal vector I' of the running
  // example. Their discount, log2(rank) from rank 2, is not trec_eval's, log2(rank + 1), which is worked out here.
  test('the vectors of Järvelin and Kekäläinen with the discount of trec_eval', () => {
    const gains = [3, 2, 3, 0, 0, 1, 2, 2, 3, 0];
    const ideal = [3, 3, 3, 2, 2, 2, 1, 1, 1, 1];
    // log2 of 3, 5, 6, 7, 9, 10 and 11, from a table.
    const [l3, l5, l6, l7, l9, l10, l11] = [
      1.5849625, 2.3219281, 2.5849625, 2.8073549, 3.169925, 3.3219281, 3.4594316,
    ];
    const found = 3 + 2 / l3 + 3 / 2 + 1 / l7 + 2 / 3 + 2 / l9 + 3 / l10;
    const best = 3 + 3 / l3 + 3 / 2 + 2 / l5 + 2 / l6 + 2 / l7 + 1 / 3 + 1 / l9 + 1 / l10 + 1 / l11;
    expect(found / best).toBeCloseTo(0.8336, 4);
    expect(scoreQuery('ndcg@10', gains, ideal)).toBeCloseTo(found / best, 7);
    expect(scoreQuery('ndcg', [...gains, 0, 0], [...ideal, 0])).toBeCloseTo(found / best, 7);
    expect(scoreQuery('ndcg@3', gains, ideal)).toBeCloseTo((4.5 + 2 / l3) / (4.5 + 3 / l3), 7);
  });

  // Manning, Raghavan and Schütze 2008, "Introduction to Information Retrieval", section 8.4: average precision is the
  // mean, over all relevant documents, of the precision where each is found, 0 for one that is not.
  test('average precision: relevant at 1, 3 and 6, a fourth not found', () => {
    const judgements = { a: 1, c: 1, f: 1, z: 1, b: 0 };
    const ranking = ranked('a', 'b', 'c', 'd', 'e', 'f', 'g');
    expect(score('map', judgements, ranking)).toBeCloseTo((1 + 2 / 3 + 3 / 6) / 4, 12);
    expect(score('map@5', judgements, ranking)).toBeCloseTo((1 + 2 / 3) / 4, 12);
  });
});

describe('definitions', () => {
  test('cutoffs look at the first k only; precision divides by k even where fewer were retrieved', () => {
    const judgements = { b: 1, c: 2, z: 1 };
    const ranking = ranked('a', 'b', 'c');
    expect(score('precision@2', judgements, ranking)).toBe(1 / 2);
    expect(score('precision@10', judgements, ranking)).toBe(2 / 10);
    expect(score('recall@2', judgements, ranking)).toBe(1 / 3);
    expect(score('recall@10', judgements, ranking)).toBe(2 / 3);
    expect(score('success@1', judgements, ranking)).toBe(0);
    expect(score('success@2', judgements, ranking)).toBe(1);
    expect(score('mrr', judgements, ranking)).toBe(1 / 2);
    expect(score('mrr@1', judgements, ranking)).toBe(0);
    expect(score('ndcg@1', judgements, ranking)).toBe(0);
  });

  test('the relevance level counts for all but nDCG', () => {
    const judgements = { a: 1, b: 2 };
    const ranking = ranked('a', 'b');
    expect(score('mrr', judgements, ranking, { relevanceLevel: 2 })).toBe(1 / 2);
    expect(score('map', judgements, ranking, { relevanceLevel: 2 })).toBe(1 / 2);
    expect(score('recall@1', judgements, ranking, { relevanceLevel: 2 })).toBe(0);
    expect(score('precision@2', judgements, ranking, { relevanceLevel: 2 })).toBe(1 / 2);
    const unchanged = (1 + 2 / Math.log2(3)) / (2 + 1 / Math.log2(3));
    expect(score('ndcg@10', judgements, ranking, { relevanceLevel: 2 })).toBeCloseTo(unchanged, 12);
  });

  test('a negative grade (in the pool, not judged) is neither gain nor loss', () => {
    expect(score('ndcg@10', { a: -1, b: 1 }, ranked('a', 'b'))).toBeCloseTo(1 / Math.log2(3), 12);
    expect(score('map', { a: -1, b: 1 }, ranked('a', 'b'))).toBe(1 / 2);
  });

  test('scores are compared in the precision they have', () => {
    const close = [0.1, 0.1 + 1e-9] as const;
    // In float64 "a" is ahead; rounded to float32 both are equal, and the larger id is.
    expect(score('mrr', { a: 1 }, new Map([['a', close[1]]]).set('b', close[0]))).toBe(1);
    const scores = Float32Array.from(close);
    expect(score('mrr', { a: 1 }, new Map([['a', scores[1] as number]]).set('b', scores[0] as number))).toBe(
      1 / 2,
    );
  });

  test('a query found as its own document can be left out of the ranking', () => {
    const ranking = ranked('q', 'a', 'b');
    expect(score('mrr', { a: 1 }, ranking)).toBe(1 / 2);
    expect(score('mrr', { a: 1 }, ranking, { excludeSelf: true })).toBe(1);
    // The judgements stay as they are: a query judged relevant to itself can then not be found.
    expect(score('recall@5', { a: 1, q: 1 }, ranking, { excludeSelf: true })).toBe(1 / 2);
  });
});

describe('which queries count', () => {
  const qrels = new Map([
    ['found', new Map([['a', 1]])],
    ['late', new Map([['a', 1]])],
    ['unranked', new Map([['a', 1]])],
    ['empty', new Map([['a', 1]])],
    ['nothing relevant', new Map([['a', 0]])],
    ['not judged', new Map<string, number>()],
  ]);
  const rankings = new Map([
    ['found', ranked('a')],
    ['late', ranked('b', 'c', 'a')],
    ['empty', new Map<string, number>()],
    ['nothing relevant', ranked('a')],
    ['not judged', ranked('a')],
    ['unknown', ranked('a')],
  ]);

  test('by default every judged query, the missing ones with 0 (trec_eval -c)', () => {
    const { mrr, map } = scoreRankings(qrels, rankings, ['mrr', 'map']);
    expect([...mrr.perQuery]).toEqual([
      ['found', 1],
      ['late', 1 / 3],
      ['unranked', 0],
      ['empty', 0],
      ['nothing relevant', 0],
    ]);
    expect(mrr.mean).toBeCloseTo((1 + 1 / 3) / 5, 12);
    expect(map.mean).toBeCloseTo((1 + 1 / 3) / 5, 12);
  });

  test('with skip only those that were ranked (trec_eval without -c)', () => {
    const { mrr } = scoreRankings(qrels, rankings, ['mrr'], { missing: 'skip' });
    expect([...mrr.perQuery.keys()]).toEqual(['found', 'late', 'nothing relevant']);
    expect(mrr.mean).toBeCloseTo((1 + 1 / 3) / 3, 12);
  });

  test('with no query left there is no mean', () => {
    const nothing = () => scoreRankings(qrels, new Map(), ['mrr'], { missing: 'skip' });
    expect(nothing).toThrow('expected a query that is in both, found none (6 judged, 0 ranked)');
  });
});

describe('bad input', () => {
  test.each(['ndcg@0', 'ndcg@', 'recall', 'precision', 'f1@10', 'ndcg@1.5', 'NDCG@10', ''])(
    'metric %j',
    (name) => {
      expect(() => parseMetricName(name)).toThrow(`found "${name}"`);
    },
  );

  test('NaN scores and unknown options', () => {
    const qrels = new Map([['q', new Map([['a', 1]])]]);
    const nan = new Map([['q', new Map([['b', Number.NaN]])]]);
    expect(() => scoreRankings(qrels, nan)).toThrow(
      'query "q", document "b": expected a number as score, found NaN',
    );
    expect(() => scoreRankings(qrels, nan, ['map'], { missing: 'ignore' } as object)).toThrow(
      /missing: expected/,
    );
    expect(() => scoreRankings(qrels, nan, ['map'], { relevanceLevel: 0 })).toThrow(
      /relevanceLevel: expected/,
    );
    expect(() => scoreRankings(qrels, nan, ['map'], { level: 1 } as object)).toThrow(/unknown key "level"/);
  });
});

describe('properties', () => {
  const names: MetricName[] = [
    'ndcg',
    'ndcg@3',
    'map',
    'map@3',
    'mrr',
    'mrr@2',
    'recall@3',
    'precision@3',
    'success@2',
  ];
  const ids = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 3, unit: 'grapheme' }), {
    minLength: 1,
    maxLength: 12,
  });
  // Few different scores, so that ties are common; some documents unjudged, some judged ones not retrieved.
  const cases = ids.chain((pool) =>
    fc.record({
      judgements: fc
        .array(fc.integer({ min: -1, max: 3 }), { minLength: pool.length, maxLength: pool.length })
        .chain((grades) =>
          fc.subarray(
            pool.map((id, i): [string, number] => [id, grades[i] ?? 0]),
            { minLength: 1 },
          ),
        ),
      scores: fc
        .array(fc.integer({ min: 0, max: 4 }), { minLength: pool.length, maxLength: pool.length })
        .chain((scores) => fc.subarray(pool.map((id, i): [string, number] => [id, scores[i] ?? 0]))),
    }),
  );

  const values = (judgements: [string, number][], scores: [string, number][]) => {
    const qrels = new Map([['q', new Map(judgements)]]);
    const result = scoreRankings(qrels, new Map([['q', new Map(scores)]]), names);
    return names.map((name) => result[name]?.mean ?? Number.NaN);
  };

  test('every metric is in [0, 1]', () => {
    fc.assert(
      fc.property(cases, ({ judgements, scores }) => {
        for (const value of values(judgements, scores)) {
          expect(value).toBeGreaterThanOrEqual(0);
          expect(value).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  test('the order in which judgements and scores come does not matter, nor their scale', () => {
    fc.assert(
      fc.property(cases, ({ judgements, scores }) => {
        const stretched = scores.map(([id, value]): [string, number] => [id, 2 * value - 7]).reverse();
        expect(values(judgements.toReversed(), stretched)).toEqual(values(judgements, scores));
      }),
    );
  });

  test('the ideal ranking scores 1, and 0 where nothing is relevant', () => {
    fc.assert(
      fc.property(cases, ({ judgements }) => {
        const relevant = judgements.filter(([, grade]) => grade > 0).length;
        const any = relevant > 0 ? 1 : 0;
        const cut = any && Math.min(1, 3 / relevant);
        const expected = [any, any, any, cut, any, any, cut, Math.min(relevant, 3) / 3, any];
        for (const [i, value] of values(judgements, judgements).entries()) {
          expect(value).toBeCloseTo(expected[i] ?? Number.NaN, 12);
        }
      }),
    );
  });

  test('equal to the definitions, with ranks found by counting the documents ahead', () => {
    fc.assert(
      fc.property(cases, ({ judgements, scores }) => {
        const grade = new Map(judgements);
        const rank = ([id, value]: [string, number]) =>
          1 +
          scores.filter(([other, theirs]) => {
            if (theirs !== value) return theirs > value;
            return Buffer.compare(Buffer.from(other), Buffer.from(id)) > 0;
          }).length;
        const found = scores.map((row) => ({ rank: rank(row), grade: Math.max(0, grade.get(row[0]) ?? 0) }));
        const hits = found.filter((row) => row.grade > 0).map((row) => row.rank);
        const relevant = judgements.filter(([, value]) => value > 0).length;
        const gain = (k: number) =>
          found.reduce((sum, row) => sum + (row.rank <= k ? row.grade / Math.log2(row.rank + 1) : 0), 0);
        const ideal = (k: number) =>
          judgements
            .map(([, value]) => Math.max(0, value))
            .sort((a, b) => b - a)
            .reduce((sum, value, i) => sum + (i < k ? value / Math.log2(i + 2) : 0), 0);
        const average = (k: number) =>
          hits.reduce((sum, r) => sum + (r <= k ? hits.filter((h) => h <= r).length / r : 0), 0) / relevant;
        const first = Math.min(...hits);
        const within = (k: number) => hits.filter((r) => r <= k).length;
        const expected = [
          gain(1000) / ideal(1000),
          gain(3) / ideal(3),
          average(1000),
          average(3),
          1 / first,
          first <= 2 ? 1 / first : 0,
          within(3) / relevant,
          within(3) / 3,
          within(2) > 0 ? 1 : 0,
        ].map((value) => (relevant === 0 ? 0 : value));
        for (const [i, value] of values(judgements, scores).entries()) {
          expect(value).toBeCloseTo(expected[i] ?? Number.NaN, 12);
        }
      }),
      { numRuns: scaled(300, 20_000) },
    );
  });

  test('ids are compared as their UTF-8 bytes, as strcmp does', () => {
    // In UTF-16 the surrogates of U+1F600 come before U+FFFD, in UTF-8 they come after.
    expect(compareIds('\u{1F600}', '\uFFFD')).toBeGreaterThan(0);
    const anyId = fc.string({ unit: 'binary', maxLength: 4 });
    fc.assert(
      fc.property(anyId, anyId, (a, b) => {
        expect(Math.sign(compareIds(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
      { numRuns: scaled(500, 20_000) },
    );
  });
});
