/** The nearest neighbours of documents: a graph that is built on first use and repaired when vectors have changed. */
import type { State } from '../run/index.js';
import { NeighbourGraph, type VectorIndex } from '../vectors/index.js';

const PREFIX = 'neighbours:';

export class Neighbours {
  readonly #index: VectorIndex;
  readonly #count: number;
  #graph: NeighbourGraph | undefined;
  readonly #changed = new Set<number>();

  /** `count` neighbours per document of an index. */
  constructor(index: VectorIndex, count: number) {
    this.#index = index;
    this.#count = count;
  }

  /** Notes that the vectors of these rows changed or were removed. */
  changed(rows: readonly number[]): void {
    if (this.#graph !== undefined) for (const row of rows) this.#changed.add(row);
  }

  /** The nearest other documents of each row, nearest first, concatenated. */
  async of(rows: readonly number[]): Promise<number[]> {
    if (this.#count === 0 || rows.length === 0) return [];
    this.#graph ??= await NeighbourGraph.build(this.#index, { k: this.#count });
    if (this.#changed.size > 0) await this.#graph.update(this.#index, this.#changed);
    this.#changed.clear();
    return rows.flatMap((row) => [...(this.#graph as NeighbourGraph).neighbours(row)]);
  }

  state(): { graph: unknown; changed: number[]; arrays: State['arrays'] } {
    const { metadata, arrays } = this.#graph?.state() ?? { metadata: null, arrays: {} };
    const named = Object.entries(arrays).map(([name, array]) => [PREFIX + name, array]);
    return { graph: metadata, changed: [...this.#changed], arrays: Object.fromEntries(named) };
  }

  /** @throws InputError for an invalid graph. */
  restore(graph: unknown, changed: readonly number[], arrays: State['arrays']): void {
    const own = Object.entries(arrays).filter(([name]) => name.startsWith(PREFIX));
    const named = Object.fromEntries(own.map(([name, array]) => [name.slice(PREFIX.length), array]));
    this.#graph = graph === null ? undefined : NeighbourGraph.restore({ metadata: graph, arrays: named });
    this.#changed.clear();
    for (const row of changed) this.#changed.add(row);
  }
}
