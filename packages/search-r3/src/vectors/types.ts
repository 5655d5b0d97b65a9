/** What every vector index promises, exact or approximate: rows are identities, removed ones are never found. */

/** The nearest rows of each query, best first. */
export interface SearchResult {
  /** Rows per query: what was asked for, or all rows where there are fewer. */
  k: number;
  /** [queries * k]. */
  rows: Int32Array;
  /** [queries * k], dot products: cosines where all vectors have length 1. */
  scores: Float32Array;
}

/**
 * Vectors by row number. A row keeps its number for ever: removing leaves a gap that nothing finds, setting the row fills
 * it again. Nothing may be changed while a search is pending. Wrong lengths, rows that are not there and numbers that
 * are not finite are RangeErrors.
 */
export interface VectorIndex {
  readonly dimension: number;
  /** Rows ever made, removed ones included: the next one appended gets this number. */
  readonly size: number;
  /** Rows that can be found. */
  readonly live: number;
  /** Replaces everything by the rows of a matrix [count * dimension]. */
  setAll(matrix: Float32Array, count: number): void | Promise<void>;
  /** Replaces the vector of a row, or brings a removed row back. */
  set(row: number, vector: Float32Array): void | Promise<void>;
  /** Adds the rows of a matrix [rows * dimension]; the number of the first. */
  append(vectors: Float32Array): number | Promise<number>;
  /** Removes a row. */
  remove(row: number): void | Promise<void>;
  /** Whether the row is there, and not removed. */
  has(row: number): boolean;
  /** The vector of a row: a view, good until the index changes. */
  vector(row: number): Float32Array;
  /** The `k` rows nearest to each of the queries [queries * dimension], by dot product. */
  search(queries: Float32Array, k: number): Promise<SearchResult>;
  /** All scores, [queries * size], by an exact scan; -Infinity for removed rows. */
  scores(queries: Float32Array): Promise<Float32Array>;
  /**
   * The ranks, from 1, of each query's positive rows among all rows. A tie counts against the positive: any other row
   * with an equal score ranks before it. Positives of one query with equal scores rank in the order given.
   *
   * @param positives per query, different rows; a list may be empty.
   */
  ranks(queries: Float32Array, positives: readonly (readonly number[])[]): Promise<number[][]>;
  dispose(): Promise<void>;
}
