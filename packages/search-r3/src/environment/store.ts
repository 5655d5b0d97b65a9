/**
 * The vectors of a moving corpus. A vector is raw, exactly what the encoder returned at its version, or predicted: the
 * drift map has moved it since, and its version is still that of its last encoding. Movements common to all vectors are
 * left to the frame that they are stored in.
 */
import { evenly, InputError, type State, type StateArray } from '../run/index.js';
import { AnnIndex, ExactIndex, type SearchResult } from '../vectors/index.js';
import { Frame } from './frame.js';

/** Version of a row whose document was never encoded, or has changed since. */
export const NEVER = -1;

/** Rows created or moved at once, so that memory never holds a large corpus twice. */
const BLOCK = 8192;

/** Number of vectors whose mean length the frame keeps at 1. */
const SAMPLE = 256;

export class VectorStore {
  /** The vectors in the coordinates of the frame. */
  readonly index: ExactIndex | AnnIndex;
  /** Called with the rows whose vectors changed or were removed. */
  onChange: (rows: readonly number[]) => void = () => {};
  #versions: Int32Array;
  #predicted: Uint8Array;
  readonly #frame: Frame;
  /** Exact raw vectors of the rows encoded since the frame moved. */
  readonly #raw = new Map<number, Float32Array>();

  private constructor(index: ExactIndex | AnnIndex, capacity: number) {
    this.index = index;
    this.#frame = new Frame(index.dimension);
    this.#versions = new Int32Array(capacity).fill(NEVER);
    this.#predicted = new Uint8Array(capacity);
  }

  /** A store of `rows` rows without vectors; with a proximity graph from `graphFrom` rows on, else scanned. */
  static async create(dimension: number, rows: number, graphFrom?: number): Promise<VectorStore> {
    const capacity = { capacity: rows };
    const index =
      graphFrom === undefined
        ? await ExactIndex.create(dimension, capacity)
        : await AnnIndex.create(dimension, { ...capacity, graphFrom });
    const store = new VectorStore(index, rows);
    store.reserve(rows);
    return store;
  }

  get dimension(): number {
    return this.index.dimension;
  }

  get live(): number {
    return this.index.live;
  }

  /** See `VectorIndex`. */
  async search(queries: Float32Array, k: number): Promise<SearchResult> {
    return this.index.search(await this.#frame.queries(queries), k);
  }

  /** See `VectorIndex`. */
  async ranks(queries: Float32Array, positives: readonly (readonly number[])[]): Promise<number[][]> {
    return this.index.ranks(await this.#frame.queries(queries), positives);
  }

  /** Adds rows without vectors, up to `rows` in all. */
  reserve(rows: number): void {
    const first = this.index.size;
    if (rows > this.#versions.length) {
      const capacity = Math.max(rows, 2 * this.#versions.length);
      const versions = new Int32Array(capacity).fill(NEVER);
      versions.set(this.#versions);
      const predicted = new Uint8Array(capacity);
      predicted.set(this.#predicted);
      this.#versions = versions;
      this.#predicted = predicted;
    }
    for (let row = first; row < rows; row += BLOCK) {
      this.index.append(new Float32Array(Math.min(BLOCK, rows - row) * this.dimension));
    }
    for (let row = first; row < rows; row++) this.index.remove(row);
  }

  version(row: number): number {
    return this.#versions[row] as number;
  }

  isPredicted(row: number): boolean {
    return this.#predicted[row] === 1;
  }

  has(row: number): boolean {
    return this.version(row) !== NEVER;
  }

  /** A copy of the vector of a row. */
  vector(row: number): Float32Array {
    return this.#raw.get(row)?.slice() ?? this.#frame.one(this.index.vector(row));
  }

  /** The vectors of rows, as a new matrix. */
  async gather(rows: readonly number[]): Promise<Float32Array> {
    const matrix = await this.#frame.now(this.#stored(rows));
    if (this.#raw.size === 0) return matrix;
    for (const [i, row] of rows.entries()) {
      const raw = this.#raw.get(row);
      if (raw !== undefined) matrix.set(raw, i * this.dimension);
    }
    return matrix;
  }

  /** Stores raw vectors encoded at `version`. */
  async put(rows: readonly number[], vectors: Float32Array, version: number): Promise<void> {
    await this.#bring(rows, vectors, true);
    for (const row of rows) {
      this.#versions[row] = version;
      this.#predicted[row] = 0;
    }
  }

  /** Stores predicted vectors; versions stay. */
  async move(rows: readonly number[], vectors: Float32Array): Promise<void> {
    await this.#bring(rows, vectors, false);
    for (const row of rows) this.#predicted[row] = 1;
  }

  /** Moves every vector that was not encoded at `version` by a drift map; versions stay. */
  async moveAll(map: Float32Array, version: number): Promise<void> {
    const fresh: number[] = [];
    const moved: number[] = [];
    for (let row = 0; row < this.index.size; row++) {
      if (this.has(row)) (this.version(row) === version ? fresh : moved).push(row);
    }
    if (moved.length === 0) return;
    const vectors = await this.gather(fresh);
    const worn = await this.#frame.move(map, this.#stored(evenly(moved, SAMPLE)));
    this.#raw.clear();
    for (const row of moved) this.#predicted[row] = 1;
    if (worn) await this.flatten();
    await this.#bring(fresh, vectors, true);
    this.onChange(moved);
  }

  /** Moves the stored vectors themselves and resets the frame. */
  async flatten(): Promise<void> {
    if (!this.#frame.turned) return;
    const rows: number[] = [];
    for (let row = 0; row < this.index.size; row++) if (this.has(row)) rows.push(row);
    for (let start = 0; start < rows.length; start += BLOCK) {
      const block = rows.slice(start, start + BLOCK);
      this.#store(block, await this.gather(block));
    }
    this.#raw.clear();
    this.#frame.reset();
  }

  /** Removes the vector of a row: searches do not find it until it is encoded again. */
  forget(row: number): void {
    if (!this.has(row)) return;
    this.index.remove(row);
    this.#raw.delete(row);
    this.#versions[row] = NEVER;
    this.#predicted[row] = 0;
    this.onChange([row]);
  }

  /** The state of the first `size` rows, for a checkpoint; rows without a vector are zeros. */
  arrays(size: number): State['arrays'] {
    const { dimension } = this;
    const vectors = new Float32Array(size * dimension);
    for (let row = 0; row < size; row++) {
      if (this.has(row)) vectors.set(this.index.vector(row), row * dimension);
    }
    const arrays = {
      vectors,
      versions: this.#versions.slice(0, size),
      predicted: this.#predicted.slice(0, size),
    };
    if (!this.#frame.turned) return arrays;
    const { matrices, turns } = this.#frame.state();
    const rows = Int32Array.from(this.#raw.keys());
    const raw = new Float32Array(rows.length * dimension);
    for (const [i, row] of rows.entries()) raw.set(this.#raw.get(row) as Float32Array, i * dimension);
    return { ...arrays, frame: matrices, turns: Int32Array.of(turns), rawRows: rows, rawVectors: raw };
  }

  /** The inverse of `arrays` for a store of `rows` rows. @throws InputError for arrays of a different store. */
  restore(arrays: State['arrays'], rows: number): void {
    const { dimension } = this;
    const take = <T extends StateArray>(field: string, type: new () => T, numbers: number): T => {
      const found = arrays[field];
      if (found instanceof type && found.length === numbers) return found;
      throw new InputError({
        source: 'environment state',
        field,
        expected: `${numbers} numbers (${type.name})`,
        found: found === undefined ? 'none' : `${found.length} (${found.constructor.name})`,
      });
    };
    const vectors = take('vectors', Float32Array, rows * dimension);
    const versions = take('versions', Int32Array, rows);
    const predicted = take('predicted', Uint8Array, rows);
    this.reserve(rows);
    for (let row = rows; row < this.index.size; row++) this.forget(row);
    for (let row = 0; row < rows; row++) {
      if (versions[row] === NEVER) this.forget(row);
      else this.#store([row], vectors.subarray(row * dimension, (row + 1) * dimension));
    }
    this.#versions.set(versions);
    this.#predicted.set(predicted);
    this.#raw.clear();
    this.#frame.reset();
    if (arrays.frame === undefined) return;
    const [turns] = take('turns', Int32Array, 1);
    this.#frame.restore({
      matrices: take('frame', Float64Array, 2 * dimension ** 2),
      turns: turns as number,
    });
    const rawRows = take('rawRows', Int32Array, arrays.rawRows?.length ?? 0);
    const raw = take('rawVectors', Float32Array, rawRows.length * dimension);
    for (const [i, row] of rawRows.entries()) {
      this.#raw.set(row, raw.slice(i * dimension, (i + 1) * dimension));
    }
  }

  async dispose(): Promise<void> {
    await this.#frame.dispose();
    await this.index.dispose();
  }

  /** Vectors in the coordinates of the frame, as a new matrix. */
  #stored(rows: readonly number[]): Float32Array {
    const { dimension } = this;
    const matrix = new Float32Array(rows.length * dimension);
    for (const [i, row] of rows.entries()) matrix.set(this.index.vector(row), i * dimension);
    return matrix;
  }

  /** Sets the vectors of rows, transformed into the frame. */
  async #bring(rows: readonly number[], vectors: Float32Array, raw: boolean): Promise<void> {
    const { dimension } = this;
    if (rows.length === 0) return;
    this.#store(rows, await this.#frame.back(vectors));
    for (const [i, row] of rows.entries()) {
      if (raw && this.#frame.turned) this.#raw.set(row, vectors.slice(i * dimension, (i + 1) * dimension));
      else this.#raw.delete(row);
    }
    this.onChange(rows);
  }

  #store(rows: readonly number[], vectors: Float32Array): void {
    const { dimension } = this;
    for (const [i, row] of rows.entries()) {
      this.index.set(row, vectors.subarray(i * dimension, (i + 1) * dimension));
    }
  }
}
