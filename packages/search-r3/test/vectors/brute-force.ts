/** What an index must find, by definition: in float64, one row at a time. */
import type { RandomStream } from 'search-r3/run';

/**
 * Vectors of small integers: their dot products are exact in float32 in any order of addition, so that results can be
 * compared exactly, and equal scores are frequent.
 */
export function integerMatrix(
  random: RandomStream,
  rows: number,
  dimension: number,
  limit = 3,
): Float32Array {
  return Float32Array.from({ length: rows * dimension }, () => random.integer(2 * limit + 1) - limit);
}

/** Random unit rows. */
export function unitMatrix(random: RandomStream, rows: number, dimension: number): Float32Array {
  const matrix = Float32Array.from({ length: rows * dimension }, () => random.normal());
  for (let row = 0; row < rows; row++) {
    const own = matrix.subarray(row * dimension, (row + 1) * dimension);
    const length = Math.hypot(...own);
    for (let i = 0; i < dimension; i++) own[i] = (own[i] as number) / length;
  }
  return matrix;
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

export const rowOf = (matrix: Float32Array, row: number, dimension: number): Float32Array =>
  matrix.subarray(row * dimension, (row + 1) * dimension);

/** Rows of `scores` (undefined: removed) by score; of equal scores, the smaller row first. */
export function ordered(scores: readonly (number | undefined)[]): number[] {
  return scores
    .flatMap((score, row) => (score === undefined ? [] : [{ score, row }]))
    .sort((a, b) => b.score - a.score || a.row - b.row)
    .map(({ row }) => row);
}

/** Rank by definition: sort all rows; at equal scores the others come first, then the positives in their order. */
export function rankOf(
  scores: readonly (number | undefined)[],
  positives: readonly number[],
  row: number,
): number {
  const place = (other: number) => (positives.includes(other) ? 1 + positives.indexOf(other) : 0);
  const order = scores
    .flatMap((score, other) => (score === undefined ? [] : [{ score, other }]))
    .sort((a, b) => b.score - a.score || place(a.other) - place(b.other));
  return 1 + order.findIndex(({ other }) => other === row);
}
