/**
 * Retrieval metrics with trec_eval's definitions (github.com/usnistgov/trec_eval, m_ndcg_cut.c, m_map.c,
 * m_recip_rank.c, m_recall.c, m_P.c, m_success.c, form_res_rels.c):
 *
 * - a ranking is sorted by score descending, ties by document id descending, whatever its order in the input;
 * - nDCG: gain = grade, discount = log2(rank + 1), ideal ranking over all judged documents, both cut at k;
 * - MAP and recall divide by all relevant documents, retrieved or not; precision divides by k, even if fewer are
 * ranked;
 * - unjudged documents, and those with a negative grade, count as not relevant;
 * - a judged query without relevant documents counts as 0; a query without judgements does not count.
 */
import { z } from 'zod';
import type { Qrels, Rankings } from '../dataset/types.js';
import { InputError } from '../run/errors.js';
import { validate } from '../run/validate.js';
import { rankDocuments } from './ranking.js';

/** Measures with an optional cutoff; without one, they cover the whole ranking. */
const UNCUT = ['ndcg', 'map', 'mrr'] as const;
/** Measures that need a cutoff. */
const CUT = ['recall', 'precision', 'success'] as const;

type Measure = (typeof UNCUT)[number] | (typeof CUT)[number];

/**
 * For example `ndcg@10`, `map`, `mrr@10`, `recall@100`, `precision@5`, `success@1`. `mrr` is trec_eval's recip_rank.
 */
export type MetricName = (typeof UNCUT)[number] | `${Measure}@${number}`;

/** What BEIR papers report. */
export const DEFAULT_METRICS = ['ndcg@10', 'map', 'mrr@10', 'recall@100'] as const satisfies MetricName[];
export type DefaultMetric = (typeof DEFAULT_METRICS)[number];

/** Checks the name of a metric. @throws InputError if there is no such metric. */
export function parseMetricName(name: string): MetricName {
  splitName(name);
  return name as MetricName;
}

function splitName(name: string): { measure: Measure; cutoff: number } {
  const match = /^(?<measure>[a-z]+)(?:@(?<cutoff>[1-9]\d*))?$/.exec(name);
  const measure = [...UNCUT, ...CUT].find((known) => known === match?.groups?.measure);
  const cutoff = match?.groups?.cutoff;
  if (measure === undefined || (cutoff === undefined && CUT.some((known) => known === measure))) {
    const expected = `${UNCUT.join(', ')}, or ${[...UNCUT, ...CUT].map((known) => `${known}@k`).join(', ')}`;
    throw new InputError({ source: 'metrics', expected, found: `"${name}"` });
  }
  return { measure, cutoff: cutoff === undefined ? Number.POSITIVE_INFINITY : Number(cutoff) };
}

export interface MetricOptions {
  /** The lowest grade that is relevant, for all metrics but nDCG (default 1); trec_eval's `-l`. */
  relevanceLevel?: number;
  /**
   * What to do with a judged query that has no ranking or an empty one: `zero` counts it as 0 (default; trec_eval's
   * `-c`), `skip` leaves it out of the mean (trec_eval without `-c`).
   */
  missing?: 'zero' | 'skip';
  /**
   * Drop the document with the query's id from each ranking (default false), as BEIR does for queries that are
   * documents (ArguAna, Quora). Judgements stay as they are. Rankings of `RetrieverEvaluation` do not need this option.
   */
  excludeSelf?: boolean;
}

export const metricOptions = z.strictObject({
  relevanceLevel: z.int().positive().default(1),
  missing: z.enum(['zero', 'skip']).default('zero'),
  excludeSelf: z.boolean().default(false),
});

/** A metric over a set of queries. */
export interface MetricScores {
  /** Over the counted queries (see `MetricOptions.missing`). */
  mean: number;
  perQuery: Map<string, number>;
}

/**
 * Scores rankings against judgements.
 * @param metrics default `DEFAULT_METRICS`.
 * @throws InputError if no query is left to average over, or a score is NaN.
 */
export function scoreRankings<M extends MetricName = DefaultMetric>(
  qrels: Qrels,
  rankings: Rankings,
  metrics: readonly M[] = DEFAULT_METRICS as readonly MetricName[] as readonly M[],
  options: MetricOptions = {},
): Record<M, MetricScores> {
  const { relevanceLevel, missing, excludeSelf } = validate(metricOptions, options, 'metric options');
  const result = {} as Record<M, MetricScores>;
  for (const metric of metrics) result[metric] = { mean: 0, perQuery: new Map() };
  for (const [query, judgements] of qrels) {
    if (judgements.size === 0) continue;
    const retrieved = rankings.get(query);
    if (missing === 'skip' && (retrieved === undefined || retrieved.size === 0)) continue;
    const ranking = rankDocuments(retrieved ?? new Map());
    const nan = ranking.find(({ score }) => Number.isNaN(score));
    if (nan !== undefined) {
      const field = `query "${query}", document "${nan.id}"`;
      throw new InputError({ source: 'rankings', field, expected: 'a number as score', found: 'NaN' });
    }
    const kept = excludeSelf ? ranking.filter(({ id }) => id !== query) : ranking;
    const grades = kept.map(({ id }) => judgements.get(id) ?? 0);
    const judged = [...judgements.values()];
    for (const metric of metrics) {
      result[metric].perQuery.set(query, scoreQuery(metric, grades, judged, relevanceLevel));
    }
  }
  for (const metric of metrics) {
    const scores = result[metric];
    if (scores.perQuery.size === 0) {
      const found = `none (${qrels.size} judged, ${rankings.size} ranked)`;
      throw new InputError({ source: 'qrels and rankings', expected: 'a query that is in both', found });
    }
    let sum = 0;
    for (const value of scores.perQuery.values()) sum += value;
    scores.mean = sum / scores.perQuery.size;
  }
  return result;
}

/**
 * One metric for one query.
 * @param grades of the retrieved documents, best ranked first; 0 for an unjudged one.
 * @param judged the grades of all judged documents, in any order.
 */
export function scoreQuery(
  metric: MetricName,
  grades: readonly number[],
  judged: readonly number[],
  relevanceLevel = 1,
): number {
  const { measure, cutoff } = splitName(metric);
  const relevant = judged.filter((grade) => grade >= relevanceLevel).length;
  const top = grades.slice(0, cutoff).map((grade) => grade >= relevanceLevel);
  const found = top.filter(Boolean).length;
  switch (measure) {
    case 'ndcg': {
      const ideal = idealDcg(judged, cutoff);
      return ideal === 0 ? 0 : dcg(grades, cutoff) / ideal;
    }
    case 'map':
      return relevant === 0 ? 0 : precisionSum(top) / relevant;
    case 'mrr': {
      const first = top.indexOf(true);
      return first === -1 ? 0 : 1 / (first + 1);
    }
    case 'recall':
      return relevant === 0 ? 0 : found / relevant;
    case 'precision':
      return found / cutoff;
    case 'success':
      return found > 0 ? 1 : 0;
    default:
      return measure satisfies never;
  }
}

/** Discounted cumulative gain of grades in ranked order: the sum of grade / log2(rank + 1), grades below 0 as 0. */
export function dcg(grades: readonly number[], cutoff = Number.POSITIVE_INFINITY): number {
  let sum = 0;
  for (const [i, grade] of grades.slice(0, cutoff).entries()) {
    if (grade > 0) sum += grade / Math.log2(i + 2);
  }
  return sum;
}

/** The DCG of the best possible ranking of the judged documents; 0 if none has a positive grade. */
export function idealDcg(judged: readonly number[], cutoff = Number.POSITIVE_INFINITY): number {
  return dcg(
    judged.toSorted((a, b) => b - a),
    cutoff,
  );
}

/** The sum, over the relevant documents retrieved, of the precision at their rank. */
function precisionSum(relevant: readonly boolean[]): number {
  let found = 0;
  let sum = 0;
  for (const [i, isRelevant] of relevant.entries()) {
    if (!isRelevant) continue;
    found++;
    sum += found / (i + 1);
  }
  return sum;
}
