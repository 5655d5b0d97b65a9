/** Compares systems on the same judgements: metrics with intervals, and tests of every pair of systems. */
import { z } from 'zod';
import type { Qrels, Rankings } from '../dataset/types.js';
import { InputError } from '../run/errors.js';
import { validate } from '../run/validate.js';
import {
  DEFAULT_METRICS,
  type DefaultMetric,
  type MetricName,
  type MetricOptions,
  type MetricScores,
  metricOptions,
  parseMetricName,
  scoreRankings,
} from './metrics.js';
import { bootstrapDifference, bootstrapInterval, type Interval, randomisationTest } from './significance.js';

export interface EvaluateOptions<M extends MetricName = DefaultMetric> extends MetricOptions {
  /** Default `DEFAULT_METRICS`. */
  metrics?: readonly M[];
  /** Coverage of the bootstrap intervals (default 0.95). */
  confidence?: number;
  /** Bootstrap samples (default 10,000). */
  resamples?: number;
  /** Sampled assignments of the randomisation test (default 100,000). */
  samples?: number;
  /** Seed of both tests (default 0). */
  seed?: number;
}

const evaluateOptions = metricOptions.extend({
  metrics: z
    .array(z.string().transform(parseMetricName))
    .nonempty()
    .default([...DEFAULT_METRICS]),
  confidence: z.number().gt(0).lt(1).default(0.95),
  resamples: z.int().positive().default(10_000),
  samples: z.int().positive().default(100_000),
  seed: z.int().default(0),
});

export interface SystemEvaluation<M extends MetricName = MetricName> {
  system: string;
  /** Number of queries in the means. */
  queries: number;
  scores: Record<M, MetricScores & { interval: Interval }>;
}

/** Two systems on one metric, over the queries scored for both. */
export interface Comparison<M extends MetricName = MetricName> {
  metric: M;
  baseline: string;
  system: string;
  queries: number;
  /** Mean of `system` minus mean of `baseline`. */
  difference: number;
  interval: Interval;
  /** Two-sided paired randomisation test, not corrected for the number of comparisons. */
  p: number;
}

export interface Evaluation<M extends MetricName = MetricName> {
  metrics: M[];
  confidence: number;
  systems: SystemEvaluation<M>[];
  /** Each pair once, the earlier named system as `baseline`; ordered by metric, then baseline, then system. */
  comparisons: Comparison<M>[];
}

/**
 * Evaluates named systems on the same judgements.
 * @throws InputError if there is no system, or nothing to average over.
 */
export function evaluateRankings<M extends MetricName = DefaultMetric>(
  qrels: Qrels,
  systems: Readonly<Record<string, Rankings>>,
  options: EvaluateOptions<M> = {},
): Evaluation<M> {
  const parsed = validate(evaluateOptions, options, 'evaluateRankings options');
  const { confidence, resamples, samples, seed, relevanceLevel, missing, excludeSelf } = parsed;
  const metrics = parsed.metrics as M[];
  if (Object.keys(systems).length === 0) {
    throw new InputError({
      source: 'evaluateRankings',
      field: 'systems',
      expected: 'at least one',
      found: 'none',
    });
  }
  const bootstrap = { confidence, resamples, seed };
  const evaluated = Object.entries(systems).map(([system, rankings]): SystemEvaluation<M> => {
    const means = scoreRankings(qrels, rankings, metrics, { relevanceLevel, missing, excludeSelf });
    const scores = {} as SystemEvaluation<M>['scores'];
    let queries = 0;
    for (const metric of metrics) {
      const values = [...means[metric].perQuery.values()];
      queries = values.length;
      scores[metric] = { ...means[metric], interval: bootstrapInterval(values, bootstrap) };
    }
    return { system, queries, scores };
  });
  const comparisons: Comparison<M>[] = [];
  for (const metric of metrics) {
    for (const [i, baseline] of evaluated.entries()) {
      for (const other of evaluated.slice(i + 1)) {
        const [a, b] = pairedScores(baseline.scores[metric].perQuery, other.scores[metric].perQuery);
        const names = { metric, baseline: baseline.system, system: other.system, queries: a.length };
        const { difference, p } = randomisationTest(a, b, { samples, seed });
        comparisons.push({ ...names, difference, interval: bootstrapDifference(a, b, bootstrap), p });
      }
    }
  }
  return { metrics, confidence, systems: evaluated, comparisons };
}

/** The scores of the queries in both maps, in the order of the first. */
export function pairedScores(
  first: ReadonlyMap<string, number>,
  second: ReadonlyMap<string, number>,
): [number[], number[]] {
  const a: number[] = [];
  const b: number[] = [];
  for (const [query, score] of first) {
    const other = second.get(query);
    if (other === undefined) continue;
    a.push(score);
    b.push(other);
  }
  return [a, b];
}
