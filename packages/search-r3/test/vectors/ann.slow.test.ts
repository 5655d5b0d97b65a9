import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { InputError, type RandomStream, randomStream } from 'search-r3/run';
import { AnnIndex, type AnnIndexOptions } from 'search-r3/vectors';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { scaled } from '../support/scale.js';
import { dot, ordered, rankOf, rowOf, unitMatrix } from './brute-force.js';

const dimension = 12;
const open: AnnIndex[] = [];
afterEach(async () => {
  for (const index of open.splice(0)) await index.dispose();
});

async function indexOf(matrix: Float32Array, options: AnnIndexOptions = {}): Promise<AnnIndex> {
  const index = await AnnIndex.create(dimension, { graphFrom: 1, threads: 2, ...options });
  open.push(index);
  await index.setAll(matrix, matrix.length / dimension);
  return index;
}

/** A plain list of vectors, and what searches must find in it, in float64. */
class Plain {
  readonly rows: (Float32Array | undefined)[];
  constructor(matrix: Float32Array) {
    this.rows = Array.from({ length: matrix.length / dimension }, (_, row) =>
      rowOf(matrix, row, dimension).slice(),
    );
  }
  scores(query: Float32Array): (number | undefined)[] {
    return this.rows.map((own) => own && dot(query, own));
  }
  best(query: Float32Array, k: number): number[] {
    return ordered(this.scores(query)).slice(0, k);
  }
}

const unit = (random: RandomStream) => unitMatrix(random, 1, dimension);

/** Share of the true `k` best of all queries that were found. */
async function recallByHand(
  index: AnnIndex,
  plain: Plain,
  queries: Float32Array,
  k: number,
): Promise<number> {
  const found = await index.search(queries, k);
  let hits = 0;
  const count = queries.length / dimension;
  for (let query = 0; query < count; query++) {
    const own = [...found.rows.subarray(query * found.k, (query + 1) * found.k)];
    hits += plain.best(rowOf(queries, query, dimension), k).filter((row) => own.includes(row)).length;
  }
  return hits / (count * found.k);
}

describe('search', () => {
  test('exact until there is a graph, then as good as its recall, with true scores', async () => {
    const random = randomStream(1);
    const matrix = unitMatrix(random, 3000, dimension);
    const queries = unitMatrix(random, 50, dimension);
    const plain = new Plain(matrix);
    const index = await indexOf(matrix, { sampleShare: 0 });
    expect(await recallByHand(index, plain, queries, 10)).toBe(1);
    expect(index.graph).toMatchObject({ rows: 0, builds: 0, building: true });
    await index.rebuild();
    expect(await recallByHand(index, plain, queries, 10)).toBeGreaterThanOrEqual(0.97);
    expect(index.graph).toEqual({ rows: 3000, changed: 0, width: 96, builds: 1, building: false });
    const found = await index.search(queries, 4);
    for (const [i, row] of found.rows.entries()) {
      const score = dot(rowOf(queries, Math.floor(i / 4), dimension), rowOf(matrix, row, dimension));
      expect(found.scores[i]).toBe(Math.fround(score));
    }
  });

  test('any sequence of changes and rebuilds: removed rows are never found, others by their current vectors', async () => {
    const change = fc.oneof(
      { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom('set', 'remove'), at: fc.nat() }) },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant('append'), at: fc.integer({ min: 0, max: 9 }) }),
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('rebuild', 'search'), at: fc.constant(0) }) },
    );
    const input = [
      fc.integer(),
      fc.integer({ min: 1, max: 90 }),
      fc.array(change, { maxLength: 40 }),
    ] as const;
    await fc.assert(
      fc.asyncProperty(...input, async (seed, rows, changes) => {
        const random = randomStream(seed);
        const matrix = unitMatrix(random, rows, dimension);
        const plain = new Plain(matrix);
        // A graph is being built most of the time, and searches use few candidates.
        const index = await indexOf(matrix, { staleShare: 0.01, searchWidth: 6, sampleShare: 0 });
        const check = async (query: Float32Array, k: number): Promise<number[]> => {
          const found = await index.search(query, k);
          const own = [...found.rows];
          expect(own.length).toBe(Math.min(k, plain.rows.filter(Boolean).length));
          expect(new Set(own).size).toBe(own.length);
          for (const [i, row] of own.entries()) {
            expect(found.scores[i]).toBeCloseTo(dot(query, plain.rows[row] as Float32Array), 6);
          }
          expect([...found.scores]).toEqual([...found.scores].sort((a, b) => b - a));
          return own;
        };
        await check(unit(random), 3);
        for (const { kind, at } of changes) {
          const row = at % plain.rows.length;
          if (kind === 'set') {
            const vector = unit(random);
            plain.rows[row] = vector;
            index.set(row, vector);
            expect(await check(vector, 1)).toEqual([row]);
          } else if (kind === 'remove') {
            if (plain.rows[row] === undefined) continue;
            plain.rows[row] = undefined;
            index.remove(row);
          } else if (kind === 'append') {
            const added = unitMatrix(random, at, dimension);
            expect(index.append(added)).toBe(plain.rows.length);
            plain.rows.push(...new Plain(added).rows);
          } else if (kind === 'rebuild') {
            await index.rebuild();
          } else {
            await check(unit(random), 7);
          }
        }
        const live = plain.rows.flatMap((own, row) => (own === undefined ? [] : [row]));
        expect([index.size, index.live]).toEqual([plain.rows.length, live.length]);
        expect(plain.rows.map((_, row) => index.has(row))).toEqual(
          plain.rows.map((own) => own !== undefined),
        );
        let own = 0;
        for (const row of live) own += Number((await check(plain.rows[row] as Float32Array, 1))[0] === row);
        expect(own).toBeGreaterThanOrEqual(0.9 * live.length);
        expect((await check(unit(random), 1000)).sort((a, b) => a - b)).toEqual(live);
        await index.dispose();
        open.pop();
      }),
      { seed: 2, numRuns: scaled(5, 80) },
    );
  });

  test('finds the next rows if all near a query have moved away', async () => {
    const random = randomStream(3);
    const matrix = unitMatrix(random, 4000, dimension);
    const plain = new Plain(matrix);
    const index = await indexOf(matrix, { staleShare: 1, sampleShare: 0 });
    await index.rebuild();
    const query = unit(random);
    for (const share of [200, 1200, 3000]) {
      for (const row of plain.best(query, share)) {
        plain.rows[row] = rowOf(matrix, row, dimension).map((x) => -x);
        index.set(row, plain.rows[row]);
      }
      const { rows } = await index.search(query, 10);
      expect([...rows].filter((row) => plain.best(query, 10).includes(row)).length).toBeGreaterThanOrEqual(9);
    }
  });
});

describe('recall', () => {
  test('holds while all vectors are replaced three times and graphs are built', async () => {
    const random = randomStream(4);
    const rows = 1500;
    const matrix = unitMatrix(random, rows, dimension);
    const plain = new Plain(matrix);
    const index = await indexOf(matrix, { sampleShare: 0.2, searchWidth: 24 });
    await index.rebuild();
    const recalls: number[] = [];
    for (let step = 0; step < 30; step++) {
      for (let i = 0; i < 150; i++) {
        const row = random.integer(rows);
        plain.rows[row] = unit(random);
        index.set(row, plain.rows[row]);
      }
      recalls.push(await recallByHand(index, plain, unitMatrix(random, 24, dimension), 10));
      if (step % 10 === 0) await index.rebuild();
    }
    await index.rebuild();
    expect(await recallByHand(index, plain, unitMatrix(random, 40, dimension), 10)).toBeGreaterThanOrEqual(
      0.95,
    );
    expect(Math.min(...recalls)).toBeGreaterThanOrEqual(0.95);
    expect(index.graph.builds).toBeGreaterThan(2);
  });

  test('is measured correctly, on the requested share of queries', async () => {
    const random = randomStream(5);
    const matrix = unitMatrix(random, 2500, dimension);
    const queries = unitMatrix(random, 40, dimension);
    const plain = new Plain(matrix);
    // The width must not grow, so that there is something to measure.
    const poor = { searchWidth: 10, minRecall: 0.01, connectivity: 4, buildWidth: 8 };
    for (const sampleShare of [0, 0.05, 0.5, 1]) {
      const index = await indexOf(matrix, { ...poor, sampleShare });
      await index.rebuild();
      const share = await recallByHand(index, plain, queries, 10);
      expect(share).toBeLessThan(0.99);
      expect(index.recall?.queries ?? 0).toBe(40 * sampleShare);
      if (sampleShare === 1) expect(index.recall?.recall).toBeCloseTo(share, 10);
      expect((await index.measureRecall(queries, 10)).recall).toBeCloseTo(share, 10);
    }
  });

  test('searches of a new graph are widened until its recall is high enough', async () => {
    const random = randomStream(6);
    const matrix = unitMatrix(random, 2500, dimension);
    const queries = unitMatrix(random, 64, dimension);
    const plain = new Plain(matrix);
    const found: number[] = [];
    for (const minRecall of [0.01, 0.99]) {
      const index = await indexOf(matrix, {
        searchWidth: 10,
        connectivity: 4,
        buildWidth: 8,
        minRecall,
        sampleShare: 0,
      });
      await index.rebuild();
      found.push(await recallByHand(index, plain, queries, 10));
      expect(index.graph.width > 10).toBe(minRecall === 0.99);
    }
    expect(found[0]).toBeLessThan(0.95);
    expect(found[1]).toBeGreaterThanOrEqual(0.99);
  });

  test('when it falls, searches are widened and a worn graph is rebuilt', async () => {
    const random = randomStream(7);
    const rows = 2500;
    const index = await indexOf(unitMatrix(random, rows, dimension), {
      threads: 1,
      connectivity: 4,
      buildWidth: 16,
      searchWidth: 10,
      minRecall: 0.97,
      sampleShare: 0,
      staleShare: 1,
    });
    await index.rebuild();
    // Tested on its own rows, which are easier to find than points between them.
    await index.search(index.vector(3).slice(), 10);
    const before = index.graph;
    expect(before).toMatchObject({ builds: 1, building: false });
    index.remove(5);
    const hard = unitMatrix(random, 40, dimension);
    const { recall } = await index.measureRecall(hard, 10);
    expect(recall).toBeLessThan(0.97);
    expect(index.graph).toMatchObject({ width: Math.ceil(before.width * 1.5), building: true });
    await index.rebuild();
    await index.search(hard, 10);
    expect(index.graph).toMatchObject({ builds: 2, rows: rows - 1 });
  });
});

describe('ranks', () => {
  test('are those of the sorted list with all rows in reach or rankDepth 0', async () => {
    const input = [fc.integer(), fc.integer({ min: 1, max: 60 }), fc.constantFrom(0, 3, 100)] as const;
    await fc.assert(
      fc.asyncProperty(...input, async (seed, rows, rankDepth) => {
        const random = randomStream(seed);
        const matrix = unitMatrix(random, rows, dimension);
        // Equal vectors, for ties.
        for (let row = 1; row < rows; row += 3) matrix.copyWithin(row * dimension, 0, dimension);
        const index = await indexOf(matrix, { rankDepth, searchWidth: 4 });
        await index.rebuild();
        const queries = unitMatrix(random, 4, dimension);
        const numbers = Array.from({ length: rows }, (_, row) => row);
        const positives = Array.from({ length: 4 }, () => random.sample(numbers, random.integer(4)));
        const scores = (query: number) =>
          numbers.map((row) =>
            Math.fround(dot(rowOf(queries, query, dimension), rowOf(matrix, row, dimension))),
          );
        expect(await index.ranks(queries, positives)).toEqual(
          positives.map((own, query) => own.map((row) => rankOf(scores(query), own, row))),
        );
        await index.dispose();
        open.pop();
      }),
      { seed: 8, numRuns: scaled(10, 200) },
    );
  });

  test('are counted among the rows found if these include lower scores, otherwise exact; never too large', async () => {
    const random = randomStream(9);
    const matrix = unitMatrix(random, 3000, dimension);
    const plain = new Plain(matrix);
    const queries = unitMatrix(random, 60, dimension);
    const positives = Array.from({ length: 60 }, (_, query) => {
      const order = plain.best(rowOf(queries, query, dimension), 3000);
      return [order[query] as number, ...(query % 2 === 0 ? [] : [order[500 + query] as number])];
    });
    const poor = { connectivity: 4, buildWidth: 8, searchWidth: 10, minRecall: 0.01, sampleShare: 0 };
    const index = await indexOf(matrix, { ...poor, rankDepth: 50 });
    await index.rebuild();
    const found = await index.search(queries, 50);
    const ranks = await index.ranks(queries, positives);
    const kinds = { exact: 0, small: 0 };
    for (const [query, own] of positives.entries()) {
      const asked = rowOf(queries, query, dimension);
      const scores = own.map((row) => dot(asked, rowOf(matrix, row, dimension)));
      const others = [...found.scores.subarray(query * 50, query * 50 + 50)];
      const reached = scores.every((score) => Math.fround(score) > (others.at(-1) as number));
      const exact = own.map((_, i) => query + 1 + 500 * i);
      const counted = scores.map((score) => 1 + others.filter((other) => other > Math.fround(score)).length);
      expect(ranks[query]).toEqual(reached ? counted : exact);
      if (!reached) kinds.exact++;
      else if ((counted[0] as number) < query + 1) kinds.small++;
      expect(counted[0]).toBeLessThanOrEqual(query + 1);
    }
    expect(Math.min(kinds.exact, kinds.small)).toBeGreaterThan(3);
  });
});

describe('options', () => {
  test('graphFrom: no graph for fewer rows', async () => {
    const index = await indexOf(unitMatrix(randomStream(10), 100, dimension), { graphFrom: 101 });
    await index.search(index.vector(0), 1);
    expect(index.graph.building).toBe(false);
    index.append(unitMatrix(randomStream(11), 1, dimension));
    await index.search(index.vector(0), 1);
    expect(index.graph.building).toBe(true);
  });

  test.each([0.1, 0.3])('staleShare %f: how many rows may change', async (staleShare) => {
    const random = randomStream(12);
    const index = await indexOf(unitMatrix(random, 200, dimension), { staleShare, sampleShare: 0 });
    await index.rebuild();
    for (let row = 0; row < 200 * staleShare; row++) index.set(row, unit(random));
    await index.search(unit(random), 1);
    expect(index.graph).toMatchObject({ changed: 200 * staleShare, building: false });
    index.set(199, unit(random));
    await index.search(unit(random), 1);
    expect(index.graph.building).toBe(true);
  });

  test('connectivity, buildWidth and searchWidth change the recall', async () => {
    const random = randomStream(13);
    const matrix = unitMatrix(random, 3000, dimension);
    const plain = new Plain(matrix);
    const queries = unitMatrix(random, 60, dimension);
    const of = async (options: AnnIndexOptions) => {
      const index = await indexOf(matrix, { minRecall: 0.01, threads: 1, ...options });
      await index.rebuild();
      return recallByHand(index, plain, queries, 10);
    };
    const base = { connectivity: 3, buildWidth: 8, searchWidth: 12 };
    const recall = await of(base);
    expect(await of({ ...base, connectivity: 12 })).toBeGreaterThan(recall + 0.05);
    expect(await of({ ...base, buildWidth: 100 })).toBeGreaterThan(recall + 0.02);
    expect(await of({ ...base, searchWidth: 60 })).toBeGreaterThan(recall + 0.05);
  });

  test('capacity: memory does not move within it', async () => {
    const index = await AnnIndex.create(dimension, { capacity: 64 });
    open.push(index);
    index.append(unitMatrix(randomStream(14), 1, dimension));
    expect(index.vector(0).buffer.byteLength).toBe(64 * dimension * 4);
  });

  test.runIf(process.platform === 'linux')('threads', async () => {
    const running = () => readdirSync('/proc/self/task').length;
    const added: number[] = [];
    for (const threads of [1, 2]) {
      const before = running();
      open.push(await AnnIndex.create(dimension, { threads }));
      added.push(running() - before);
    }
    // Two exact scans, each with the calling thread as one of its threads.
    expect(added).toEqual([0, 2]);
  });

  test.each([
    [{ graphFrom: 0 }, /options: graphFrom: /],
    [{ minRecall: 1.1 }, /options: minRecall: .*found 1.1/],
    [{ staleness: 1 } as AnnIndexOptions, /unknown key "staleness"/],
  ])('%j is refused', async (options, message) => {
    const error = await AnnIndex.create(3, options).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
  });
});

test('invalid searches are refused, with and without a graph', async () => {
  const index = await indexOf(unitMatrix(randomStream(15), 50, dimension), { searchWidth: 8 });
  for (const builds of [0, 1]) {
    if (builds === 1) await index.rebuild();
    const query = index.vector(0).slice();
    await expect(index.search(query, 0)).rejects.toThrow('search: expected a positive k, found 0');
    await expect(index.search(query.subarray(1), 1)).rejects.toThrow('expected rows of 12 numbers');
    await expect(index.search(query.fill(Number.NaN, 0, 1), 1)).rejects.toThrow('found NaN in row 0');
    await expect(index.ranks(index.vector(1), [[50]])).rejects.toThrow(
      'ranks: expected a row below 50, found 50',
    );
    expect((await index.search(index.vector(7), 1)).rows[0]).toBe(7);
    expect(index.graph.builds).toBe(builds);
  }
});

test('a build does not block the caller', async () => {
  const random = randomStream(16);
  const index = await indexOf(unitMatrix(random, 6000, dimension), { buildWidth: 400 });
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  const started = performance.now();
  await index.rebuild();
  const whole = performance.now() - started;
  clearInterval(timer);
  expect(longest).toBeLessThan(whole / 3);
});

test('disposal in the middle of a build ends the build and lets the process end', async () => {
  const threads = () => readdirSync('/proc/self/task').length;
  const index = await indexOf(unitMatrix(randomStream(17), 5000, dimension), { buildWidth: 200 });
  const before = threads();
  const building = index.rebuild();
  await vi.waitFor(() => expect(threads()).toBeGreaterThan(before), { timeout: 5000 });
  await index.dispose();
  open.pop();
  await building;
  await vi.waitFor(() => expect(threads()).toBeLessThanOrEqual(before), { timeout: 5000 });
});
