import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { InputError, randomStream } from 'search-r3/run';
import { ExactIndex, type ExactIndexOptions } from 'search-r3/vectors';
import { afterEach, describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { dot, integerMatrix, ordered, rowOf, unitMatrix } from './brute-force.js';

const open: ExactIndex[] = [];
afterEach(async () => {
  for (const index of open.splice(0)) await index.dispose();
});

async function indexOf(
  matrix: Float32Array,
  dimension: number,
  options: ExactIndexOptions = {},
): Promise<ExactIndex> {
  const index = await ExactIndex.create(dimension, options);
  open.push(index);
  index.setAll(matrix, matrix.length / dimension);
  return index;
}

/** Rows and scores per query that a search for `k` must return. */
function expected(matrix: Float32Array, queries: Float32Array, dimension: number, k: number) {
  const rows: number[] = [];
  const scores: number[] = [];
  for (let query = 0; query * dimension < queries.length; query++) {
    const all = Array.from({ length: matrix.length / dimension }, (_, row) =>
      dot(rowOf(queries, query, dimension), rowOf(matrix, row, dimension)),
    );
    const best = ordered(all).slice(0, k);
    rows.push(...best);
    scores.push(...best.map((row) => all[row] as number));
  }
  return { rows, scores };
}

describe('search', () => {
  // Sizes around the slices (50,000 rows) and their alignment; integers, so that rows, scores and ties are exact.
  test.each([
    { rows: 0, dimension: 3, queries: 3, k: 5 },
    { rows: 1, dimension: 3, queries: 1, k: 1 },
    { rows: 1, dimension: 5, queries: 17, k: 4 },
    { rows: 16, dimension: 4, queries: 3, k: 16 },
    { rows: 49, dimension: 4, queries: 1, k: 10 },
    { rows: 49, dimension: 4, queries: 17, k: 49 },
    { rows: 49, dimension: 4, queries: 3, k: 1000 },
    { rows: 50_000, dimension: 3, queries: 3, k: 3 },
    { rows: 50_001, dimension: 8, queries: 1, k: 10 },
    { rows: 50_001, dimension: 8, queries: 17, k: 37 },
    { rows: 50_001, dimension: 8, queries: 5, k: 63 },
    { rows: 50_001, dimension: 8, queries: 5, k: 64 },
    { rows: 50_001, dimension: 2, queries: 3, k: 40_000 },
    { rows: 100_003, dimension: 3, queries: 3, k: 100 },
  ])(
    '$queries queries on $rows rows of dimension $dimension, k = $k',
    async ({ rows, dimension, queries, k }) => {
      const random = randomStream(1, 'search', rows, queries, k);
      const matrix = integerMatrix(random, rows, dimension);
      const asked = integerMatrix(random, queries, dimension);
      const index = await indexOf(matrix, dimension);
      const found = await index.search(asked, k);
      const wanted = expected(matrix, asked, dimension, k);
      expect(found.k).toBe(Math.min(k, rows));
      expect([...found.rows]).toEqual(wanted.rows);
      expect([...found.scores]).toEqual(wanted.scores.map((score) => score + 0)); // -0 is 0.
    },
  );

  test('more queries than are scored at once: each gets the same result as alone', async () => {
    const random = randomStream(2);
    const matrix = integerMatrix(random, 50_001, 2, 40);
    const queries = integerMatrix(random, 259, 2, 40);
    const index = await indexOf(matrix, 2);
    const together = await index.search(queries, 3);
    for (const query of [0, 255, 256, 258]) {
      const wanted = expected(matrix, rowOf(queries, query, 2), 2, 3);
      expect([...together.rows.subarray(query * 3, query * 3 + 3)]).toEqual(wanted.rows);
    }
  });

  test('cosines of random directions agree with float64 within rounding', async () => {
    const random = randomStream(3);
    const matrix = unitMatrix(random, 613, 192);
    const queries = unitMatrix(random, 17, 192);
    const index = await indexOf(matrix, 192);
    const found = await index.search(queries, 25);
    const wanted = expected(matrix, queries, 192, 25);
    expect([...found.rows]).toEqual(wanted.rows);
    const errors = wanted.scores.map((score, i) => Math.abs(score - (found.scores[i] as number)));
    expect(Math.max(...errors)).toBeLessThan(3e-7);
  });

  test.each([
    [5, 3, 1],
    [64, 49, 1],
    [256, 49, 1],
    [192, 25_001, 1],
    [896, 5_003, 2],
  ])(
    'equal vectors have equal scores in any position: dimension %i, %i rows, %i queries',
    async (d, rows, n) => {
      const random = randomStream(4, d);
      const one = unitMatrix(random, 1, d);
      const matrix = new Float32Array(rows * d);
      for (let row = 0; row < rows; row++) matrix.set(one, row * d);
      const index = await indexOf(matrix, d, { threads: 2 });
      const queries = unitMatrix(random, n, d);
      const scores = await index.scores(queries);
      for (let query = 0; query < n; query++) {
        expect(new Set(scores.subarray(query * rows, (query + 1) * rows)).size).toBe(1);
      }
      expect([...(await index.search(queries, 3)).rows.subarray(0, 3)]).toEqual([0, 1, 2]);
    },
  );
});

describe('search among some rows', () => {
  // Few rows of a slice are copied out of it, many masked; the last slice of 50,001 rows has one half of them.
  test.each([
    { rows: 49, share: 0.1, k: 3 },
    { rows: 49, share: 0.9, k: 100 },
    { rows: 50_001, share: 0.001, k: 10 },
    { rows: 50_001, share: 0.2, k: 37 },
    { rows: 50_001, share: 0.3, k: 64 },
    { rows: 100_003, share: 0.249, k: 40 },
  ])('$share of $rows rows, k = $k', async ({ rows, share, k }) => {
    const random = randomStream(21, rows, k);
    const matrix = integerMatrix(random, rows, 4);
    const asked = integerMatrix(random, 5, 4);
    const index = await indexOf(matrix, 4);
    // One part densely, the rest sparsely, so that slices differ.
    const picked = Int32Array.from({ length: rows }, (_, row) => row).filter(
      (row) => random.uniform() < (row < rows / 3 ? share * 2 : share / 2),
    );
    const found = await index.search(asked, k, picked);
    const limit = Math.min(k, picked.length);
    expect(found.k).toBe(limit);
    for (let query = 0; query < 5; query++) {
      const scores = new Array<number | undefined>(rows).fill(undefined);
      for (const row of picked) scores[row] = dot(rowOf(asked, query, 4), rowOf(matrix, row, 4));
      const wanted = ordered(scores).slice(0, limit);
      expect([...found.rows.subarray(query * limit, (query + 1) * limit)]).toEqual(wanted);
      expect([...found.scores.subarray(query * limit, (query + 1) * limit)]).toEqual(
        wanted.map((row) => (scores[row] as number) + 0),
      );
    }
  });

  test('none, and rows whose slices hold nothing else', async () => {
    const matrix = integerMatrix(randomStream(22), 100_003, 2);
    const index = await indexOf(matrix, 2);
    expect(await index.search(Float32Array.from([1, 0]), 5, new Int32Array(0))).toMatchObject({ k: 0 });
    const found = await index.search(Float32Array.from([1, 0]), 5, Int32Array.from([100_002]));
    expect([...found.rows]).toEqual([100_002]);
  });
});

describe('scores', () => {
  test.each([
    [0, 3],
    [1, 1],
    [49, 17],
    [50_001, 3],
  ])('of %i rows for %i queries, all of them in order', async (rows, queries) => {
    const random = randomStream(5, rows);
    const matrix = integerMatrix(random, rows, 4);
    const asked = integerMatrix(random, queries, 4);
    const index = await indexOf(matrix, 4);
    const wanted = new Float32Array(queries * rows);
    for (let query = 0; query < queries; query++) {
      for (let row = 0; row < rows; row++) {
        wanted[query * rows + row] = dot(rowOf(asked, query, 4), rowOf(matrix, row, 4)) + 0;
      }
    }
    expect(Buffer.from((await index.scores(asked)).buffer).equals(Buffer.from(wanted.buffer))).toBe(true);
  });
});

describe('changes', () => {
  test('a replaced vector is found at once, and its view shows it', async () => {
    const index = await indexOf(Float32Array.of(1, 0, 0, 1, -1, 0), 2);
    const query = Float32Array.of(0, 1);
    expect([...(await index.search(query, 1)).rows]).toEqual([1]);
    const view = index.vector(2);
    index.set(2, Float32Array.of(0, 2));
    expect([...view]).toEqual([0, 2]);
    expect(await index.search(query, 2)).toEqual({
      k: 2,
      rows: Int32Array.of(2, 1),
      scores: Float32Array.of(2, 1),
    });
    expect([...(await index.ranks(query, [[1]]))]).toEqual([[2]]);
  });

  test('a removed row is never found and can be set again', async () => {
    const index = await indexOf(Float32Array.of(3, 2, 1), 1);
    index.remove(0);
    expect([index.size, index.live]).toEqual([3, 2]);
    const query = Float32Array.of(1, -1);
    expect(await index.search(query, 3)).toEqual({
      k: 2,
      rows: Int32Array.of(1, 2, 2, 1),
      scores: Float32Array.of(2, 1, -1, -2),
    });
    expect([...(await index.scores(query))]).toEqual([-Infinity, 2, 1, -Infinity, -2, -1]);
    expect(await index.ranks(query, [[2], [2]])).toEqual([[2], [1]]);
    expect(() => index.vector(0)).toThrow('vector: the row 0 was removed');
    expect(() => index.remove(0)).toThrow('remove: the row 0 was removed');
    await expect(index.ranks(query, [[0], []])).rejects.toThrow('ranks: the row 0 was removed');
    index.set(0, Float32Array.of(7));
    expect([index.size, index.live, index.append(Float32Array.of(4, 5))]).toEqual([3, 3, 3]);
    expect([...(await index.search(query, 2)).rows]).toEqual([0, 4, 2, 1]);
  });

  test('any sequence of changes gives the contents of a plain list', async () => {
    const dimension = 2;
    const index = await ExactIndex.create(dimension, { capacity: 1 });
    open.push(index);
    const vector = fc.array(fc.integer({ min: -2, max: 2 }), { minLength: dimension, maxLength: dimension });
    const vectors = fc.array(vector, { maxLength: 40 });
    const change = fc.oneof(
      fc.record({ kind: fc.constant('setAll' as const), vectors }),
      fc.record({ kind: fc.constant('append' as const), vectors }),
      fc.record({ kind: fc.constant('set' as const), at: fc.nat(), vector }),
      fc.record({ kind: fc.constant('remove' as const), at: fc.nat() }),
    );
    const input = [fc.array(change, { maxLength: 12 }), vectors, fc.integer({ min: 1, max: 60 })] as const;
    await fc.assert(
      fc.asyncProperty(...input, async (changes, queries, k) => {
        index.setAll(new Float32Array(0), 0);
        let list: (number[] | undefined)[] = [];
        for (const change of changes) {
          switch (change.kind) {
            case 'setAll':
              index.setAll(Float32Array.from(change.vectors.flat()), change.vectors.length);
              list = change.vectors.slice();
              break;
            case 'append':
              expect(index.append(Float32Array.from(change.vectors.flat()))).toBe(list.length);
              list.push(...change.vectors);
              break;
            case 'set':
              if (list.length === 0) break;
              index.set(change.at % list.length, Float32Array.from(change.vector));
              list[change.at % list.length] = change.vector;
              break;
            case 'remove':
              if (list[change.at % list.length] === undefined) break;
              index.remove(change.at % list.length);
              list[change.at % list.length] = undefined;
              break;
            default:
              change satisfies never;
          }
        }
        const live = list.filter((own) => own !== undefined).length;
        expect([index.size, index.live]).toEqual([list.length, live]);
        const found = await index.search(Float32Array.from(queries.flat()), k);
        expect(found.k).toBe(Math.min(k, live));
        const wanted = queries.flatMap((query) =>
          ordered(list.map((own) => own && dot(query, own))).slice(0, k),
        );
        expect([...found.rows]).toEqual(wanted);
      }),
      { seed: 6, numRuns: scaled(150, 3000) },
    );
  });
});

describe('options', () => {
  test('memory moves only when the capacity is exceeded', async () => {
    const index = await ExactIndex.create(2, { capacity: 32 });
    open.push(index);
    index.append(Float32Array.of(5, -6));
    const { buffer } = index.vector(0);
    expect(buffer.byteLength).toBe(32 * 2 * 4);
    index.append(new Float32Array(31 * 2));
    expect(index.vector(31).buffer).toBe(buffer);
    index.append(new Float32Array(2));
    expect(index.vector(0).buffer).not.toBe(buffer);
    expect([...index.vector(0)]).toEqual([5, -6]);
    expect((await index.search(Float32Array.of(1, 0), 1)).rows[0]).toBe(0);
  });

  test.runIf(process.platform === 'linux')('threads', async () => {
    const running = () => readdirSync('/proc/self/task').length;
    const added: number[] = [];
    for (const threads of [1, 4]) {
      const before = running();
      open.push(await ExactIndex.create(2, { threads }));
      added.push(running() - before);
    }
    // The calling thread is one of them.
    expect(added).toEqual([0, 3]);
  });

  test.each([
    [{ capacity: 0 }, /options: capacity: expected a whole number from 1, found 0/],
    [{ threads: 1.5 }, /options: threads: expected a whole number, found 1.5/],
    [{ dimensions: 3 } as ExactIndexOptions, /options: dimensions: .*unknown key "dimensions"/],
  ])('%j is refused', async (options, message) => {
    const error = await ExactIndex.create(3, options).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
  });
});

describe('refusals', () => {
  const matrix = Float32Array.of(1, 2, 3, 4);
  const bad = Float32Array.of(1, Number.NaN);
  const infinite = Float32Array.of(0, 0, -Infinity, 0);
  test.each<[string, (index: ExactIndex) => unknown, string]>([
    ['a matrix of another count', (i) => i.setAll(matrix, 3), 'setAll: expected 6 numbers, found 4'],
    ['half a row', (i) => i.append(new Float32Array(3)), 'append: expected rows of 2 numbers, found 3'],
    ['NaN', (i) => i.set(0, bad), 'set: expected finite numbers, found NaN in row 0'],
    ['infinity', (i) => i.setAll(infinite, 2), 'setAll: expected finite numbers, found -Infinity in row 1'],
    ['two vectors for a row', (i) => i.set(0, matrix), 'set: expected 2 numbers, found 4'],
    ['a row that is not there', (i) => i.set(2, new Float32Array(2)), 'set: expected a row below 2, found 2'],
    ['half a row number', (i) => i.vector(0.5), 'vector: expected a row below 2, found 0.5'],
    ['k = 0', (i) => i.search(matrix, 0), 'search: expected a positive k, found 0'],
    ['a NaN query', (i) => i.search(bad, 1), 'search: expected finite numbers, found NaN in row 0'],
    ['a NaN query for ranks', (i) => i.ranks(bad, [[0]]), 'ranks: expected finite numbers'],
    ['too few positives', (i) => i.ranks(matrix, [[0]]), 'ranks: expected positives for 2 queries, found 1'],
    [
      'a positive twice',
      (i) => i.ranks(matrix, [[0], [1, 0, 1]]),
      'expected distinct positives, found [1,0,1] for query 1',
    ],
    ['an unknown positive', (i) => i.ranks(matrix, [[], [-1]]), 'ranks: expected a row below 2, found -1'],
  ])('%s', async (_name, act, message) => {
    const index = await indexOf(matrix, 2);
    const error = await Promise.resolve()
      .then(() => act(index))
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RangeError);
    expect((error as RangeError).message).toContain(message);
    // Nothing has changed.
    expect([...(await index.scores(Float32Array.of(1, 10)))]).toEqual([21, 43]);
  });

  test('a dimension of 0, and anything after dispose', async () => {
    await expect(ExactIndex.create(0)).rejects.toThrow(
      new RangeError('ExactIndex: expected a positive dimension, found 0'),
    );
    const index = await ExactIndex.create(2);
    index.setAll(matrix, 2);
    await index.search(matrix, 1);
    await index.dispose();
    await index.dispose();
    await expect(index.search(matrix, 1)).rejects.toThrow('disposed');
    await expect(index.scores(matrix)).rejects.toThrow('disposed');
  });
});
