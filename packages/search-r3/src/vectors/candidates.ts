/** Scores and order of rows found by whatever means: recomputed from the vectors, so that equal vectors score equally. */
import type { VectorSource } from './graph.js';

/** Dot product, rounded to float32 once, at its end. */
export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return Math.fround(sum);
}

export interface ScoredRow {
  row: number;
  score: number;
}

/** The `limit` best of different rows, best first, of equal scores the smaller row. */
export function bestOf(
  source: VectorSource,
  query: Float32Array,
  rows: readonly number[],
  limit: number,
): ScoredRow[] {
  return rows
    .map((row) => ({ row, score: dot(query, source.vector(row)) }))
    .sort((a, b) => b.score - a.score || a.row - b.row)
    .slice(0, limit);
}

/**
 * The ranks of positives of these scores, given the best rows in order. Undefined where one may lie behind them.
 *
 * @param found the best rows; all there are, if `complete`.
 */
export function ranksAmong(
  found: readonly ScoredRow[],
  positives: readonly ScoredRow[],
  complete: boolean,
): number[] | undefined {
  const worst = complete ? Number.NEGATIVE_INFINITY : (found.at(-1)?.score ?? Number.POSITIVE_INFINITY);
  if (positives.some(({ score }) => score <= worst)) return undefined;
  const own = new Set(positives.map(({ row }) => row));
  return positives.map(({ score }, i) => {
    const others = found.filter((other) => other.score >= score && !own.has(other.row)).length;
    const before = positives.filter((other, j) => other.score > score || (other.score === score && j < i));
    return 1 + others + before.length;
  });
}
