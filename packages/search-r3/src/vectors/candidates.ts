/** Scores and ranks of candidate rows, recomputed from the vectors so that equal vectors have equal scores. */
import type { VectorSource } from './graph.js';

/** Dot product, rounded to float32 only at the end. */
export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return Math.fround(sum);
}

export interface ScoredRow {
  row: number;
  score: number;
}

/** The `limit` best of distinct rows, best first; for equal scores, the smaller row first. */
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
 * The ranks of positives, given the best rows in order. Undefined if a positive may rank behind these.
 *
 * @param found the best rows; all rows if `complete`.
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
