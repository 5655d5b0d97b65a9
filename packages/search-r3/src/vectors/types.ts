/** The interface of exact and approximate vector indexes. */

/** The nearest rows of each query, best first. */
export interface SearchResult {
  /** Rows per query: as many as asked for, or all if there are fewer. */
  k: number;
  /** [queries * k]. */
  rows: Int32Array;
  /** [queries * k]: dot products, which are cosines for unit vectors. */
  scores: Float32Array;
}

/**
 * Vectors by row number. A row keeps its number: removing it leaves a gap, which is never found until the row is set
 * again. Do not change the index while a search is pending. Wrong lengths, unknown rows and numbers that are not finite
 * are RangeErrors.
 */
export interface VectorIndex {
  readonly dimension: number;
  /** Number of rows, including removed ones: the next appended row gets this number. */
  readonly size: number;
  /** Number of rows that can be found. */
  readonly live: number;
  /** Replaces all rows by those of a matrix [count * dimension]. */
  setAll(matrix: Float32Array, count: number): void | Promise<void>;
  /** Replaces the vector of a row, or restores a removed row. */
  set(row: number, vector: Float32Array): void | Promise<void>;
  /** Adds the rows of a matrix [rows * dimension]; returns the number of the first. */
  append(vectors: Float32Array): number | Promise<number>;
  /** Removes a row. */
  remove(row: number): void | Promise<void>;
  /** Whether the row exists and is not removed. */
  has(row: number): boolean;
  /** The vector of a row: a view that is valid until the index changes. */
  vector(row: number): Float32Array;
  /** The `k` rows nearest to each of the queries [queries * dimension], by dot product. */
  search(queries: Float32Array, k: number): Promise<SearchResult>;
  /** All scores, [queries * size], by an exact scan; -Infinity for removed rows. */
  scores(queries: Float32Array): Promise<Float32Array>;
  /**
   * The ranks, from 1, of each query's positive rows among all rows. A tie counts against the positive: any other row
   * with an equal score ranks before it. Positives of one query with equal scores rank in the order given.
   *
   * @param positives by query, distinct rows; a list may be empty.
   */
  ranks(queries: Float32Array, positives: readonly (readonly number[])[]): Promise<number[][]>;
  dispose(): Promise<void>;
}
