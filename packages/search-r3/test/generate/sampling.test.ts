/** Draws against the exact distribution they come from. */
import { draw, type SamplingOptions } from 'search-r3/generate';
import { type RandomStream, randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';

/** Out of order, with two equal ones and one that is impossible. */
const PROBABILITIES = Float32Array.of(0.05, 0.3, 0, 0.15, 0.4, 0.05, 0.05);
const DRAWS = 20_000;

/**
 * 99.9 % quantiles of the chi-square distribution by degrees of freedom (NIST/SEMATECH e-Handbook of Statistical
 * Methods, 1.3.6.7.4).
 */
const CHI_SQUARE_999 = [0, 10.828, 13.816, 16.266, 18.467, 20.515];

function counts(options: Pick<SamplingOptions, 'topP' | 'topK'>, seed = 1): number[] {
  const random = randomStream(seed, 'draws');
  const found = new Array<number>(PROBABILITIES.length).fill(0);
  for (let i = 0; i < DRAWS; i++) found[draw(PROBABILITIES, options, random).token]!++;
  return found;
}

test.each([
  ['the whole distribution', {}, [0, 1, 3, 4, 5, 6]],
  ['top-p 1 and top-k 0 are the whole', { topP: 1, topK: 0 }, [0, 1, 3, 4, 5, 6]],
  // 0.4 + 0.3 is short of 0.71, 0.4 + 0.3 + 0.15 is not.
  ['top-p just above a sum', { topP: 0.71 }, [1, 3, 4]],
  ['top-p just below a sum', { topP: 0.69 }, [1, 4]],
  ['top-p below the best token alone', { topP: 0.1 }, [4]],
  ['top-k', { topK: 3 }, [1, 3, 4]],
  ['top-k, ties by id', { topK: 5 }, [0, 1, 3, 4, 5]],
  ['top-k beyond the vocabulary', { topK: 50 }, [0, 1, 3, 4, 5, 6]],
  ['the narrower of top-k and top-p', { topK: 2, topP: 0.9 }, [1, 4]],
  ['the narrower of top-p and top-k', { topK: 5, topP: 0.6 }, [1, 4]],
])('%s', (_, options, allowed) => {
  const found = counts(options);
  const mass = allowed.reduce((total, token) => total + PROBABILITIES[token]!, 0);
  let chiSquare = 0;
  for (const [token, count] of found.entries()) {
    if (!allowed.includes(token)) {
      expect(count, `token ${token}`).toBe(0);
      continue;
    }
    const expected = (DRAWS * PROBABILITIES[token]!) / mass;
    chiSquare += (count - expected) ** 2 / expected;
  }
  if (allowed.length > 1) expect(chiSquare).toBeLessThan(CHI_SQUARE_999[allowed.length - 1]!);
});

describe('draw', () => {
  const fixed = (...values: number[]): RandomStream => ({
    ...randomStream(0),
    uniform: () => values.shift() as number,
  });

  test('inverts the cumulative distribution', () => {
    const at = (u: number) => draw(PROBABILITIES, {}, fixed(u)).token;
    // Cumulative: 0.05, 0.35, 0.35, 0.5, 0.9, 0.95, 1.
    expect([0, 0.049, 0.051, 0.349, 0.351, 0.499, 0.501, 0.899, 0.901, 0.949, 0.951].map(at)).toEqual([
      0, 0, 1, 1, 3, 3, 4, 4, 5, 5, 6,
    ]);
  });

  test('the log-probability is that before truncation', () => {
    expect(draw(PROBABILITIES, { topK: 1 }, fixed(0.5)).logProbability).toBeCloseTo(Math.log(0.4), 6);
  });

  test('a uniform number next to 1 draws a possible token, whatever rounding leaves', () => {
    const rounded = Float32Array.of(...new Array<number>(10).fill(0.1), 0);
    expect(draw(rounded, {}, fixed(1 - 2 ** -53)).token).toBe(9);
  });

  test('refuses probabilities without mass', () => {
    for (const bad of [Float32Array.of(0, 0), Float32Array.of(Number.NaN, Number.NaN)]) {
      expect(() => draw(bad, {}, fixed(0.5))).toThrow(RangeError);
    }
  });
});
