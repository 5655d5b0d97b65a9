/** Batches of queries [queries * dimension], and results of which some are still to be computed. */
import { copyRows } from '../run/index.js';

/** The vector of a query: a view. */
export function queryOf(queries: Float32Array, query: number, dimension: number): Float32Array {
  return queries.subarray(query * dimension, (query + 1) * dimension);
}

/** The batch of some queries, by their numbers. */
export function pickQueries(
  queries: Float32Array,
  numbers: readonly number[],
  dimension: number,
): Float32Array {
  return copyRows(new Float32Array(numbers.length * dimension), queries, numbers, dimension);
}

/** Results of all queries: those that are there, and where one is undefined, what `compute` gives for these numbers. */
export async function completed<T>(
  results: readonly (T | undefined)[],
  compute: (open: readonly number[]) => Promise<T[]>,
): Promise<T[]> {
  const open = results.flatMap((result, query) => (result === undefined ? [query] : []));
  if (open.length === 0) return results as T[];
  const computed = await compute(open);
  const places = new Map(open.map((query, i) => [query, i]));
  return results.map((result, query) => result ?? (computed[places.get(query) as number] as T));
}

/** `wanted` numbers below `count`, evenly spread. */
export function evenly(count: number, wanted: number): number[] {
  return Array.from({ length: wanted }, (_, i) => Math.floor(((i + 0.5) * count) / wanted));
}
