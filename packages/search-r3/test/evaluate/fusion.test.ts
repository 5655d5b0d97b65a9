import {
  type FusionMethod,
  fusePair,
  rankDocuments,
  reciprocalRankFusion,
  scoreFusion,
  scoreRankings,
  tuneFusionWeight,
} from 'search-r3/evaluate';
import { describe, expect, test } from 'vitest';

const first = new Map([
  [
    'q1',
    new Map([
      ['a', 10],
      ['b', 8],
      ['c', 5],
    ]),
  ],
  [
    'q2',
    new Map([
      ['a', 1],
      ['d', 3],
    ]),
  ],
]);
const second = new Map([
  [
    'q1',
    new Map([
      ['c', 0.9],
      ['d', 0.5],
    ]),
  ],
  ['q3', new Map([['a', 0.2]])],
]);

function expectScores(found: Map<string, number> | undefined, expected: Record<string, number>): void {
  expect([...(found?.keys() ?? [])].sort()).toEqual(Object.keys(expected).sort());
  for (const [id, score] of Object.entries(expected)) expect(found?.get(id)).toBeCloseTo(score, 12);
}

describe('reciprocalRankFusion', () => {
  // Cormack, Clarke and Büttcher 2009: the sum of 1 / (60 + rank).
  test('by hand', () => {
    const fused = reciprocalRankFusion([first, second]);
    expect([...fused.keys()]).toEqual(['q1', 'q2', 'q3']);
    expectScores(fused.get('q1'), { a: 1 / 61, b: 1 / 62, c: 1 / 63 + 1 / 61, d: 1 / 62 });
    expectScores(fused.get('q2'), { d: 1 / 61, a: 1 / 62 });
    expectScores(fused.get('q3'), { a: 1 / 61 });
  });

  test('k and weights', () => {
    const fused = reciprocalRankFusion([first, second], { k: 1, weights: [2, 0.5] });
    expectScores(fused.get('q1'), { a: 2 / 2, b: 2 / 3, c: 2 / 4 + 0.5 / 2, d: 0.5 / 3 });
  });

  test('ranks of equal scores are those of the metrics: the larger id first', () => {
    const tied = new Map([
      [
        'q',
        new Map([
          ['a', 1],
          ['b', 1],
        ]),
      ],
    ]);
    expectScores(reciprocalRankFusion([tied]).get('q'), { b: 1 / 61, a: 1 / 62 });
  });

  test('bad options', () => {
    expect(() => reciprocalRankFusion([first, second], { weights: [1] })).toThrow(
      'fusion: weights: expected one weight for each of the 2 systems (at least one), found 1',
    );
    expect(() => reciprocalRankFusion([])).toThrow('0 systems');
    expect(() => reciprocalRankFusion([first], { weights: [-1] })).toThrow(/weights\.0: expected/);
    expect(() => reciprocalRankFusion([first], { k: -1 })).toThrow(/k: expected/);
  });
});

describe('scoreFusion', () => {
  test('min-max, by hand', () => {
    // q1: 10, 8, 5 -> 1, 0.6, 0.001; 0.9, 0.5 -> 1, 0.001; what is not retrieved gets 0. A single score is 1.
    const fused = scoreFusion([first, second], { weights: [1, 3] });
    expectScores(fused.get('q1'), { a: 1, b: 0.6, c: 3.001, d: 0.003 });
    expectScores(fused.get('q2'), { a: 0.001, d: 1 });
    expectScores(fused.get('q3'), { a: 3 });
  });

  test('min-max: the only document that a system finds is not lost', () => {
    const lexical = new Map([['q1', new Map([['rare', 4.2]])]]);
    const order = rankDocuments(fusePair(lexical, first, 'min-max', 0).get('q1') ?? new Map());
    expect(order[0]).toEqual({ id: 'rare', score: 1 });
    expect(order.slice(1).map(({ score }) => score)).toEqual([0, 0, 0]);
  });

  test('z-score, by hand', () => {
    const fused = scoreFusion([first, second], { normalisation: 'z-score' });
    // q1: mean 23/3, deviations 7/3, 1/3, -8/3, variance 114/27; the second has mean 0.7 and deviation 0.2.
    const deviation = Math.sqrt(114 / 27);
    const lowest = -8 / 3 / deviation;
    expectScores(fused.get('q1'), {
      a: 7 / 3 / deviation - 1,
      b: 1 / 3 / deviation - 1,
      c: lowest + 1,
      d: lowest - 1,
    });
    expectScores(fused.get('q3'), { a: 0 });
  });

  test.each([
    ['min-max', 1],
    ['z-score', 0],
  ] as const)('equal scores change no order: %s', (normalisation, each) => {
    const flat = new Map([
      [
        'q1',
        new Map([
          ['a', 0.1],
          ['b', 0.1],
          ['c', 0.1],
        ]),
      ],
    ]);
    const fused = scoreFusion([first, flat], { normalisation });
    expectScores(
      fused.get('q1'),
      Object.fromEntries(
        [...(scoreFusion([first], { normalisation }).get('q1') ?? [])].map(([id, score]) => [
          id,
          score + each,
        ]),
      ),
    );
  });

  test('scale and shift of a system do not matter', () => {
    const moved = new Map(
      [...second].map(([q, list]) => [q, new Map([...list].map(([id, s]) => [id, 100 * s - 3]))]),
    );
    for (const normalisation of ['min-max', 'z-score'] as const) {
      const expected = scoreFusion([first, second], { normalisation });
      for (const [query, list] of scoreFusion([first, moved], { normalisation })) {
        expectScores(list, Object.fromEntries(expected.get(query) ?? []));
      }
    }
  });
});

describe('tuneFusionWeight', () => {
  const qrels = new Map([
    ['q1', new Map([['r', 1]])],
    ['q2', new Map([['r', 1]])],
    ['q3', new Map([['r', 1]])],
  ]);
  // q1 needs a good share of the second system, q2 must not leave the first behind, q3 is lost either way.
  const lexical = new Map([
    [
      'q1',
      new Map([
        ['x', 10],
        ['r', 6],
        ['y', 0],
      ]),
    ],
    [
      'q2',
      new Map([
        ['r', 10],
        ['x', 5],
        ['y', 0],
      ]),
    ],
    [
      'q3',
      new Map([
        ['x', 10],
        ['y', 0],
      ]),
    ],
  ]);
  const dense = new Map([
    [
      'q1',
      new Map([
        ['r', 1],
        ['x', 0.2],
        ['y', 0],
      ]),
    ],
    [
      'q2',
      new Map([
        ['x', 1],
        ['r', 0.4],
        ['y', 0],
      ]),
    ],
    [
      'q3',
      new Map([
        ['y', 0.3],
        ['x', 0],
      ]),
    ],
  ]);

  test('by hand: the smallest weight at which both win', () => {
    // q1 is won where 0.6 (1 - w) + w > 1 - w + 0.2 w, so w > 1/3; q2 where 1 - w + 0.4 w > 0.5 (1 - w) + w, w < 5/11.
    const tuned = tuneFusionWeight(qrels, lexical, dense, { metric: 'mrr' });
    expect(tuned.method).toBe('min-max');
    expect(tuned.weight).toBe(0.35);
    expect(tuned.score).toBeCloseTo(2 / 3, 12);
    expect(tuned.curve).toHaveLength(21);
    const winning = tuned.curve.filter(({ score }) => score > 0.6).map(({ weight }) => weight);
    expect(winning).toEqual([0.35, 0.4, 0.45]);
  });

  test.each<FusionMethod>(['reciprocal-rank', 'min-max', 'z-score'])(
    'the curve is what fusing gives: %s',
    (method) => {
      const grid = [0.8, 0.1, 0.45];
      const { curve, weight, score } = tuneFusionWeight(qrels, lexical, dense, { method, grid });
      expect(curve.map((point) => point.weight)).toEqual(grid);
      for (const point of curve) {
        const fused = fusePair(lexical, dense, method, point.weight);
        expect(point.score).toBe(scoreRankings(qrels, fused, ['ndcg@10'])['ndcg@10'].mean);
      }
      expect(score).toBe(Math.max(...curve.map((point) => point.score)));
      expect(weight).toBe(
        Math.min(...curve.filter((point) => point.score === score).map((point) => point.weight)),
      );
    },
  );

  test('at the ends one system is left', () => {
    for (const method of ['reciprocal-rank', 'min-max', 'z-score'] as const) {
      const order = (weight: number) =>
        rankDocuments(fusePair(lexical, dense, method, weight).get('q1') ?? new Map()).map(({ id }) => id);
      expect(order(0)).toEqual(['x', 'r', 'y']);
      expect(order(1)).toEqual(['r', 'x', 'y']);
    }
  });

  test('bad options', () => {
    expect(() => tuneFusionWeight(qrels, lexical, dense, { grid: [] })).toThrow(/grid: expected/);
    expect(() => tuneFusionWeight(qrels, lexical, dense, { grid: [1.5] })).toThrow(/grid\.0: expected/);
    expect(() => tuneFusionWeight(qrels, lexical, dense, { metric: 'f1' } as object)).toThrow('found "f1"');
    expect(() => tuneFusionWeight(qrels, lexical, dense, { method: 'max' } as object)).toThrow(
      /method: expected/,
    );
  });
});
