/**
 * A proximity graph (HNSW: Malkov and Yashunin, arXiv 1603.09320; the implementation is usearch) over the vectors of an
 * index. It never changes after it is built: a replaced or removed vector is only dropped from the rows that the graph
 * answers for. Changing such a graph in place erodes its recall (measured: docs/decisions/003). Dropping does not,
 * because searches still follow the links of dropped vectors.
 */
import { InputError } from '../run/errors.js';
import { transfer, WorkerThread } from '../run/workers/index.js';
import type { GraphShape, GraphWorker } from './graph-worker.js';
import { pickQueries } from './queries.js';

/** Vectors by row, with gaps. */
export interface VectorSource {
  readonly size: number;
  has(row: number): boolean;
  vector(row: number): Float32Array;
}

/** Vectors copied and added at a time; disposal waits for at most one such piece. */
const PIECE_ROWS = 2048;
/** A search that finds too few live rows is repeated with this many times the candidates. */
const WIDENING = 4;

export class Graph {
  readonly #shape: GraphShape;
  readonly #thread: WorkerThread<GraphWorker>;
  /** By row: 1 if the graph answers for it. Rows beyond the end are not in the graph. */
  #held: Uint8Array;
  #total = 0;
  #live = 0;

  /** An empty graph, to be filled or loaded. */
  constructor(shape: GraphShape) {
    this.#shape = shape;
    this.#thread = new WorkerThread(new URL('./graph-worker.js', import.meta.url), shape);
    this.#held = new Uint8Array(1024);
  }

  /** Vectors in the graph, including dropped ones. */
  get total(): number {
    return this.#total;
  }

  /** Vectors that the graph answers for. */
  get live(): number {
    return this.#live;
  }

  /**
   * Adds every vector of a source. The source may change meanwhile: a row that changes must be dropped; rows appended
   * to the source are added too.
   */
  async fill(source: VectorSource): Promise<void> {
    const { dimension } = this.#shape;
    for (let start = 0; start < source.size; start += PIECE_ROWS) {
      const rows: number[] = [];
      for (let row = start; row < Math.min(start + PIECE_ROWS, source.size); row++) {
        if (source.has(row)) rows.push(row);
      }
      const vectors = new Float32Array(rows.length * dimension);
      for (const [i, row] of rows.entries()) vectors.set(source.vector(row), i * dimension);
      this.#hold(rows);
      if (rows.length > 0) {
        await this.#thread.remote.add(Int32Array.from(rows), transfer(vectors, [vectors.buffer]));
      }
    }
  }

  /** Whether the graph answers for a row, with its current vector. */
  holds(row: number): boolean {
    return this.#held[row] === 1;
  }

  /** Drops a row that changed or was removed, so that it is not found by its old vector. */
  drop(row: number): void {
    if (!this.holds(row)) return;
    this.#held[row] = 0;
    this.#live--;
  }

  /**
   * By query, at least `k` (or all) of the nearest rows that the graph answers for, in no order. Undefined if a scan is
   * better: too many nearby rows are dropped, or too many are wanted.
   *
   * @param width candidates to consider, half of which must be live (ef of HNSW).
   */
  async candidates(queries: Float32Array, k: number, width: number): Promise<(number[] | undefined)[]> {
    const { dimension } = this.#shape;
    const enough = Math.min(this.#live, Math.max(k, width >> 1));
    const found: (number[] | undefined)[] = Array.from({ length: queries.length / dimension });
    // With as many candidates as vectors, a scan is better: it also finds rows that no link leads to.
    let open = Math.max(k, width) >= this.#total ? [] : found.map((_, query) => query);
    for (let wanted = Math.max(k, width); open.length > 0; wanted *= WIDENING) {
      const part = pickQueries(queries, open, dimension);
      const { rows, counts } = await this.#thread.remote.search(part, wanted);
      for (const [i, query] of open.entries()) {
        const own = rows.subarray(i * wanted, i * wanted + (counts[i] as number));
        const live = Array.from(own).filter((row) => this.holds(row));
        if (live.length >= enough) found[query] = live;
      }
      open = open.filter((query) => found[query] === undefined);
      if (wanted * WIDENING > this.#total) break;
    }
    return found;
  }

  /** Writes the graph to a file, including dropped vectors. */
  async save(path: string): Promise<void> {
    await this.#thread.remote.save(path);
  }

  /** Reads a graph of all rows below `size`. @throws InputError if the file holds a different graph. */
  async load(path: string, size: number): Promise<void> {
    const expected = `a graph of ${size} vectors of dimension ${this.#shape.dimension}`;
    const fail = (found: string) => new InputError({ source: path, expected, found });
    const contents = await this.#thread.remote.load(path).catch((error: Error) => {
      throw fail(`one that cannot be read (${error.message})`);
    });
    if (contents.size !== size || contents.dimension !== this.#shape.dimension) {
      throw fail(`one of ${contents.size} of dimension ${contents.dimension}`);
    }
    if (!contents.complete) throw fail('one with other rows');
    this.#hold(Array.from({ length: size }, (_, row) => row));
  }

  async dispose(): Promise<void> {
    await this.#thread.dispose();
  }

  #hold(rows: readonly number[]): void {
    const end = (rows.at(-1) ?? -1) + 1;
    if (end > this.#held.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#held.length));
      larger.set(this.#held);
      this.#held = larger;
    }
    for (const row of rows) this.#held[row] = 1;
    this.#total += rows.length;
    this.#live += rows.length;
  }
}
