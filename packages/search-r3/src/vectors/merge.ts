/** Best rows of slices, joined into the best rows of all. Equal scores: the smaller row first. */
import type { SearchResult } from './types.js';

/**
 * The `limit` best of two lists of best rows for the same queries, in one pass. All rows of `a` come before those of `b`,
 * so that preferring `a` where scores are equal is preferring the smaller row.
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
