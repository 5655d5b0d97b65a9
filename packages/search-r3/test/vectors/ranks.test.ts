import fc from 'fast-check';
import { randomStream } from 'search-r3/run';
import { ExactIndex } from 'search-r3/vectors';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { dot, integerMatrix, rankOf, rowOf } from './brute-force.js';

const dimension = 3;
let index: ExactIndex;
beforeAll(async () => {
  index = await ExactIndex.create(dimension);
});
afterAll(() => index.dispose());

describe('ranks by hand', () => {
  // Scores along the first axis: 5, 3, 3, 1, 3.
  const matrix = Float32Array.from([5, 3, 3, 1, 3].flatMap((score) => [score, 0, 0]));
  const query = Float32Array.of(1, 0, 0);

  test.each([
    { name: 'the best', positives: [0], ranks: [1] },
    { name: 'one of three equals: last of them', positives: [1], ranks: [4] },
    { name: 'the same, whichever it is', positives: [4], ranks: [4] },
    { name: 'two of three equals: after the third, in the order given', positives: [4, 1], ranks: [3, 4] },
    { name: 'all three equals', positives: [2, 4, 1], ranks: [2, 3, 4] },
    { name: 'the worst before the best', positives: [3, 0], ranks: [5, 1] },
    { name: 'no positive', positives: [], ranks: [] },
  ])('$name', async ({ positives, ranks }) => {
    index.setAll(matrix, 5);
    expect(await index.ranks(query, [positives])).toEqual([ranks]);
  });

  test('a model that gives all texts the same embedding gets the worst ranks', async () => {
    index.setAll(
      Float32Array.from({ length: 10 * dimension }, () => 0.3),
      10,
    );
    expect(await index.ranks(Float32Array.of(0.1, 0.2, 0.7, 0.5, 0.5, 0.1), [[3], [7, 2]])).toEqual([
      [10],
      [9, 10],
    ]);
  });

  test('no queries', async () => {
    index.setAll(matrix, 5);
    expect(await index.ranks(new Float32Array(0), [])).toEqual([]);
  });
});

test('ranks are those of the sorted list, with ties, gaps and several positives', async () => {
  const input = fc.record({
    seed: fc.integer(),
    rows: fc.integer({ min: 1, max: 70 }),
    queries: fc.integer({ min: 1, max: 5 }),
    limit: fc.constantFrom(0, 1, 5),
    removed: fc.double({ min: 0, max: 0.9, noNaN: true }),
  });
  await fc.assert(
    fc.asyncProperty(input, async ({ seed, rows, queries, limit, removed }) => {
      const random = randomStream(seed);
      const matrix = integerMatrix(random, rows, dimension, limit);
      const asked = integerMatrix(random, queries, dimension, limit);
      index.setAll(matrix, rows);
      const live = Array.from({ length: rows }, (_, row) => row).filter(() => random.uniform() >= removed);
      for (let row = 0; row < rows; row++) if (!live.includes(row)) index.remove(row);
      const positives = Array.from({ length: queries }, () => random.sample(live, random.integer(6)));
      const wanted = positives.map((own, query) => {
        const scores = Array.from({ length: rows }, (_, row) =>
          live.includes(row) ? dot(rowOf(asked, query, dimension), rowOf(matrix, row, dimension)) : undefined,
        );
        return own.map((row) => rankOf(scores, own, row));
      });
      expect(await index.ranks(asked, positives)).toEqual(wanted);
    }),
    { seed: 1, numRuns: scaled(200, 5000) },
  );
});

test('positives in several slices, in one and in none; more queries than are scored at once', async () => {
  const rows = 100_003;
  const queries = 259;
  const random = randomStream(2);
  const matrix = integerMatrix(random, rows, dimension, 60);
  const asked = integerMatrix(random, queries, dimension, 60);
  index.setAll(matrix, rows);
  // Most queries have none; those of the last block only in the middle slice.
  const lists = new Map([
    [0, [100_002, 17, 50_000]],
    [3, [33_400, 99_999, 0, 66_900]],
    [255, [5]],
    [258, [50_001]],
  ]);
  const positives = Array.from({ length: queries }, (_, query) => lists.get(query) ?? []);
  const ranks = await index.ranks(asked, positives);
  for (const [query, own] of positives.entries()) {
    if (own.length === 0) {
      expect(ranks[query]).toEqual([]);
      continue;
    }
    const scores = Array.from({ length: rows }, (_, row) =>
      dot(rowOf(asked, query, dimension), rowOf(matrix, row, dimension)),
    );
    expect(ranks[query]).toEqual(own.map((row) => rankOf(scores, own, row)));
  }
});
