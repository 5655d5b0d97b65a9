/** Which documents lie next to which. */
import type { ExactIndex } from '../vectors/index.js';
import type { VectorStore } from './store.js';

/** The nearest neighbours of documents, as they are known. */
export interface NeighbourSource {
  /** By row asked for: the rows of its `count` nearest other documents, nearest first. */
  of(rows: readonly number[], count: number): Promise<readonly (readonly number[])[]>;
}

/** Neighbours by an exact scan of the vectors as they are now. */
export class ScannedNeighbours implements NeighbourSource {
  readonly #store: VectorStore;
  readonly #index: ExactIndex;

  constructor(store: VectorStore) {
    this.#store = store;
    this.#index = store.index;
  }

  async of(rows: readonly number[], count: number): Promise<number[][]> {
    if (rows.length === 0 || count === 0) return rows.map(() => []);
    // One more: most documents find themselves.
    const found = await this.#index.search(this.#store.gather(rows), count + 1);
    return rows.map((row, i) =>
      [...found.rows.subarray(i * found.k, (i + 1) * found.k)]
        .filter((other) => other !== row)
        .slice(0, count),
    );
  }
}
