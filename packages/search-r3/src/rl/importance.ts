/**
 * Rollouts that were sampled in other arithmetic than the trainer computes in (an int8 base): each token counts by the
 * ratio of both probabilities, truncated (`train/terms/policy-gradient.ts`), and the ratio is watched.
 */
import type { Metrics } from '../run/index.js';
import type { Label, StepRecord, StepRequest } from '../train/index.js';

/** Mean ratios further from 1 than this, or shares of truncated tokens above the other, are worth a warning. */
const MEAN_OFF = 0.2;
const TRUNCATED = 0.05;

/** The request with labels changed one by one. */
const withLabels = (
  request: StepRequest,
  change: (label: Label, sequence: number, at: number) => Label,
): StepRequest => ({
  ...request,
  sequences: request.sequences.map((sequence, i) => ({
    ...sequence,
    labels: sequence.labels.map((label, at) => change(label, i, at)),
  })),
});

/** A request whose old log-probabilities are the sampler's, for the first update with a correction. */
export const corrected = (request: StepRequest): StepRequest =>
  withLabels({ ...request, first: true }, ({ oldLogProbability = 0, ...label }) => ({
    ...label,
    samplerLogProbability: oldLogProbability,
  }));

/** The same for later updates: the old log-probabilities are those that the trainer had in the first. */
export const afterFirst = (request: StepRequest, old: readonly Float32Array[]): StepRequest =>
  withLabels({ ...request, first: false }, (label, sequence, at) => ({
    ...label,
    oldLogProbability: old[sequence]?.[at] as number,
  }));

/**
 * How far the sampler was from the trainer: mean and largest ratio of probabilities, the share of tokens whose ratio was
 * cut at the cap, and the mean of the sampler's log-probabilities minus the trainer's.
 * @param old the trainer's log-probabilities in the first update.
 */
export function importanceMetrics(
  { sequences }: StepRequest,
  old: readonly Float32Array[],
  cap: number,
): Metrics {
  let [count, sum, largest, cut, distance] = [0, 0, 0, 0, 0];
  for (const [i, { labels }] of sequences.entries()) {
    for (const [at, { samplerLogProbability }] of labels.entries()) {
      if (samplerLogProbability === undefined) continue;
      const difference = (old[i]?.[at] as number) - samplerLogProbability;
      const ratio = Math.exp(difference);
      count++;
      sum += ratio;
      largest = Math.max(largest, ratio);
      distance -= difference;
      if (ratio > cap) cut++;
    }
  }
  const over = Math.max(1, count);
  return {
    importance_mean: sum / over,
    importance_max: largest,
    importance_truncated: cut / over,
    sampler_kl: distance / over,
  };
}

/** A warning if the sampler is too far away for a correction to help; `how` names both arithmetics. */
export function importanceWarnings(metrics: Metrics, how: string): NonNullable<StepRecord['warnings']> {
  const { importance_mean: mean, importance_truncated: truncated } = metrics;
  const far = Math.abs((mean ?? 1) - 1) > MEAN_OFF || (truncated ?? 0) > TRUNCATED;
  if (!far) return [];
  const found = `mean ratio ${mean?.toFixed(2)}, ${Math.round(100 * (truncated ?? 0))} % of the tokens truncated`;
  return [
    {
      code: 'off_policy',
      message: `rollouts are sampled with other probabilities than the trainer computes (${how}: ${found}). Sample as the trainer computes (lora.rollouts: base).`,
    },
  ];
}
