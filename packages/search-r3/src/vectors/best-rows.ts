/**
 * The best of all rows, many per query, out of scores that come slice by slice. What scores no more than the k-th best so
 * far is passed over at the price of a comparison; the rest is collected, and sorted when there is twice as much as is
 * wanted. For few rows per query the engine's own TopK is as fast and keeps the scores out of JavaScript.
 */
import type { SearchResult } from './types.js';

export class BestRows {
  readonly #k: number;
  /** Rows collected per query at most: twice `k`, or all there are. */
  readonly #capacity: number;
  /** [queries * capacity]. */
  readonly #rows: Int32Array;
  readonly #scores: Float32Array;
  readonly #counts: Int32Array;
  /** Of each query, what a row must exceed. Removed ones, which score -Infinity, never do. */
  readonly #thresholds: Float32Array;

  /** The `k` best of `total` rows, for each query. */
  constructor(queries: number, k: number, total: number) {
    this.#k = k;
    this.#capacity = Math.min(2 * k, total);
    this.#rows = new Int32Array(queries * this.#capacity);
    this.#scores = new Float32Array(queries * this.#capacity);
    this.#counts = new Int32Array(queries);
    this.#thresholds = new Float32Array(queries).fill(Number.NEGATIVE_INFINITY);
  }

  /** Offers `count` rows from `first` on, after all that were offered before: their scores are [queries * stride]. */
  offer(scores: Float32Array, stride: number, count: number, first: number): void {
    const capacity = this.#capacity;
    for (let query = 0; query < this.#counts.length; query++) {
      let threshold = this.#thresholds[query] as number;
      let end = query * capacity + (this.#counts[query] as number);
      const start = query * stride - first;
      for (let row = first; row < first + count; row++) {
        const score = scores[start + row] as number;
        if (score <= threshold) continue;
        if (end === (query + 1) * capacity) {
          this.#counts[query] = capacity;
          this.#sort(query);
          end = query * capacity + this.#k;
          threshold = this.#scores[end - 1] as number;
          if (score <= threshold) continue;
        }
        this.#rows[end] = row;
        this.#scores[end] = score;
        end++;
      }
      this.#counts[query] = end - query * capacity;
      this.#thresholds[query] = threshold;
    }
  }

  /** Best first, equal scores in the order of their rows. */
  result(): SearchResult {
    const k = this.#k;
    const queries = this.#counts.length;
    const result = { k, rows: new Int32Array(queries * k), scores: new Float32Array(queries * k) };
    for (let query = 0; query < queries; query++) {
      this.#sort(query);
      const start = query * this.#capacity;
      result.rows.set(this.#rows.subarray(start, start + k), query * k);
      result.scores.set(this.#scores.subarray(start, start + k), query * k);
    }
    return result;
  }

  /** Sorts what was collected and keeps the `k` best. */
  #sort(query: number): void {
    const start = query * this.#capacity;
    const count = this.#counts[query] as number;
    const rows = this.#rows.slice(start, start + count);
    const scores = this.#scores.slice(start, start + count);
    // Collected in the order of their rows, but for the first `k`, which are sorted: so rows are compared too.
    const order = Int32Array.from(rows, (_, i) => i).sort(
      (i, j) => (scores[j] as number) - (scores[i] as number) || (rows[i] as number) - (rows[j] as number),
    );
    const kept = Math.min(this.#k, count);
    for (let i = 0; i < kept; i++) {
      const from = order[i] as number;
      this.#rows[start + i] = rows[from] as number;
      this.#scores[start + i] = scores[from] as number;
    }
    this.#counts[query] = kept;
  }
}
