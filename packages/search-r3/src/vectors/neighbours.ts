/**
 * The nearest neighbours of every row of an index, repaired when vectors change: the neighbourhoods of the `region`
 * policy of the selective environment.
 *
 * A list holds a reserve beyond the neighbours asked for, and a bound: it contains every row that comes before the
 * bound in the order of scores. Changes remove and insert rows; only a list that has lost its whole reserve is searched
 * for again. So the lists are as exact as the searches.
 */
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import type { State } from '../run/state-file.js';
import { validate } from '../run/validate.js';
import { queryOf } from './queries.js';
import type { VectorIndex } from './types.js';

const optionsSchema = z.strictObject({
  /** Neighbours per row. Default 10. */
  k: z.int().positive().default(10),
  /** Rows a list can lose before it is searched for again. Default 10. */
  reserve: z.int().nonnegative().default(10),
});

export type NeighbourOptions = z.input<typeof optionsSchema>;

export interface NeighbourRepair {
  /** Lists renewed because their row changed. */
  renewed: number;
  /** Lists of other rows that lost their reserve and were searched for again. */
  searched: number;
}

/** Rows searched for at once while lists are built. */
const SEARCH_ROWS = 256;
/** Scores held at once while lists are repaired. */
const BLOCK_SCORES = 1 << 24;
const NONE = -1;

/** Neighbours by dot product; for equal scores, the smaller row first. A row is not its own neighbour. */
export class NeighbourGraph {
  readonly k: number;
  /** Maximum number of rows in a list. */
  readonly #length: number;
  /** [size * length]: best first, `NONE` after the last. */
  #rows = new Int32Array(0);
  #scores = new Float32Array(0);
  /** [size]: the bound of each list; rows behind it are unknown. */
  #boundScores = new Float32Array(0);
  #boundRows = new Int32Array(0);

  private constructor({ k, reserve }: z.output<typeof optionsSchema>) {
    this.k = k;
    this.#length = k + reserve;
  }

  /** Searches for the neighbours of all rows of an index; the lists are as exact as its search. */
  static async build(index: VectorIndex, options: NeighbourOptions = {}): Promise<NeighbourGraph> {
    const graph = new NeighbourGraph(validate(optionsSchema, options, 'NeighbourGraph options'));
    graph.#resize(index.size);
    await graph.#searchFor(
      index,
      Array.from({ length: index.size }, (_, row) => row).filter((row) => index.has(row)),
    );
    return graph;
  }

  /** Number of rows with a list, including removed ones. */
  get size(): number {
    return this.#boundRows.length;
  }

  /** The `k` nearest rows (or all others), best first; none for a removed row. A view that is valid until `update`. */
  neighbours(row: number): Int32Array {
    if (!Number.isInteger(row) || row < 0 || row >= this.size) {
      throw new RangeError(`neighbours: expected a row below ${this.size}, found ${row}`);
    }
    return this.#rows.subarray(row * this.#length, row * this.#length + Math.min(this.k, this.#count(row)));
  }

  /**
   * Repairs the lists, by exact scans, after rows were replaced, added or removed in the index.
   *
   * @param changed every row that changed since `build` or the last `update`; may contain duplicates.
   */
  async update(index: VectorIndex, changed: Iterable<number>): Promise<NeighbourRepair> {
    this.#resize(index.size);
    const rows = [...new Set(changed)];
    const isChanged = new Uint8Array(this.size);
    for (const row of rows) isChanged[row] = 1;
    for (let row = 0; row < this.size; row++) this.#forget(row, isChanged);
    const renewed = rows.filter((row) => index.has(row));
    const queries = Math.max(1, Math.floor(BLOCK_SCORES / Math.max(1, this.size)));
    for (let start = 0; start < renewed.length; start += queries) {
      await this.#scan(index, renewed.slice(start, start + queries), isChanged);
    }
    const enough = Math.min(this.k, index.live - 1);
    const short: number[] = [];
    for (let row = 0; row < this.size; row++) {
      if (index.has(row) && this.#count(row) < enough) short.push(row);
    }
    await this.#searchFor(index, short);
    return { renewed: renewed.length, searched: short.length };
  }

  /** Everything a checkpoint needs. */
  state(): State {
    return {
      metadata: { kind: 'neighbours', k: this.k, reserve: this.#length - this.k, size: this.size },
      arrays: {
        rows: this.#rows.slice(),
        scores: this.#scores.slice(),
        boundScores: this.#boundScores.slice(),
        boundRows: this.#boundRows.slice(),
      },
    };
  }

  /** The graph with this state. @throws InputError if the state is invalid or contradicts itself. */
  static restore(state: State): NeighbourGraph {
    const source = 'neighbour graph state';
    const schema = z.strictObject({
      ...optionsSchema.shape,
      kind: z.literal('neighbours'),
      size: z.int().nonnegative(),
    });
    const { k, reserve, size } = validate(schema, state.metadata, source);
    const graph = new NeighbourGraph({ k, reserve });
    const cells = size * graph.#length;
    graph.#rows = numbers(source, 'rows', state.arrays.rows, Int32Array, cells);
    graph.#scores = numbers(source, 'scores', state.arrays.scores, Float32Array, cells);
    graph.#boundScores = numbers(source, 'boundScores', state.arrays.boundScores, Float32Array, size);
    graph.#boundRows = numbers(source, 'boundRows', state.arrays.boundRows, Int32Array, size);
    const stray = graph.#rows.find((row) => row < NONE || row >= size);
    if (stray !== undefined) {
      throw new InputError({ source, field: 'rows', expected: `rows below ${size}`, found: String(stray) });
    }
    return graph;
  }

  /** Builds new lists with the search of the index. */
  async #searchFor(index: VectorIndex, rows: readonly number[]): Promise<void> {
    for (let start = 0; start < rows.length; start += SEARCH_ROWS) {
      const own = rows.slice(start, start + SEARCH_ROWS);
      const found = await index.search(vectorsOf(index, own), this.#length + 1);
      for (const [i, row] of own.entries()) {
        this.#clear(row);
        const end = (i + 1) * found.k;
        for (let at = i * found.k; at < end; at++) {
          const other = found.rows[at] as number;
          if (other !== row) this.#insert(row, other, found.scores[at] as number);
        }
        if (found.k < index.live)
          this.#limit(row, found.scores[end - 1] as number, found.rows[end - 1] as number);
      }
    }
  }

  /** Builds new lists of these rows from all their scores, and inserts the rows into the lists of others. */
  async #scan(index: VectorIndex, rows: readonly number[], isChanged: Uint8Array): Promise<void> {
    const scores = await index.scores(vectorsOf(index, rows));
    for (const [i, row] of rows.entries()) {
      const own = queryOf(scores, i, this.size);
      this.#clear(row);
      for (let other = 0; other < own.length; other++) {
        const score = own[other] as number;
        if (other === row || score === Number.NEGATIVE_INFINITY) continue;
        if (score >= (this.#boundScores[row] as number)) this.#insert(row, other, score);
        // Changed rows find each other in their own scans.
        if (score >= (this.#boundScores[other] as number) && isChanged[other] === 0)
          this.#insert(other, row, score);
      }
    }
  }

  /** Removes the changed rows from a list, or everything if its own row changed. The bound stays. */
  #forget(row: number, isChanged: Uint8Array): void {
    const start = row * this.#length;
    const end = start + (isChanged[row] === 1 ? 0 : this.#count(row));
    let kept = start;
    for (let at = start; at < end; at++) {
      const other = this.#rows[at] as number;
      if (isChanged[other] === 1) continue;
      this.#rows[kept] = other;
      this.#scores[kept] = this.#scores[at] as number;
      kept++;
    }
    this.#rows.fill(NONE, kept, start + this.#length);
  }

  /** Empties a list and removes its bound: every row is inserted from now on. */
  #clear(row: number): void {
    this.#rows.fill(NONE, row * this.#length, (row + 1) * this.#length);
    this.#boundScores[row] = Number.NEGATIVE_INFINITY;
    this.#boundRows[row] = this.size;
  }

  /** Moves the bound of a list up to this position. */
  #limit(row: number, score: number, last: number): void {
    if (comesBefore(this.#boundScores[row] as number, this.#boundRows[row] as number, score, last)) return;
    this.#boundScores[row] = score;
    this.#boundRows[row] = last;
  }

  /** Inserts a row if it comes before the bound. When a list overflows, its last row becomes the bound. */
  #insert(row: number, other: number, score: number): void {
    if (comesBefore(this.#boundScores[row] as number, this.#boundRows[row] as number, score, other)) return;
    const start = row * this.#length;
    const count = this.#count(row);
    let at = start + Math.min(count, this.#length - 1);
    const [dropped, droppedScore] = [this.#rows[at] as number, this.#scores[at] as number];
    const overflows = count === this.#length;
    if (overflows && comesBefore(droppedScore, dropped, score, other)) {
      // It comes after the last row of a full list, which becomes the bound.
      this.#limit(row, droppedScore, dropped);
      return;
    }
    while (
      at > start &&
      comesBefore(score, other, this.#scores[at - 1] as number, this.#rows[at - 1] as number)
    ) {
      this.#rows[at] = this.#rows[at - 1] as number;
      this.#scores[at] = this.#scores[at - 1] as number;
      at--;
    }
    this.#rows[at] = other;
    this.#scores[at] = score;
    if (!overflows) return;
    const last = start + this.#length - 1;
    this.#limit(row, this.#scores[last] as number, this.#rows[last] as number);
  }

  #count(row: number): number {
    const start = row * this.#length;
    let count = this.#length;
    while (count > 0 && this.#rows[start + count - 1] === NONE) count--;
    return count;
  }

  #resize(size: number): void {
    const old = this.size;
    if (size <= old) return;
    const grown = <T extends Int32Array | Float32Array>(larger: T, array: T): T => {
      larger.set(array);
      return larger;
    };
    this.#rows = grown(new Int32Array(size * this.#length).fill(NONE), this.#rows);
    this.#scores = grown(new Float32Array(size * this.#length), this.#scores);
    this.#boundScores = grown(new Float32Array(size).fill(Number.NEGATIVE_INFINITY), this.#boundScores);
    this.#boundRows = grown(new Int32Array(size).fill(size), this.#boundRows);
  }
}

function vectorsOf(index: VectorIndex, rows: readonly number[]): Float32Array {
  const vectors = new Float32Array(rows.length * index.dimension);
  for (const [i, row] of rows.entries()) vectors.set(index.vector(row), i * index.dimension);
  return vectors;
}

/** Whether the first comes strictly before the second in the order of neighbours. */
function comesBefore(score: number, row: number, otherScore: number, otherRow: number): boolean {
  return score > otherScore || (score === otherScore && row < otherRow);
}

function numbers<T extends Int32Array | Float32Array>(
  source: string,
  field: string,
  found: unknown,
  type: new (length: number) => T,
  length: number,
): T {
  if (found instanceof type && found.length === length) return found.slice() as T;
  const count = ArrayBuffer.isView(found) ? `${(found as Float32Array).length}` : 'none';
  throw new InputError({ source, field, expected: `${length} numbers of ${type.name}`, found: count });
}
