/** The reference losses on cases worked by hand from the cited formulas, and their gradients by central differences. */
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { numericalGradient, relativeError } from './finite-differences.js';
import {
  crossEntropy,
  dcgReward,
  groupAdvantages,
  infoNce,
  k3,
  klToBase,
  type LossNormalisation,
  policyGradientLoss,
  policyGradientTokens,
  tokenLogProbs,
  tripletMargin,
} from './losses.js';
import { constant, gradients, logSoftmax, parameter, sizeOf, type Tensor } from './tape.js';

const random = randomStream(4, 'losses');
const normal = (shape: readonly number[]): Tensor =>
  parameter(
    Array.from({ length: sizeOf(shape) }, () => random.normal()),
    shape,
  );
const ln = Math.log;

function expectGradients(inputs: readonly Tensor[], loss: () => Tensor): void {
  for (const [i, gradient] of gradients(loss(), inputs).entries()) {
    const expected = numericalGradient(() => loss().item(), inputs[i]!.data);
    expect(relativeError(gradient, expected), `input ${i}`).toBeLessThan(1e-8);
  }
}

describe('cross-entropy', () => {
  // Rows (1/4, 3/4) and (1/2, 1/2) in logits.
  const logits = constant([0, ln(3), 5, 5], [2, 2]);

  test('mean of -log p over the rows', () => {
    expect(crossEntropy(logits, [0, 1]).item()).toBeCloseTo((ln(4) + ln(2)) / 2, 12);
  });

  test('weights are divided by their sum; weight 0 leaves a row out', () => {
    expect(crossEntropy(logits, [0, 1], [3, 1]).item()).toBeCloseTo((3 * ln(4) + ln(2)) / 4, 12);
    expect(crossEntropy(logits, [1, 0], [0, 2]).item()).toBeCloseTo(ln(2), 12);
  });

  test('gradient', () => {
    const x = normal([3, 5]);
    expectGradients([x], () => crossEntropy(x, [4, 0, 0], [1, 0.5, 2]));
  });
});

describe('KL to the base', () => {
  test('base (1/2, 1/2) against policy (1/4, 3/4): (ln 2 + ln 2/3) / 2', () => {
    const policy = constant([ln(1 / 4), ln(3 / 4)], [1, 2]);
    expect(klToBase(constant([7, 7], [1, 2]), policy, 2).item()).toBeCloseTo((ln(2) + ln(2 / 3)) / 2, 12);
  });

  test('columns from the new vocabulary on change nothing and get no gradient', () => {
    const base = constant([0.3, -1, 9], [1, 3]);
    const x = parameter([0.5, 1.5, 4], [1, 3]);
    const loss = klToBase(base, x, 2);
    expect(loss.item()).toBeCloseTo(
      klToBase(constant([0.3, -1], [1, 2]), constant([0.5, 1.5], [1, 2]), 2).item(),
      14,
    );
    const [gradient] = gradients(loss, [x]);
    // p_policy - p_base of the first of two columns.
    expect(gradient![0]).toBeCloseTo(1 / (1 + Math.exp(1)) - 1 / (1 + Math.exp(-1.3)), 12);
    expect(gradient![1]).toBeCloseTo(-gradient![0]!, 12);
    expect(gradient![2]).toBe(0);
  });

  test('gradient, with weights; none to the base', () => {
    const [base, x] = [normal([3, 4]), normal([3, 4])];
    expectGradients([x], () => klToBase(base, x, 3, [1, 0, 3]));
    expect(Array.from(gradients(klToBase(base, x, 3), [base])[0]!)).toEqual(new Array(12).fill(0));
  });
});

describe('InfoNCE (van den Oord et al. 2018)', () => {
  // Lengths differ on purpose: only directions count. Cosines: query 0: 1, 0, 0.6; query 1: 0, 1, 0.8.
  const queries = constant([2, 0, 0, 0.5], [2, 2]);
  const documents = constant([3, 0, 0, 1, 6, 8], [3, 2]);
  const row = (positive: number, ...all: number[]) =>
    -ln(Math.exp(positive / 0.5) / all.reduce((total, c) => total + Math.exp(c / 0.5), 0));

  test('query to documents, mean over the queries', () => {
    const expected = (row(1, 1, 0, 0.6) + row(0.8, 0, 1, 0.8)) / 2;
    expect(infoNce(queries, documents, [0, 2], 0.5).item()).toBeCloseTo(expected, 12);
  });

  test('false negatives leave the denominator, the positive never does', () => {
    const excluded = [
      [true, false, true],
      [false, true, false],
    ];
    const expected = (row(1, 1, 0) + row(0.8, 0, 0.8)) / 2;
    expect(infoNce(queries, documents, [0, 2], 0.5, excluded).item()).toBeCloseTo(expected, 12);
  });

  test('weights', () => {
    const expected = (row(1, 1, 0, 0.6) + 3 * row(0.8, 0, 1, 0.8)) / 4;
    expect(infoNce(queries, documents, [0, 2], 0.5, undefined, [1, 3]).item()).toBeCloseTo(expected, 12);
  });

  test('gradient', () => {
    const [q, d] = [normal([2, 3]), normal([4, 3])];
    const excluded = [
      [false, true, false, false],
      [false, false, false, true],
    ];
    expectGradients([q, d], () => infoNce(q, d, [0, 2], 0.3, excluded));
  });
});

describe('triplet margin (Schroff et al. 2015)', () => {
  const anchors = constant([1, 0, 0, 2], [2, 2]);
  const positives = constant([3, 4, 0, 1], [2, 2]);
  const negatives = constant([4, 3, 1, 0], [2, 2]);

  test('on cosines: 0.6 against 0.8 is 0.2 + margin over; 1 against 0 is inside', () => {
    expect(tripletMargin(anchors, positives, negatives, 0.15).item()).toBeCloseTo((0.35 + 0) / 2, 12);
    expect(tripletMargin(anchors, positives, negatives, 0.15, [3, 1]).item()).toBeCloseTo((3 * 0.35) / 4, 12);
  });

  test('is half of the squared-distance form on unit vectors at twice the margin', () => {
    const unit = (x: number[]) => x.map((value) => value / Math.hypot(...x));
    const distance = (a: number[], b: number[]) => a.reduce((d, value, i) => d + (value - b[i]!) ** 2, 0);
    const [a, p, n] = [
      [1, 2, -1],
      [2, 1, 1],
      [1, 1, -2],
    ].map(unit) as [number[], number[], number[]];
    const expected = Math.max(0, distance(a, p) - distance(a, n) + 0.6) / 2;
    const found = tripletMargin(constant(a, [1, 3]), constant(p, [1, 3]), constant(n, [1, 3]), 0.3);
    expect(expected).toBeGreaterThan(0.3);
    expect(found.item()).toBeCloseTo(expected, 12);
  });

  test('gradient', () => {
    const [a, p, n] = [normal([3, 4]), normal([3, 4]), normal([3, 4])];
    expectGradients([a, p, n], () => tripletMargin(a, p, n, 2.5));
  });
});

test('token log-probabilities: row t predicts token t + 1, divided by the temperature', () => {
  const logits = constant([0, 0, 0, ln(9), 2, 2, ln(4), 0, 50, 60], [5, 2]);
  // From token 2 on: rows 1 (0, ln 9), 2 (2, 2) and 3 (ln 4, 0); temperature 2 takes square roots of the odds.
  const found = tokenLogProbs(logits, [0, 0, 1, 1, 0], 2, 2);
  expect(Array.from(found.data)).toEqual([ln(3 / 4), ln(1 / 2), ln(2 / 3)].map((v) => expect.closeTo(v, 12)));
});

describe("k3 (Schulman, 'Approximating KL divergence', 2020)", () => {
  test('policy 1/2, reference 1/4: 1/2 - ln 1/2 - 1', () => {
    expect(k3(constant([ln(0.5)]), constant([ln(0.25)])).item()).toBeCloseTo(0.5 + ln(2) - 1, 12);
  });

  test('its expectation under the policy is the KL divergence', () => {
    const p = logSoftmax(constant([0.3, -1, 2]));
    const q = logSoftmax(constant([1, 0.5, -0.4]));
    const kl = p.data.reduce((total, lp, i) => total + Math.exp(lp) * (lp - q.data[i]!), 0);
    const expectation = k3(p, q).data.reduce((total, value, i) => total + Math.exp(p.data[i]!) * value, 0);
    expect(expectation).toBeCloseTo(kl, 12);
  });
});

describe('clipped policy gradient', () => {
  const OPTIONS = {
    epsilonLow: 0.2,
    epsilonHigh: 0.28,
    beta: 0,
    normalisation: 'dapo',
    maxCompletionLength: 10,
  } as const;
  const tokenLoss = (ratio: number, advantage: number) =>
    policyGradientTokens({ logProbs: constant([ln(ratio)]), oldLogProbs: [0], advantage }, OPTIONS).item();

  test.each([
    [1, 2, -2],
    [1.5, 2, -1.28 * 2],
    [0.5, 2, -0.5 * 2],
    [1.5, -2, 1.5 * 2],
    [0.5, -2, 0.8 * 2],
  ])('ratio %d, advantage %d: %d', (ratio, advantage, expected) => {
    expect(tokenLoss(ratio, advantage)).toBeCloseTo(expected, 12);
  });

  test('on the policy that sampled, the gradient is that of -advantage log p', () => {
    const logProbs = parameter([-1, -2.5], [2]);
    const row = { logProbs, oldLogProbs: [-1, -2.5], advantage: 0.7 };
    expect(Array.from(gradients(policyGradientLoss([row], OPTIONS), [logProbs])[0]!)).toEqual([
      expect.closeTo(-0.35, 12),
      expect.closeTo(-0.35, 12),
    ]);
  });

  test('a clipped ratio has no gradient', () => {
    const logProbs = parameter([ln(1.5), ln(0.5)], [2]);
    const gradient = (advantage: number) =>
      gradients(policyGradientLoss([{ logProbs, oldLogProbs: [0, 0], advantage }], OPTIONS), [logProbs])[0]!;
    expect(Array.from(gradient(1))).toEqual([expect.closeTo(0, 12), expect.closeTo(-0.25, 12)]);
    expect(Array.from(gradient(-1))).toEqual([expect.closeTo(0.75, 12), expect.closeTo(0, 12)]);
  });

  describe('reductions', () => {
    // Token losses at ratio 1 are -advantage: -4 once, 2 three times, and a masked sequence of two tokens.
    const rows = [
      { logProbs: constant([-1]), oldLogProbs: [-1], advantage: 4 },
      { logProbs: constant([-2, -1, -3]), oldLogProbs: [-2, -1, -3], advantage: -2 },
      { logProbs: constant([-2, -2]), oldLogProbs: [-2, -2], advantage: -5, masked: true },
    ];
    test.each<[LossNormalisation, string, number]>([
      ['dapo', 'Yu et al. 2025', (-4 + 3 * 2) / 4],
      ['grpo', 'Shao et al. 2024', (-4 + 2 + 0) / 3],
      ['dr_grpo', 'Liu et al. 2025', (-4 + 3 * 2) / (3 * 10)],
    ])('%s (%s): %d', (normalisation, _, expected) => {
      expect(policyGradientLoss(rows, { ...OPTIONS, normalisation }).item()).toBeCloseTo(expected, 12);
    });
  });

  test('beta adds k3 to the reference, at advantage 0 too', () => {
    const row = {
      logProbs: constant([ln(0.5), ln(0.25)]),
      oldLogProbs: [ln(0.5), ln(0.25)],
      referenceLogProbs: [ln(0.25), ln(0.25)],
      advantage: 0,
    };
    expect(policyGradientLoss([row], { ...OPTIONS, beta: 0.1 }).item()).toBeCloseTo(
      (0.1 * (0.5 + ln(2) - 1)) / 2,
      12,
    );
    const { referenceLogProbs: _, ...without } = row;
    expect(() => policyGradientLoss([without], { ...OPTIONS, beta: 0.1 })).toThrow(
      'beta needs the reference',
    );
  });

  test.each<LossNormalisation>(['dapo', 'grpo', 'dr_grpo'])('gradient, %s', (normalisation) => {
    const completions = [3, 5, 2].map((length, i) => {
      const logProbs = normal([length]);
      const near = () => Array.from(logProbs.data, (value) => value + 0.4 * random.normal());
      return {
        logProbs,
        oldLogProbs: near(),
        referenceLogProbs: near(),
        advantage: [1.3, -0.8, 0][i] as number,
      };
    });
    expectGradients(
      completions.map(({ logProbs }) => logProbs),
      () => policyGradientLoss(completions, { ...OPTIONS, beta: 0.05, normalisation }),
    );
  });
});

describe('group advantages', () => {
  // Standard deviations with Bessel's correction: 1 for (1, 2, 3), 0 for (5, 5, 5), sqrt(17.5 / 5) for all six.
  const groups = [
    [1, 2, 3],
    [5, 5, 5],
  ];

  test.each([
    ['group', 1 / (1 + 1e-4)],
    ['batch', 1 / (Math.sqrt(15.5 / 5) + 1e-4)],
    ['none', 1],
  ] as const)('%s', (scale, step) => {
    const [first, second] = groupAdvantages(groups, scale);
    expect(first).toEqual([-step, 0, step].map((value) => expect.closeTo(value, 12)));
    expect(second).toEqual([0, 0, 0]);
  });
});

describe('DCG reward (Jarvelin and Kekalainen 2002)', () => {
  const log2 = Math.log2;

  test('one positive at rank r is worth 1 / log2(r + 1)', () => {
    expect(dcgReward([0.9, 0.8, 0.7], [1, 0, 0])).toBe(1);
    expect(dcgReward([0.7, 0.9, 0.8], [1, 0, 0])).toBeCloseTo(1 / log2(4), 12);
  });

  test('graded judgements against the ideal order', () => {
    // By score: gains 1, 0, 3; ideally 3, 1, 0.
    const expected = (1 + 3 / log2(4)) / (3 + 1 / log2(3));
    expect(dcgReward([0.1, 0.9, 0.5], [3, 1, 0])).toBeCloseTo(expected, 12);
  });

  test('ties count against the positive, by order of gain', () => {
    expect(dcgReward([0.5, 0.5, 0.5, 0.1], [0, 1, 0, 0])).toBeCloseTo(1 / log2(4), 12);
    expect(dcgReward([0.5, 0.5], [2, 1])).toBeCloseTo((1 + 2 / log2(3)) / (2 + 1 / log2(3)), 12);
  });

  test('a cut takes the ranks after it from both sides', () => {
    expect(dcgReward([0.7, 0.9, 0.8], [1, 0, 0], 2)).toBe(0);
    expect(dcgReward([0.8, 0.9, 0.7], [1, 0, 1], 2)).toBeCloseTo(1 / log2(3) / (1 + 1 / log2(3)), 12);
  });

  test('without any judged document it is 0', () => {
    expect(dcgReward([0.7, 0.9], [0, 0])).toBe(0);
  });
});
