/** Merges the best rows of slices. For equal scores, the smaller row comes first. */
import type { SearchResult } from './types.js';

/**
 * The `limit` best of two lists of best rows for the same queries, in one pass. All rows of `a` are smaller than those
 * of `b`, so preferring `a` for equal scores prefers the smaller row.
 */
export function mergeBest(a: SearchResult, b: SearchResult, queries: number, limit: number): SearchResult {
  const k = Math.min(limit, a.k + b.k);
  const rows = new Int32Array(queries * k);
  const scores = new Float32Array(queries * k);
  for (let query = 0; query < queries; query++) {
    let left = query * a.k;
    let right = query * b.k;
    const leftEnd = left + a.k;
    const rightEnd = right + b.k;
    for (let at = query * k; at < (query + 1) * k; at++) {
      const fromLeft =
        right === rightEnd || (left < leftEnd && (a.scores[left] as number) >= (b.scores[right] as number));
      const from = fromLeft ? a : b;
      const index = fromLeft ? left++ : right++;
      rows[at] = from.rows[index] as number;
      scores[at] = from.scores[index] as number;
    }
  }
  return { k, rows, scores };
}

/**
 * All rows of a slice, counted from its start, sorted by score; of `scores` [queries * stride], the first `k` of each
 * query count.
 */
export function sortSlice(scores: Float32Array, stride: number, k: number): SearchResult {
  const queries = scores.length / stride;
  const result = { k, rows: new Int32Array(queries * k), scores: new Float32Array(queries * k) };
  for (let query = 0; query < queries; query++) {
    const own = scores.subarray(query * stride, query * stride + k);
    const order = Int32Array.from(own, (_, i) => i);
    order.sort((i, j) => (own[j] as number) - (own[i] as number) || i - j);
    for (let at = 0; at < k; at++) {
      const index = order[at] as number;
      result.rows[query * k + at] = index;
      result.scores[query * k + at] = own[index] as number;
    }
  }
  return result;
}
