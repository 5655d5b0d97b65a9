/** Batches of queries [queries * dimension], and partial results. */
import { copyRows } from '../run/index.js';

/** The vector of a query, as a view. */
export function queryOf(queries: Float32Array, query: number, dimension: number): Float32Array {
  return queries.subarray(query * dimension, (query + 1) * dimension);
}

/** The batch of the queries with these numbers. */
export function pickQueries(
  queries: Float32Array,
  numbers: readonly number[],
  dimension: number,
): Float32Array {
  return copyRows(new Float32Array(numbers.length * dimension), queries, numbers, dimension);
}

/** Fills in undefined results: `compute` gets the numbers of the open queries. */
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

/** `wanted` evenly spaced numbers below `count`. */
export function evenly(count: number, wanted: number): number[] {
  return Array.from({ length: wanted }, (_, i) => Math.floor(((i + 0.5) * count) / wanted));
}
