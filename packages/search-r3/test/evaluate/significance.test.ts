import { bootstrapDifference, bootstrapInterval, randomisationTest } from 'search-r3/evaluate';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';

// Fisher 1935, "The Design of Experiments", section 21: Darwin's 15 pairs of maize plants, crossed minus self-fertilised
// height in eighths of an inch. "In just 863 cases out of 32,768 the total deviation will have a positive value as great
// as or greater than that observed": two-sided 1726 of 32768.
const DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48];
const ZEROS = DARWIN.map(() => 0);

describe('randomisationTest', () => {
  test('Fisher\u2019s exact test of Darwin\u2019s maize', () => {
    expect(randomisationTest(ZEROS, DARWIN)).toEqual({ difference: 314 / 15, p: 1726 / 32768, exact: true });
  });

  test('is two-sided: the systems may be swapped', () => {
    expect(randomisationTest(DARWIN, ZEROS)).toEqual({ difference: -314 / 15, p: 1726 / 32768, exact: true });
  });

  test('pairs without a difference change the mean, not p', () => {
    const more = [...DARWIN, 0, 0, 0, 0, 0];
    expect(
      randomisationTest(
        more.map(() => 3),
        more.map((value) => value + 3),
      ),
    ).toEqual({ difference: 314 / 20, p: 1726 / 32768, exact: true });
  });

  test('by hand: 3 pairs', () => {
    // Sums of (+-1 +-2 +-3): 6, 4, 2, 0, 0, -2, -4, -6.
    expect(randomisationTest([0, 0, 0], [1, 2, 3]).p).toBe(2 / 8);
    expect(randomisationTest([0, 0, 0], [-1, 2, 3]).p).toBe(4 / 8);
    expect(randomisationTest([0, 0, 0], [1, 2, -3])).toEqual({ difference: 0, p: 1, exact: true });
    expect(randomisationTest([5, 5], [5, 5])).toEqual({ difference: 0, p: 1, exact: true });
  });

  test('assignments that tie but for rounding count', () => {
    // The sum of the first three is 0 in decimal numbers, 5.6e-17 in binary ones; either sign of them ties.
    const differences = [-3, 1, 2, 7];
    const whole = randomisationTest([0, 0, 0, 0], differences).p;
    const tenths = differences.map((value) => value / 10);
    expect(whole).toBe(10 / 16);
    expect(randomisationTest([0, 0, 0, 0], tenths).p).toBe(whole);
    expect(randomisationTest(tenths, [0, 0, 0, 0]).p).toBe(whole);
  });

  test('sampled: close to the exact value, never 0, the same for the same seed', () => {
    const sampled = randomisationTest(ZEROS, DARWIN, { samples: 20_000, seed: 1 });
    expect(sampled.exact).toBe(false);
    // Four standard errors of a share of 0.0527 among 20,000.
    expect(Math.abs(sampled.p - 1726 / 32768)).toBeLessThan(0.0064);
    expect(Number.isInteger(Math.round(sampled.p * 20_001 * 1e6) / 1e6)).toBe(true);
    expect(randomisationTest(ZEROS, DARWIN, { samples: 20_000, seed: 1 })).toEqual(sampled);
    expect(randomisationTest(ZEROS, DARWIN, { samples: 20_000, seed: 2 }).p).not.toBe(sampled.p);

    const ones = Array.from({ length: 70 }, () => 1);
    const none = randomisationTest(
      ones.map(() => 0),
      ones,
      { samples: 999 },
    );
    expect(none).toEqual({ difference: 1, p: 1 / 1000, exact: false });
  });

  test('sampled signs are independent beyond the first 32 pairs', () => {
    // Three large differences among 40, the others too small to matter: only where all three have one sign is the sum
    // as large as observed, 2 of 8. Signs that repeat after 32 pairs, or stay as they are there, give 2 of 4.
    const differences = Array.from({ length: 40 }, (_, i) => ([2, 34, 37].includes(i) ? 100 : 1e-13));
    const { p, exact } = randomisationTest(
      differences.map(() => 0),
      differences,
      { samples: 20_000 },
    );
    expect(exact).toBe(false);
    expect(Math.abs(p - 0.25)).toBeLessThan(0.0125); // Four standard errors.
  });

  test('uneven or empty systems and impossible options are refused', () => {
    expect(() => randomisationTest([1, 2], [1])).toThrow(
      'the same number of values for both systems, found 2 and 1 values',
    );
    expect(() => randomisationTest([], [])).toThrow('found 0 and 0 values');
    expect(() => randomisationTest([1], [2], { samples: 0 })).toThrow(/samples: expected/);
    expect(() => randomisationTest([1], [2], { sample: 10 } as object)).toThrow(/Did you mean "samples"/);
  });
});

describe('bootstrapInterval', () => {
  test('by hand: two values', () => {
    // Means of two draws of {0, 1}: 0, 1/2, 1/2, 1 with equal chance.
    expect(bootstrapInterval([0, 1])).toEqual({ low: 0, high: 1 });
    expect(bootstrapInterval([0, 1], { confidence: 0.4 })).toEqual({ low: 0.5, high: 0.5 });
    expect(bootstrapInterval([3])).toEqual({ low: 3, high: 3 });
  });

  test('by hand: three values, 27 equally likely samples', () => {
    // Sums of three draws of {0, 1, 10}: 0 (1), 1 (3), 2 (3), 3 (1), 10 (3), 11 (6), 12 (3), 20 (3), 21 (3), 30 (1).
    // The lowest 20 % end within 2 (cumulated 4/27 to 7/27), the highest within 20 (20/27 to 23/27).
    expect(bootstrapInterval([0, 1, 10], { confidence: 0.6 })).toEqual({ low: 2 / 3, high: 20 / 3 });
  });

  test.each([
    // With k + 1 means m0 <= ... <= mk, a share q lies k q steps above m0: by hand, for each tail.
    [2, 0.5, (m: number[]) => [m[0]! + 0.25 * (m[1]! - m[0]!), m[0]! + 0.75 * (m[1]! - m[0]!)]],
    [3, 0.5, (m: number[]) => [(m[0]! + m[1]!) / 2, (m[1]! + m[2]!) / 2]],
    [4, 0.9, (m: number[]) => [0.85 * m[0]! + 0.15 * m[1]!, 0.15 * m[2]! + 0.85 * m[3]!]],
    [6, 0.4, (m: number[]) => [0.5 * m[1]! + 0.5 * m[2]!, 0.5 * m[3]! + 0.5 * m[4]!]],
    // Whole steps: the order statistics themselves.
    [5, 0.5, (m: number[]) => [m[1]!, m[3]!]],
  ] as const)('of %i means, the inner %d: linear between order statistics', (resamples, confidence, by) => {
    const values = [0, 0.113, 0.237, 0.318, 0.475, 0.629, 0.907];
    for (const seed of [0, 1, 2]) {
      const stream = randomStream(seed, 'bootstrap');
      const means = Array.from({ length: resamples }, () => {
        const drawn = values.map(() => values[stream.integer(7)]!);
        return drawn.reduce((a, b) => a + b, 0) / 7;
      }).sort((a, b) => a - b);
      expect(new Set(means).size).toBe(resamples);
      const { low, high } = bootstrapInterval(values, { resamples, confidence, seed });
      const [expectedLow, expectedHigh] = by(means);
      expect(low).toBeCloseTo(expectedLow!, 12);
      expect(high).toBeCloseTo(expectedHigh!, 12);
    }
  });

  test('many values: the normal approximation', () => {
    const stream = randomStream(5, 'test values');
    const values = Array.from({ length: 400 }, () => stream.uniform() ** 2);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const error = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0)) / values.length;
    const { low, high } = bootstrapInterval(values);
    expect(Math.abs((mean - low) / (1.96 * error) - 1)).toBeLessThan(0.05);
    expect(Math.abs((high - mean) / (1.96 * error) - 1)).toBeLessThan(0.05);
    const narrow = bootstrapInterval(values, { confidence: 0.5 });
    expect(Math.abs((narrow.high - narrow.low) / (2 * 0.6745 * error) - 1)).toBeLessThan(0.05);
  });

  test('the same seed draws the same queries, another seed others', () => {
    const values = [0.1, 0.4, 0.45, 0.9, 0.2, 0.7, 0.31];
    const first = bootstrapInterval(values, { resamples: 50, seed: 3 });
    expect(bootstrapInterval(Float64Array.from(values), { resamples: 50, seed: 3 })).toEqual(first);
    expect(bootstrapInterval(values, { resamples: 50, seed: 4 })).not.toEqual(first);
    expect(bootstrapInterval(values, { resamples: 51, seed: 3 })).not.toEqual(first);
  });

  test('nothing to draw from, and impossible options', () => {
    expect(() => bootstrapInterval([])).toThrow('expected at least one value, found none');
    expect(() => bootstrapInterval([1], { confidence: 1 })).toThrow(/confidence: expected/);
    expect(() => bootstrapInterval([1], { resamples: 0.5 })).toThrow(/resamples: expected/);
  });
});

describe('bootstrapDifference', () => {
  test('draws both systems together', () => {
    const a = [0.1, 0.9, 0.4, 0.7];
    // The systems vary a lot from query to query, their difference does not.
    const { low, high } = bootstrapDifference(
      a,
      a.map((value) => value + 0.25),
    );
    expect(low).toBeCloseTo(0.25, 12);
    expect(high).toBeCloseTo(0.25, 12);
    const b = [0.3, 0.6, 0.9, 0.2];
    const differences = b.map((value, i) => value - (a[i] ?? 0));
    expect(bootstrapDifference(a, b, { seed: 7 })).toEqual(bootstrapInterval(differences, { seed: 7 }));
    expect(() => bootstrapDifference(a, [1])).toThrow('found 4 and 1 values');
  });
});
