/**
 * Fuses several rankings: reciprocal rank fusion (Cormack, Clarke and Büttcher 2009, SIGIR) and weighted sums of
 * normalised scores (Fox and Shaw 1994, TREC-2; Bruch, Gai and Ingber 2023, TOIS).
 */
import { z } from 'zod';
import type { Qrels, Rankings } from '../dataset/types.js';
import { InputError } from '../run/errors.js';
import { validate } from '../run/validate.js';
import { type MetricName, parseMetricName, scoreRankings } from './metrics.js';
import { rankDocuments } from './ranking.js';

const weights = z.array(z.number().min(0)).optional();

export interface ReciprocalRankOptions {
  /** Damps the advantage of the first ranks (default 60, from the paper). */
  k?: number;
  /** One weight per system, at least 0 (default: 1 each). */
  weights?: number[];
}

const reciprocalRankOptions = z.strictObject({ k: z.number().min(0).default(60), weights });

/**
 * Reciprocal rank fusion: the score of a document is the sum over the systems of weight / (k + rank); a system that
 * did not retrieve it adds nothing. Every query of any system is in the result.
 */
export function reciprocalRankFusion(
  systems: readonly Rankings[],
  options: ReciprocalRankOptions = {},
): Rankings {
  const parsed = validate(reciprocalRankOptions, options, 'reciprocalRankFusion options');
  return fuse(systems, parsed.weights, (scores) => {
    const parts = rankDocuments(scores).map(({ id }, i): [string, number] => [id, 1 / (parsed.k + i + 1)]);
    return { parts: new Map(parts), missing: 0 };
  });
}

export interface ScoreFusionOptions {
  /**
   * `min-max` (default) stretches the scores of each query and system to [0.001, 1], so that the last document
   * retrieved still beats one that was not; equal scores become 1. `z-score` gives the retrieved documents mean 0 and
   * standard deviation 1; equal scores become 0.
   */
  normalisation?: 'min-max' | 'z-score';
  /** One weight per system, at least 0 (default: 1 each). */
  weights?: number[];
}

const scoreFusionOptions = z.strictObject({
  normalisation: z.enum(['min-max', 'z-score']).default('min-max'),
  weights,
});

/**
 * Weighted sum of normalised scores. A document that a system did not retrieve gets 0 with `min-max`, and the system's
 * lowest normalised score with `z-score`.
 */
export function scoreFusion(systems: readonly Rankings[], options: ScoreFusionOptions = {}): Rankings {
  const parsed = validate(scoreFusionOptions, options, 'scoreFusion options');
  return fuse(systems, parsed.weights, (scores) => {
    if (parsed.normalisation === 'min-max') return { parts: minMax(scores), missing: 0 };
    const parts = zScore(scores);
    return { parts, missing: parts.size === 0 ? 0 : least(parts.values()) };
  });
}

function fuse(
  systems: readonly Rankings[],
  given: readonly number[] | undefined,
  contribution: (scores: ReadonlyMap<string, number>) => { parts: Map<string, number>; missing: number },
): Rankings {
  const systemWeights = given ?? systems.map(() => 1);
  if (systems.length === 0 || systemWeights.length !== systems.length) {
    const expected = `one weight for each of the ${systems.length} systems (at least one)`;
    throw new InputError({
      source: 'fusion',
      field: 'weights',
      expected,
      found: String(systemWeights.length),
    });
  }
  const fused: Rankings = new Map();
  for (const query of new Set(systems.flatMap((rankings) => [...rankings.keys()]))) {
    const contributions = systems.map((rankings) => contribution(rankings.get(query) ?? new Map()));
    const documents = new Set(contributions.flatMap(({ parts }) => [...parts.keys()]));
    const scores = new Map<string, number>();
    for (const id of documents) {
      let score = 0;
      for (const [i, { parts, missing }] of contributions.entries()) {
        score += (systemWeights[i] as number) * (parts.get(id) ?? missing);
      }
      scores.set(id, score);
    }
    fused.set(query, scores);
  }
  return fused;
}

/** The lowest normalised score of a retrieved document, as in OpenSearch. */
const LOWEST = 0.001;

function minMax(scores: ReadonlyMap<string, number>): Map<string, number> {
  const low = least(scores.values());
  let high = Number.NEGATIVE_INFINITY;
  for (const score of scores.values()) high = Math.max(high, score);
  return mapValues(scores, (score) => (high > low ? Math.max(LOWEST, (score - low) / (high - low)) : 1));
}

function zScore(scores: ReadonlyMap<string, number>): Map<string, number> {
  let mean = 0;
  for (const score of scores.values()) mean += score / scores.size;
  let variance = 0;
  for (const score of scores.values()) variance += (score - mean) ** 2 / scores.size;
  // Rounding of the mean leaves equal scores with a variance slightly above 0.
  const deviation = Math.sqrt(variance);
  return mapValues(scores, (score) => (deviation > 1e-12 * Math.abs(mean) ? (score - mean) / deviation : 0));
}

function least(values: Iterable<number>): number {
  let low = Number.POSITIVE_INFINITY;
  for (const value of values) low = Math.min(low, value);
  return low;
}

function mapValues(
  scores: ReadonlyMap<string, number>,
  change: (score: number) => number,
): Map<string, number> {
  return new Map(Array.from(scores, ([id, score]) => [id, change(score)]));
}

/** How two systems are fused: `reciprocal-rank`, or scores normalised by `min-max` or `z-score`. */
export type FusionMethod = 'reciprocal-rank' | 'min-max' | 'z-score';

/** Fuses two systems; `weight` (0 to 1) is the share of the second one, 1 - `weight` that of the first. */
export function fusePair(first: Rankings, second: Rankings, method: FusionMethod, weight: number): Rankings {
  const pair = { weights: [1 - weight, weight] };
  if (method === 'reciprocal-rank') return reciprocalRankFusion([first, second], pair);
  return scoreFusion([first, second], { ...pair, normalisation: method });
}

export interface TuneFusionOptions {
  /** Default `min-max`. */
  method?: FusionMethod;
  /** The metric to maximise (default `ndcg@10`). */
  metric?: MetricName;
  /** The grid of shares of the second system (default 0, 0.05, ..., 1). */
  grid?: number[];
}

/** Shares that are tried unless others are asked for: 0, 0.05, ..., 1. */
export const FUSION_SHARES: readonly number[] = Array.from({ length: 21 }, (_, i) => i / 20);

const tuneOptions = z.strictObject({
  method: z.enum(['reciprocal-rank', 'min-max', 'z-score']).default('min-max'),
  metric: z.string().transform(parseMetricName).default('ndcg@10'),
  grid: z
    .array(z.number().min(0).max(1))
    .nonempty()
    .default(() => [...FUSION_SHARES]),
});

export interface TunedFusion {
  method: FusionMethod;
  /** The best share of the second system; the smallest of equally good ones. */
  weight: number;
  /** The metric's mean at that weight. */
  score: number;
  /** The metric's mean at every weight of the grid. */
  curve: { weight: number; score: number }[];
}

/**
 * Chooses the weight of a fusion on training queries.
 * @param qrels of the training queries: never those the fusion is evaluated on.
 */
export function tuneFusionWeight(
  qrels: Qrels,
  first: Rankings,
  second: Rankings,
  options: TuneFusionOptions = {},
): TunedFusion {
  const { method, metric, grid } = validate(tuneOptions, options, 'tuneFusionWeight options');
  const curve = grid.map((weight) => ({
    weight,
    score: meanScore(qrels, fusePair(first, second, method, weight), metric),
  }));
  const best = curve.reduce((a, b) =>
    b.score > a.score || (b.score === a.score && b.weight < a.weight) ? b : a,
  );
  return { method, ...best, curve };
}

function meanScore<M extends MetricName>(qrels: Qrels, rankings: Rankings, metric: M): number {
  return scoreRankings(qrels, rankings, [metric])[metric].mean;
}
