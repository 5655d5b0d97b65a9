/**
 * The vectors of a corpus that moves. A vector is either raw, what the encoder gave at the policy version it is stamped
 * with, or predicted: moved since by the drift map, its stamp still the version of its last encoding.
 */
import { InputError, type State, type StateArray } from '../run/index.js';
import { AnnIndex, ExactIndex } from '../vectors/index.js';

/** Stamp of a row whose document was never encoded, or is not what it was when it was. */
export const NEVER = -1;

/** Rows made at once, so that a large corpus is not there twice. */
const BLOCK = 8192;

export class VectorStore {
  readonly index: ExactIndex | AnnIndex;
  /** Told of every row whose vector is another one, or gone. */
  onChange: (rows: readonly number[]) => void = () => {};
  #versions: Int32Array;
  #predicted: Uint8Array;

  private constructor(index: ExactIndex | AnnIndex, capacity: number) {
    this.index = index;
    this.#versions = new Int32Array(capacity).fill(NEVER);
    this.#predicted = new Uint8Array(capacity);
  }

  /** Of `rows` rows, none of which has a vector yet. */
  static async create(
    dimension: number,
    rows: number,
    kind: 'exact' | 'ann' = 'exact',
  ): Promise<VectorStore> {
    const options = { capacity: rows };
    const index =
      kind === 'ann'
        ? await AnnIndex.create(dimension, options)
        : await ExactIndex.create(dimension, options);
    const store = new VectorStore(index, rows);
    store.reserve(rows);
    return store;
  }

  get dimension(): number {
    return this.index.dimension;
  }

  /** Makes rows up to this many, without vectors. */
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

  /** A view, good until the next change. */
  vector(row: number): Float32Array {
    return this.index.vector(row);
  }

  /** The vectors of rows as a matrix of its own. */
  gather(rows: readonly number[]): Float32Array {
    const { dimension } = this;
    const matrix = new Float32Array(rows.length * dimension);
    for (const [i, row] of rows.entries()) matrix.set(this.vector(row), i * dimension);
    return matrix;
  }

  /** Raw vectors, as encoded at `version`. */
  put(rows: readonly number[], vectors: Float32Array, version: number): void {
    this.#set(rows, vectors);
    for (const row of rows) {
      this.#versions[row] = version;
      this.#predicted[row] = 0;
    }
  }

  /** Predicted vectors; the stamps stay. */
  move(rows: readonly number[], vectors: Float32Array): void {
    this.#set(rows, vectors);
    for (const row of rows) this.#predicted[row] = 1;
  }

  /** Takes the vector of a row away: it is not found until it is encoded again. */
  forget(row: number): void {
    if (!this.has(row)) return;
    this.index.remove(row);
    this.#versions[row] = NEVER;
    this.#predicted[row] = 0;
    this.onChange([row]);
  }

  /** Everything, for a checkpoint; rows without a vector are zeros. */
  arrays(): Record<'vectors' | 'versions' | 'predicted', StateArray> {
    const { dimension } = this;
    const { size } = this.index;
    const vectors = new Float32Array(size * dimension);
    for (let row = 0; row < size; row++) {
      if (this.has(row)) vectors.set(this.vector(row), row * dimension);
    }
    return {
      vectors,
      versions: this.#versions.slice(0, size),
      predicted: this.#predicted.slice(0, size),
    };
  }

  /** The inverse of `arrays`, on a store of `rows` rows or fewer. @throws InputError for arrays of another store. */
  restore(arrays: State['arrays'], rows: number): void {
    const { vectors, versions, predicted } = arrays;
    const { dimension } = this;
    const check = (field: string, numbers: number, found: StateArray | undefined) => {
      if (found?.length === numbers) return;
      throw new InputError({
        source: 'environment state',
        field,
        expected: `${numbers} numbers`,
        found: String(found?.length),
      });
    };
    check('vectors', rows * dimension, vectors);
    check('versions', rows, versions);
    check('predicted', rows, predicted);
    this.reserve(rows);
    for (let row = 0; row < rows; row++) {
      const version = Number(versions?.[row]);
      const vector = (vectors as Float32Array).subarray(row * dimension, (row + 1) * dimension);
      if (version === NEVER) this.forget(row);
      else this.put([row], vector, version);
      this.#predicted[row] = Number(predicted?.[row]);
    }
  }

  async dispose(): Promise<void> {
    await this.index.dispose();
  }

  #set(rows: readonly number[], vectors: Float32Array): void {
    const { dimension } = this;
    if (vectors.length !== rows.length * dimension) {
      throw new RangeError(
        `expected ${rows.length} vectors of ${dimension}, found ${vectors.length} numbers`,
      );
    }
    for (const [i, row] of rows.entries()) {
      this.index.set(row, vectors.subarray(i * dimension, (i + 1) * dimension));
    }
    this.onChange(rows);
  }
}
