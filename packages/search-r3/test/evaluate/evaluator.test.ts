import {
  bootstrapDifference,
  bootstrapInterval,
  evaluateRankings,
  pairedScores,
  randomisationTest,
  renderEvaluation,
  scoreRankings,
} from 'search-r3/evaluate';
import { describe, expect, test } from 'vitest';

/** Query `q<i>` has one relevant document, which a system puts at the rank given; 0: the query was not ranked. */
const qrels = new Map(Array.from({ length: 6 }, (_, i) => [`q${i}`, new Map([[`r${i}`, 1]])]));
function system(...ranks: number[]) {
  return new Map(
    ranks.flatMap((rank, i): [string, Map<string, number>][] => {
      if (rank === 0) return [];
      const ids = Array.from({ length: rank }, (_, j) => (j === rank - 1 ? `r${i}` : `other${j}`));
      return [[`q${i}`, new Map(ids.map((id, j) => [id, -j]))]];
    }),
  );
}
const good = system(1, 1, 2, 1, 0, 1);
const fair = system(2, 1, 3, 4, 1, 2);
const poor = system(5, 0, 7, 4, 0, 0);

describe('evaluateRankings', () => {
  test('puts together metrics, intervals and comparisons', () => {
    const settings = { confidence: 0.9, resamples: 500, seed: 3 };
    const { systems, comparisons, metrics, confidence } = evaluateRankings(
      qrels,
      { poor, good, fair },
      { metrics: ['mrr', 'recall@3'], samples: 40, ...settings },
    );
    expect(metrics).toEqual(['mrr', 'recall@3']);
    expect(confidence).toBe(0.9);
    expect(systems.map(({ system, queries }) => [system, queries])).toEqual([
      ['poor', 6],
      ['good', 6],
      ['fair', 6],
    ]);
    const scores = [poor, good, fair].map((rankings) => scoreRankings(qrels, rankings, ['mrr', 'recall@3']));
    expect(systems.map((row) => row.scores.mrr.mean)).toEqual(scores.map((row) => row.mrr.mean));
    expect(systems[1]?.scores.mrr.mean).toBeCloseTo(4.5 / 6, 12);
    expect(systems[0]?.scores['recall@3'].perQuery).toEqual(scores[0]?.['recall@3'].perQuery);
    for (const [i, row] of systems.entries()) {
      const values = [...(scores[i]?.mrr.perQuery.values() ?? [])];
      expect(row.scores.mrr.interval).toEqual(bootstrapInterval(values, settings));
    }
    expect(comparisons.map(({ metric, baseline, system }) => [metric, baseline, system])).toEqual([
      ['mrr', 'poor', 'good'],
      ['mrr', 'poor', 'fair'],
      ['mrr', 'good', 'fair'],
      ['recall@3', 'poor', 'good'],
      ['recall@3', 'poor', 'fair'],
      ['recall@3', 'good', 'fair'],
    ]);
    const values = scores.map((row) => [...row.mrr.perQuery.values()]);
    const [a = [], b = []] = [values[1], values[2]];
    expect(comparisons[2]).toEqual({
      metric: 'mrr',
      baseline: 'good',
      system: 'fair',
      queries: 6,
      difference: randomisationTest(a, b).difference,
      interval: bootstrapDifference(a, b, settings),
      p: randomisationTest(a, b, { samples: 40, seed: 3 }).p,
    });
    // good - fair by query: 1/2, 0, 1/6, 3/4, -1, 1/2. Five differ, so all 32 assignments fit into 40 samples.
    expect((comparisons[2]?.p ?? 0) * 32).toBeCloseTo(Math.round((comparisons[2]?.p ?? 0) * 32), 12);
    expect(comparisons[2]?.difference).toBeCloseTo(-(1 / 2 + 1 / 6 + 3 / 4 - 1 + 1 / 2) / 6, 12);
  });

  test('queries that were not ranked can be skipped: pairs are then compared on what both have', () => {
    const { systems, comparisons } = evaluateRankings(
      qrels,
      { good, poor },
      { metrics: ['mrr'], missing: 'skip' },
    );
    expect(systems.map(({ queries }) => queries)).toEqual([5, 3]);
    expect(systems[0]?.scores.mrr.mean).toBeCloseTo(4.5 / 5, 12);
    expect(comparisons[0]?.queries).toBe(3);
    expect(comparisons[0]?.difference).toBeCloseTo((1 / 5 + 1 / 7 + 1 / 4 - 2.5) / 3, 12);
  });

  test('the options of the metrics are handed on', () => {
    const graded = new Map([
      [
        'q0',
        new Map([
          ['r0', 1],
          ['other0', 2],
        ]),
      ],
    ]);
    const run = new Map([
      [
        'q0',
        new Map([
          ['q0', 3],
          ['r0', 2],
          ['other0', 1],
        ]),
      ],
    ]);
    const mrr = (options: object) =>
      evaluateRankings(graded, { run }, { metrics: ['mrr'], ...options }).systems[0]?.scores.mrr.mean;
    expect(mrr({})).toBe(1 / 2);
    expect(mrr({ excludeSelf: true })).toBe(1);
    expect(mrr({ relevanceLevel: 2 })).toBe(1 / 3);
  });

  test('default metrics, no system, unknown metrics and options', () => {
    const { metrics, comparisons } = evaluateRankings(qrels, { good });
    expect(metrics).toEqual(['ndcg@10', 'map', 'mrr@10', 'recall@100']);
    expect(comparisons).toEqual([]);
    expect(() => evaluateRankings(qrels, {})).toThrow('systems: expected at least one, found none');
    expect(() => evaluateRankings(qrels, { good }, { metrics: ['dcg@10'] } as object)).toThrow(
      'found "dcg@10"',
    );
    expect(() => evaluateRankings(qrels, { good }, { metrics: [] })).toThrow(/metrics: expected/);
    expect(() => evaluateRankings(qrels, { good }, { bootstrap: 10 } as object)).toThrow(
      /unknown key "bootstrap"/,
    );
  });
});

test('pairedScores keeps the queries both have', () => {
  const a = new Map([
    ['x', 1],
    ['y', 2],
    ['z', 3],
  ]);
  const b = new Map([
    ['z', 30],
    ['w', 40],
    ['x', 10],
  ]);
  expect(pairedScores(a, b)).toEqual([
    [1, 3],
    [10, 30],
  ]);
});

describe('renderEvaluation', () => {
  const evaluation = evaluateRankings(
    qrels,
    { 'a longer name': good, fair },
    { metrics: ['mrr', 'success@1'] },
  );

  test('an aligned table', () => {
    expect(renderEvaluation(evaluation)).toMatchInlineSnapshot(`
      "system         queries                   mrr             success@1
      a longer name        6  0.750 [0.417, 1.000]  0.667 [0.333, 1.000]
      fair                 6  0.597 [0.361, 0.833]  0.333 [0.000, 0.667]

      compared                 metric  queries              difference       p
      fair - a longer name        mrr        6  -0.153 [-0.542, 0.347]  0.6250
      fair - a longer name  success@1        6  -0.333 [-0.833, 0.333]  0.6250

      In brackets: 95 % bootstrap interval. p: two-sided paired randomisation test.
      "
    `);
  });

  test('decimal places, confidence, and one system without comparisons', () => {
    const one = evaluateRankings(qrels, { fair }, { metrics: ['success@1'], confidence: 0.5 });
    expect(renderEvaluation(one, { digits: 1 })).toMatchInlineSnapshot(`
      "system  queries       success@1
      fair          6  0.3 [0.2, 0.5]

      In brackets: 50 % bootstrap interval.
      "
    `);
    expect(() => renderEvaluation(one, { digits: 0 })).toThrow(/digits: expected/);
  });

  test('a p below what can be shown', () => {
    const many = new Map(Array.from({ length: 30 }, (_, i) => [`q${i}`, new Map([[`r${i}`, 1]])]));
    const ranks = Array.from({ length: 30 }, () => 1);
    const better = evaluateRankings(
      many,
      { worse: system(...ranks.map(() => 3)), better: system(...ranks) },
      { metrics: ['mrr'] },
    );
    expect(better.comparisons[0]?.p).toBe(1 / 100_001);
    expect(renderEvaluation(better)).toContain(
      'better - worse     mrr       30  +0.667 [0.667, 0.667]  <0.0001',
    );
  });
});
