/** Truncated importance sampling: ratios against their definition, and the term against the float64 reference. */

import { fullTraining } from 'search-r3/decoder';
import { afterFirst, corrected, importanceMetrics, importanceWarnings } from 'search-r3/rl';
import { GradientEngine, type StepRequest } from 'search-r3/train';
import { describe, expect, test } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';

const policy = tinyPolicy('importance', { layers: 1 });
const IDS = [
  [5, 3, 8, 1, 6, 2],
  [2, 9, 4],
];
/** Of the sampler, far from the trainer's in both directions. */
const SAMPLER = [
  [-1.5, -9, -2.2],
  [-6, -0.4],
];
const ADVANTAGES = [1.5, -0.8];
const WEIGHTS = [0.3, 0.7];
const CAP = 2;
const request: StepRequest = {
  temperature: 1.3,
  sequences: IDS.map((ids, i) => ({
    ids,
    labels: SAMPLER[i]!.map((value, at) => ({
      position: ids.length - 1 - SAMPLER[i]!.length + at,
      weight: WEIGHTS[i]!,
      advantage: ADVANTAGES[i]!,
      oldLogProbability: value,
    })),
  })),
};

/** Loss, gradients and log-probabilities of one update. */
async function computed(asked: StepRequest, importanceCap?: number) {
  const engine = new GradientEngine(policy.config, fullTraining(policy), {
    objective: { policyGradient: { clipLow: 0.2, clipHigh: 0.3, beta: 0, importanceCap } },
  });
  const { loss, gradients, labels } = await engine.compute(asked);
  const copy = new Map([...gradients].map(([name, values]) => [name, Float32Array.from(values)]));
  await engine.dispose();
  return { loss, gradients: copy, own: labels.logProbabilities!.map((row) => Array.from(row)) };
}

/** The gradient of sum of factor_t log p_t, which is what a policy gradient comes to where no ratio is clipped. */
async function weightedGradient(factors: readonly (readonly number[])[]) {
  const sequences = request.sequences.map((sequence, i) => ({
    ...sequence,
    // Without a ratio: old log-probabilities are the own ones, so that ratio 1 times the advantage 1 is left.
    labels: sequence.labels.map((label, at) => ({ ...label, weight: factors[i]![at]!, advantage: 1 })),
  }));
  return computed(corrected({ ...request, sequences }), 1e9);
}

const flat = (gradients: ReadonlyMap<string, Float32Array>) => [...gradients.values()].flatMap((v) => [...v]);
const distance = (a: readonly number[], b: readonly number[]) =>
  Math.hypot(...a.map((value, i) => value - b[i]!)) / Math.hypot(...b);

describe('the first update', () => {
  test('each token counts by min(p trainer / p sampler, cap), and its ratio is 1', async () => {
    const found = await computed(corrected(request), CAP);
    const importance = found.own.map((row, i) =>
      row.map((value, at) => Math.min(CAP, Math.exp(value - SAMPLER[i]![at]!))),
    );
    // Both sides of the cap occur.
    expect(importance.flat().filter((value) => value === CAP).length).toBeGreaterThan(0);
    expect(importance.flat().filter((value) => value < CAP).length).toBeGreaterThan(0);
    const loss = -importance.reduce(
      (total, row, i) => total + row.reduce((sum, value) => sum + WEIGHTS[i]! * ADVANTAGES[i]! * value, 0),
      0,
    );
    expect(found.loss).toBeCloseTo(loss, 4);
    // The loss of `weightedGradient` has importances of its own, which must not carry gradient: take them out.
    const plain = importance.map((row, i) =>
      row.map((value, at) => {
        const uncapped = Math.exp(found.own[i]![at]! - SAMPLER[i]![at]!);
        return (WEIGHTS[i]! * ADVANTAGES[i]! * value) / uncapped;
      }),
    );
    const expected = await weightedGradient(plain);
    expect(distance(flat(found.gradients), flat(expected.gradients))).toBeLessThan(1e-4);
  });

  test('with equal log-probabilities it is the update without a correction', async () => {
    const { own } = await computed(corrected(request), CAP);
    const same: StepRequest = {
      ...request,
      sequences: request.sequences.map((sequence, i) => ({
        ...sequence,
        labels: sequence.labels.map((label, at) => ({ ...label, oldLogProbability: own[i]![at]! })),
      })),
    };
    const [both, without] = [await computed(corrected(same), CAP), await computed(same)];
    expect(both.loss).toBeCloseTo(without.loss, 5);
    expect(distance(flat(both.gradients), flat(without.gradients))).toBeLessThan(1e-5);
  });
});

test('later updates compare to the first, and keep its importance', async () => {
  const first = corrected(request);
  const old = [Float32Array.of(-2, -1, -3), Float32Array.of(-2.5, -1.5)];
  const later = afterFirst(first, old);
  const found = await computed(later, CAP);
  const loss = -found.own.reduce(
    (total, row, i) =>
      total +
      row.reduce((sum, value, at) => {
        const ratio = Math.exp(value - old[i]![at]!);
        const clipped = Math.min(Math.max(ratio, 0.8), 1.3);
        const advantage = ADVANTAGES[i]!;
        const counts = Math.min(CAP, Math.exp(old[i]![at]! - SAMPLER[i]![at]!));
        return sum + WEIGHTS[i]! * counts * Math.min(ratio * advantage, clipped * advantage);
      }, 0),
    0,
  );
  expect(found.loss).toBeCloseTo(loss, 4);
});

describe('metrics', () => {
  const old = [Float32Array.of(-1, -2, -3), Float32Array.of(-4, -0.5)];
  test('mean and largest ratio, truncated share, mean difference', () => {
    const metrics = importanceMetrics(corrected(request), old, CAP);
    const ratios = old.flatMap((row, i) => [...row].map((value, at) => Math.exp(value - SAMPLER[i]![at]!)));
    expect(metrics.importance_mean).toBeCloseTo(ratios.reduce((a, b) => a + b) / 5, 6);
    expect(metrics.importance_max).toBeCloseTo(Math.exp(7), 3);
    expect(metrics.importance_truncated).toBe(ratios.filter((ratio) => ratio > CAP).length / 5);
    expect(metrics.sampler_kl).toBeCloseTo((0.5 + 7 - 0.8 + 2 - 0.1) / -5, 5);
  });

  test('a sampler that is far away is told, one that is near is not', () => {
    const far = { importance_mean: 1.3, importance_truncated: 0.01 };
    const cut = { importance_mean: 1.01, importance_truncated: 0.06 };
    for (const metrics of [far, cut]) {
      const [warning] = importanceWarnings(metrics, 'sampled in int8, trained in f32');
      expect(warning?.code).toBe('off_policy');
      expect(warning?.message).toContain('sampled in int8, trained in f32');
    }
    expect(importanceWarnings({ importance_mean: 0.9, importance_truncated: 0.04 }, '')).toEqual([]);
    expect(importanceWarnings({}, '')).toEqual([]);
  });
});
