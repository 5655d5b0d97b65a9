/** The exact environment against rankings in float64, and the reward against values worked out by hand. */
import { ExactEnvironment, type RolloutBatch, scaledDcg } from 'search-r3/environment';
import { InputError, randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dcgReward } from '../reference/losses.js';

describe('scaledDcg', () => {
  const log = Math.log2;

  test('by hand', () => {
    expect(scaledDcg([1], [1])).toBe(1);
    expect(scaledDcg([3], [1])).toBeCloseTo(1 / log(4), 12);
    // Grades 1 and 3 at ranks 2 and 4; best: 3 at 1, 1 at 2.
    expect(scaledDcg([2, 4], [1, 3])).toBeCloseTo((1 / log(3) + 3 / log(5)) / (3 + 1 / log(3)), 12);
    expect(scaledDcg([], [])).toBe(0);
  });

  test('a cut removes ranks beyond it, from the ideal too', () => {
    expect(scaledDcg([2], [1], 2)).toBeCloseTo(1 / log(3), 12);
    expect(scaledDcg([3], [1], 2)).toBe(0);
    expect(scaledDcg([1, 2, 3], [1, 1, 1], 2)).toBeCloseTo(1, 12);
    expect(scaledDcg([1, 5], [1, 1], 1)).toBe(1);
  });

  test('Jarvelin and Kekalainen 2002: the discounted gain of their example, grades at ranks', () => {
    // The nDCG of the ideal order is 1 for any grades; every other order is below.
    const grades = [3, 2, 3, 0.5, 1];
    const order = [1, 3, 2, 5, 4];
    expect(scaledDcg(order, grades)).toBeCloseTo(1, 12);
    expect(scaledDcg([1, 2, 3, 4, 5], grades)).toBeLessThan(1);
  });
});

const DIMENSION = 6;
const random = randomStream(9, 'environment');
const unit = (count: number): Float32Array => {
  const rows = Array.from({ length: count }, () => {
    const row = Array.from({ length: DIMENSION }, () => random.normal());
    return row.map((x) => x / Math.hypot(...row));
  });
  return Float32Array.from(rows.flat());
};
const IDS = Array.from({ length: 23 }, (_, i) => `d${i}`);
/** Rows 3, 11 and 17 are equal, and so are 5 and 6. */
const matrix = (): Float32Array => {
  const rows = unit(IDS.length);
  const copy = (from: number, to: number) =>
    rows.copyWithin(to * DIMENSION, from * DIMENSION, (from + 1) * DIMENSION);
  copy(3, 11);
  copy(3, 17);
  copy(5, 6);
  return rows;
};
const BATCH: RolloutBatch = {
  vectors: unit(5),
  relevant: [
    { d2: 1 },
    { d3: 1, d11: 3 },
    { d11: 2, d0: 1, d22: 1 },
    { d6: 1 },
    { d17: 3, d3: 1, d5: 2 },
  ].map((grades) => new Map(Object.entries(grades))),
};

const row = (vectors: Float32Array, i: number) => vectors.subarray(i * DIMENSION, (i + 1) * DIMENSION);
const scoresOf = (documents: Float32Array, query: number) =>
  IDS.map((_, d) => row(documents, d).reduce((total, x, i) => total + x * row(BATCH.vectors, query)[i]!, 0));

describe('ExactEnvironment', () => {
  const documents = matrix();
  const asked: string[][] = [];
  const encode = async (ids: readonly string[]) => {
    asked.push([...ids]);
    return documents;
  };
  let environment: ExactEnvironment;
  beforeAll(async () => {
    environment = await ExactEnvironment.create(IDS, encode, { dimension: DIMENSION });
    await environment.refresh(0);
  });
  afterAll(() => environment.dispose());

  test('a refresh encodes the whole corpus, once per version', async () => {
    const own = await ExactEnvironment.create(IDS, encode, { dimension: DIMENSION });
    asked.length = 0;
    expect((await own.refresh(4)).encoded).toEqual({ full: 23 });
    expect((await own.refresh(4)).encoded).toEqual({ full: 0 });
    expect((await own.refresh(5)).encoded).toEqual({ full: 23 });
    expect(asked).toEqual([IDS, IDS]);
    await own.dispose();
  });

  test('rewards and ranks are those of a ranking in float64, ties against the positive', async () => {
    const found = await environment.reward(BATCH);
    for (const [query, { reward, rank }] of found.entries()) {
      const scores = scoresOf(documents, query);
      const gains = IDS.map((id) => BATCH.relevant[query]!.get(id) ?? 0);
      expect(reward).toBeCloseTo(dcgReward(scores, gains), 12);
      const best = Math.max(...scores.filter((_, d) => gains[d]! > 0));
      // Documents with a higher score, and irrelevant ones with the same score, rank before it.
      const before = scores.filter((score, d) => score > best || (score === best && gains[d] === 0)).length;
      expect(rank).toBe(before + 1);
    }
    // d11 and d3 tie with d17: a lone relevant document ranks behind its equals.
    expect(found[1]!.rank).toBeGreaterThan(1);
  });

  test('the option cut', async () => {
    const cut = 5;
    const own = await ExactEnvironment.create(IDS, encode, { dimension: DIMENSION, cut });
    await own.refresh(0);
    const found = (await own.reward(BATCH)).map(({ reward }) => reward);
    await own.dispose();
    const expected = BATCH.relevant.map((grades, query) =>
      dcgReward(
        scoresOf(documents, query),
        IDS.map((id) => grades.get(id) ?? 0),
        cut,
      ),
    );
    expect(found).toEqual(expected.map((value) => expect.closeTo(value, 12)));
    expect(found).toContain(0);
  });

  test('search returns the nearest documents, best first, with their cosines', async () => {
    const found = await environment.search(BATCH.vectors, 7);
    for (const [query, hits] of found.entries()) {
      const scores = scoresOf(documents, query);
      const expected = IDS.map((_, d) => d)
        .sort((a, b) => scores[b]! - scores[a]! || a - b)
        .slice(0, 7);
      expect(hits.map(({ id }) => id)).toEqual(expected.map((d) => IDS[d]));
      for (const [i, { score }] of hits.entries()) expect(score).toBeCloseTo(scores[expected[i]!]!, 5);
    }
    expect((await environment.search(BATCH.vectors, 100))[0]!.length).toBe(23);
  });

  test('its state restores the vectors without encoding', async () => {
    const state = environment.state();
    const refuse = async () => {
      throw new Error('encoded');
    };
    const own = await ExactEnvironment.create(IDS, refuse, { dimension: DIMENSION });
    await own.restore(structuredClone(state));
    await own.refresh(0);
    expect(await own.reward(BATCH)).toEqual(await environment.reward(BATCH));
    await expect(own.refresh(1)).rejects.toThrow('encoded');
    await own.dispose();
  });

  test("the state before any refresh has no vectors, and another corpus' is refused", async () => {
    const fresh = await ExactEnvironment.create(IDS, encode, { dimension: DIMENSION });
    const empty = fresh.state();
    expect([...empty.arrays.versions!]).toEqual(IDS.map(() => -1));
    await fresh.restore(empty);
    expect((await fresh.refresh(0)).encoded).toEqual({ full: 23 });
    const other = await ExactEnvironment.create(IDS.slice(1), encode, { dimension: DIMENSION });
    await expect(other.restore(environment.state())).rejects.toThrow(
      /environment state: documents: expected those of this corpus/,
    );
    const { arrays, metadata } = environment.state();
    const vectors = (arrays.vectors as Float32Array).slice(1);
    await expect(fresh.restore({ metadata, arrays: { ...arrays, vectors } })).rejects.toThrow(
      new InputError({
        source: 'environment state',
        field: 'vectors',
        expected: `${23 * DIMENSION} numbers (Float32Array)`,
        found: `${23 * DIMENSION - 1} (Float32Array)`,
      }),
    );
    await other.dispose();
    await fresh.dispose();
  });

  test('an audit finds no error', async () => {
    expect(await environment.audit()).toEqual({
      rewardError: 0,
      interval: [0, 0],
      misplaced: { estimate: 0, interval: [0, 0] },
      encoded: 0,
      tokens: 0,
      exceeded: false,
    });
  });

  test('an empty corpus and a relevant document that is not in it are refused', async () => {
    await expect(ExactEnvironment.create([], encode, { dimension: DIMENSION })).rejects.toThrow(InputError);
    const relevant = BATCH.relevant.with(2, new Map([['nowhere', 1]]));
    await expect(environment.reward({ ...BATCH, relevant })).rejects.toThrow(
      /the document nowhere is not in the corpus/,
    );
  });
});
