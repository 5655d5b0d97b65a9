/** Advantages and token weights: by hand, and against the definitions of the papers in the float64 reference. */

import {
  type AdvantageScaling,
  advantages,
  hasVariance,
  type LossNormalization,
  standardDeviation,
  tokenWeights,
} from 'search-r3/rl';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { groupAdvantages, policyGradientLoss } from '../reference/losses.js';
import { constant } from '../reference/tape.js';

describe('advantages', () => {
  // Means 0.5 and 0.25; deviations of the first with n - 1: sqrt((0.25 + 0.25 + 0 + 0) / 3).
  const groups = [
    [1, 0, 0.5, 0.5],
    [0, 0, 1, 0],
  ];

  test('by hand', () => {
    const first = Math.sqrt(0.5 / 3) + 1e-4;
    expect(advantages(groups, 'group')[0]).toEqual(
      [0.5 / first, -0.5 / first, 0, 0].map((value) => expect.closeTo(value, 12)),
    );
    // The second group: deviations -1/4 three times and 3/4, squares 0.75 in all, sqrt(0.75 / 3) = 0.5.
    expect(advantages(groups, 'group')[1]).toEqual(
      [-0.25, -0.25, 0.75, -0.25].map((value) => expect.closeTo(value / 0.5001, 12)),
    );
    expect(advantages(groups, 'none')).toEqual([
      [0.5, -0.5, 0, 0],
      [-0.25, -0.25, 0.75, -0.25],
    ]);
    // All eight: mean 3 / 8, sum of squares 2.5, so variance (2.5 - 9 / 8) / 7.
    const batch = Math.sqrt((2.5 - 9 / 8) / 7) + 1e-4;
    expect(advantages(groups, 'batch')).toEqual(
      advantages(groups, 'none').map((row) => row.map((value) => expect.closeTo(value / batch, 12))),
    );
  });

  test.each<AdvantageScaling>(['group', 'batch', 'none'])('%s: as the reference defines it', (scaling) => {
    const random = randomStream(1, 'rewards');
    const drawn = Array.from({ length: 6 }, (_, g) => Array.from({ length: 3 + g }, () => random.uniform()));
    const expected = groupAdvantages(drawn, scaling);
    for (const [g, row] of advantages(drawn, scaling).entries()) {
      for (const [i, value] of row.entries()) expect(value).toBeCloseTo(expected[g]![i]!, 12);
      // Relative to the group: nothing is left in sum.
      expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(0, 10);
    }
  });

  test('zero-variance groups get none, not their rounding noise blown up', () => {
    // 0.1 + 0.2 is not 0.3: the mean of three differs from each in the last bit.
    const noise = [0.1 + 0.2, 0.3, 0.3];
    expect(noise[0]).not.toBe(noise[1]);
    for (const scaling of ['group', 'batch', 'none'] as const) {
      expect(advantages([noise, [0, 1]], scaling)[0]).toEqual([0, 0, 0]);
      expect(
        advantages(
          [
            [0.7, 0.7],
            [0, 1],
          ],
          scaling,
        )[0],
      ).toEqual([0, 0]);
      expect(advantages([noise, [0, 1]], scaling)[1]).not.toEqual([0, 0]);
    }
    expect([noise, [0.7, 0.7], [0, 1e-3]].map(hasVariance)).toEqual([false, false, true]);
  });

  test('standard deviation with n - 1', () => {
    // R: sd(c(2, 4, 4, 4, 5, 5, 7, 9)) is 2.138.
    expect(standardDeviation([2, 4, 4, 4, 5, 5, 7, 9])).toBeCloseTo(Math.sqrt(32 / 7), 12);
    expect(standardDeviation([3])).toBe(0);
  });
});

describe('tokenWeights', () => {
  test('by hand, the second of four completions masked', () => {
    const lengths = [2, 0, 5, 1];
    expect(tokenWeights(lengths, 'dapo', 6)).toEqual([1 / 8, 0, 1 / 8, 1 / 8]);
    expect(tokenWeights(lengths, 'grpo', 6)).toEqual([1 / 8, 0, 1 / 20, 1 / 4]);
    expect(tokenWeights(lengths, 'dr_grpo', 6)).toEqual([1 / 24, 0, 1 / 24, 1 / 24]);
    expect(tokenWeights([0, 0], 'dapo', 6)).toEqual([0, 0]);
  });

  test.each<LossNormalization>(['dapo', 'grpo', 'dr_grpo'])(
    '%s: the weighted sum of token losses is the loss of the paper',
    (normalisation) => {
      const random = randomStream(2, 'tokens');
      const numbers = (length: number) => Array.from({ length }, () => -random.uniform());
      const rows = [4, 6, 3, 1, 6].map((length, i) => ({
        logProbs: constant(numbers(length)),
        oldLogProbs: numbers(length),
        advantage: random.normal(),
        masked: i === 1,
      }));
      const options = { epsilonLow: 0.2, epsilonHigh: 0.3, beta: 0, normalisation, maxCompletionLength: 7 };
      const lengths = rows.map(({ masked, oldLogProbs }) => (masked ? 0 : oldLogProbs.length));
      const weights = tokenWeights(lengths, normalisation, 7);
      const found = rows.map(({ logProbs, oldLogProbs, advantage }, i) =>
        oldLogProbs.reduce((total, old, t) => {
          const ratio = Math.exp(logProbs.data[t]! - old);
          const clipped = Math.min(Math.max(ratio, 0.8), 1.3);
          return total - weights[i]! * Math.min(ratio * advantage, clipped * advantage);
        }, 0),
      );
      const loss = policyGradientLoss(rows, options).item();
      expect(found.reduce((a, b) => a + b, 0)).toBeCloseTo(loss, 12);
      expect(Math.abs(loss)).toBeGreaterThan(0.01);
    },
  );
});
