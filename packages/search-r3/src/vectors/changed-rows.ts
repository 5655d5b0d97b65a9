/** Copies of the vectors that the graph does not answer for, which are scanned exactly. */
import { ExactIndex } from './exact.js';
import type { VectorSource } from './graph.js';

export class ChangedRows {
  readonly #index: ExactIndex;
  /** Position of each row in the index. */
  readonly #places = new Map<number, number>();
  /** Row by position. */
  #rows: number[] = [];

  private constructor(index: ExactIndex) {
    this.#index = index;
  }

  static async create(dimension: number, threads: number): Promise<ChangedRows> {
    return new ChangedRows(await ExactIndex.create(dimension, { threads }));
  }

  get count(): number {
    return this.#index.live;
  }

  put(row: number, vector: Float32Array): void {
    const place = this.#places.get(row);
    if (place !== undefined) {
      this.#index.set(place, vector);
      return;
    }
    this.#places.set(row, this.#index.append(vector));
    this.#rows.push(row);
  }

  remove(row: number): void {
    const place = this.#places.get(row);
    if (place !== undefined && this.#index.has(place)) this.#index.remove(place);
  }

  /** Replaces the contents by these rows of a source. */
  replace(source: VectorSource, rows: number[]): void {
    this.#index.setAll(new Float32Array(0), 0);
    this.#places.clear();
    this.#rows = [];
    for (const row of rows) this.put(row, source.vector(row));
  }

  /** By query, the `k` nearest rows, or all if there are fewer. */
  async search(queries: Float32Array, k: number): Promise<number[][]> {
    const found = await this.#index.search(queries, k);
    return Array.from({ length: queries.length / this.#index.dimension }, (_, query) =>
      Array.from(
        found.rows.subarray(query * found.k, (query + 1) * found.k),
        (place) => this.#rows[place] as number,
      ),
    );
  }

  async dispose(): Promise<void> {
    await this.#index.dispose();
  }
}
