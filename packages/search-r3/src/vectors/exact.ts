/**
 * The exact index: every search scans all vectors. It measured faster than a graph up to a few hundred thousand
 * vectors, its recall is 1, and replacing a vector costs only a copy; a moving corpus uses it for its vectors.
 *
 * The scan goes over slices of one array, which keeps the score matrix in the cache and out of JavaScript.
 */
import { type Feeds, f32 } from 'onnx-grad';
import { z } from 'zod';
import { copyRows } from '../run/rows.js';
import { validate } from '../run/validate.js';
import { mergeBest, sortSlice } from './merge.js';
import { countRanks, type SliceSpan } from './ranks.js';
import { Scorer } from './scorer.js';
import type { SearchResult, VectorIndex } from './types.js';

const optionsSchema = z.strictObject({
  /** Rows to allocate at first; the capacity doubles as needed. Default 1,024. */
  capacity: z.int().positive().default(1024),
  /** Threads of one search. Default: ONNX Runtime's choice (physical cores). */
  threads: z.int().positive().optional(),
});

export type ExactIndexOptions = z.input<typeof optionsSchema>;

/** Maximum number of rows in a slice: twenty slices of this size measured faster than one of a million. */
const SLICE_ROWS = 50_000;
/** Maximum number of scores computed at once; larger batches of queries are split. */
const BLOCK_SCORES = 256 * SLICE_ROWS;
/**
 * Slices end at multiples of this, padded with rows that are never found: the kernels compute leftover columns at the
 * end of a matrix in a different order, so the scores of equal vectors would differ in the last bit.
 */
const ROW_ALIGNMENT = 16;

/** Share of a slice below which wanted rows are copied out of it; above, the others are masked. */
const COPIED_SHARE = 0.25;

const aligned = (rows: number): number => Math.ceil(rows / ROW_ALIGNMENT) * ROW_ALIGNMENT;

interface Slice extends SliceSpan {
  feeds: Feeds;
  /** The rows, if they are not those from `start` on. */
  picked?: Int32Array;
}

interface Block {
  /** The first query. */
  start: number;
  /** Number of queries. */
  count: number;
  feeds: Feeds;
}

/** The first position in ascending numbers from which they are at least `least`. */
function firstFrom(numbers: Int32Array, least: number): number {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((numbers[middle] as number) < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** See `VectorIndex`. Scores of unit vectors are cosines; scores are equal if their float32 numbers are. */
export class ExactIndex implements VectorIndex {
  readonly dimension: number;
  readonly #scorer: Scorer;
  /** [capacity * dimension]; finite everywhere. */
  #data: Float32Array;
  /** [capacity]: 0 for live rows, -Infinity for others. */
  #penalties: Float32Array;
  #size = 0;
  #live = 0;

  private constructor(dimension: number, capacity: number, scorer: Scorer) {
    this.dimension = dimension;
    this.#scorer = scorer;
    this.#data = new Float32Array(capacity * dimension);
    this.#penalties = new Float32Array(capacity).fill(Number.NEGATIVE_INFINITY);
  }

  /** An empty index. @throws InputError for invalid options. */
  static async create(dimension: number, options: ExactIndexOptions = {}): Promise<ExactIndex> {
    const { capacity, threads } = validate(optionsSchema, options, 'ExactIndex options');
    if (!Number.isSafeInteger(dimension) || dimension < 1) {
      throw new RangeError(`ExactIndex: expected a positive dimension, found ${dimension}`);
    }
    return new ExactIndex(dimension, aligned(capacity), await Scorer.create(dimension, threads));
  }

  get size(): number {
    return this.#size;
  }

  get live(): number {
    return this.#live;
  }

  setAll(matrix: Float32Array, count: number): void {
    if (this.#rowsOf('setAll', matrix) !== count) {
      throw new RangeError(`setAll: expected ${count * this.dimension} numbers, found ${matrix.length}`);
    }
    this.#reserve(count);
    this.#data.set(matrix);
    this.#penalties.fill(0, 0, count).fill(Number.NEGATIVE_INFINITY, count);
    this.#size = count;
    this.#live = count;
  }

  set(row: number, vector: Float32Array): void {
    this.#refuseUnknown('set', row);
    if (this.#rowsOf('set', vector) !== 1) {
      throw new RangeError(`set: expected ${this.dimension} numbers, found ${vector.length}`);
    }
    this.#data.set(vector, row * this.dimension);
    if (this.#penalties[row] !== 0) this.#live++;
    this.#penalties[row] = 0;
  }

  append(vectors: Float32Array): number {
    const first = this.#size;
    const count = this.#rowsOf('append', vectors);
    this.#reserve(first + count);
    this.#data.set(vectors, first * this.dimension);
    this.#penalties.fill(0, first, first + count);
    this.#size += count;
    this.#live += count;
    return first;
  }

  remove(row: number): void {
    this.#refuseGone('remove', row);
    this.#penalties[row] = Number.NEGATIVE_INFINITY;
    this.#live--;
  }

  has(row: number): boolean {
    return this.#penalties[row] === 0;
  }

  /** The vector of a row: a view that is valid until the index grows. */
  vector(row: number): Float32Array {
    this.#refuseGone('vector', row);
    return this.#data.subarray(row * this.dimension, (row + 1) * this.dimension);
  }

  /**
   * For equal scores, the smaller row comes first.
   * @param rows search only these: in ascending order, none removed.
   */
  async search(queries: Float32Array, k: number, rows?: Int32Array): Promise<SearchResult> {
    if (!Number.isSafeInteger(k) || k < 1) throw new RangeError(`search: expected a positive k, found ${k}`);
    const count = this.checkQueries(queries);
    const limit = Math.min(k, rows?.length ?? this.#live);
    const result = { k: limit, rows: new Int32Array(count * limit), scores: new Float32Array(count * limit) };
    const slices = limit === 0 ? [] : this.#slices();
    for (const block of this.#blocks(queries, count)) {
      let best: SearchResult = { k: 0, rows: new Int32Array(0), scores: new Float32Array(0) };
      for (const whole of slices) {
        const slice = rows === undefined ? whole : this.#restricted(whole, rows);
        if (slice.rows === 0) continue;
        best = mergeBest(best, await this.#best(block, slice, limit), block.count, limit);
      }
      result.rows.set(best.rows, block.start * limit);
      result.scores.set(best.scores, block.start * limit);
    }
    return result;
  }

  async scores(queries: Float32Array): Promise<Float32Array> {
    const count = this.#rowsOf('scores', queries);
    const size = this.#size;
    const result = new Float32Array(count * size);
    const slices = this.#slices();
    for (const block of this.#blocks(queries, count)) {
      for (const slice of slices) {
        const scores = await this.#scorer.scores({ ...block.feeds, ...slice.feeds });
        for (let i = 0; i < block.count; i++) {
          const own = scores.subarray(i * slice.length, i * slice.length + slice.rows);
          result.set(own, (block.start + i) * size + slice.start);
        }
      }
    }
    return result;
  }

  async ranks(queries: Float32Array, positives: readonly (readonly number[])[]): Promise<number[][]> {
    this.checkQueries(queries, positives);
    const count = positives.length;
    const ranks: number[][] = [];
    const slices = this.#slices();
    for (const block of this.#blocks(queries, count)) {
      const score = (slice: Slice) => this.#scorer.scores({ ...block.feeds, ...slice.feeds });
      const own = positives.slice(block.start, block.start + block.count);
      for (const counted of await countRanks(slices, own, score)) ranks.push(counted);
    }
    return ranks;
  }

  async dispose(): Promise<void> {
    await this.#scorer.dispose();
  }

  /** Checks queries and positives and returns the number of queries. @throws RangeError if either is invalid. */
  checkQueries(queries: Float32Array, positives?: readonly (readonly number[])[]): number {
    const count = this.#rowsOf(positives === undefined ? 'search' : 'ranks', queries);
    if (positives !== undefined) this.#refusePositives(positives, count);
    return count;
  }

  /** The best rows of a slice: at least `limit` of them, or all. */
  async #best(block: Block, slice: Slice, limit: number): Promise<SearchResult> {
    const feeds = { ...block.feeds, ...slice.feeds };
    const k = 2 ** Math.ceil(Math.log2(limit));
    const rowAt = ({ picked, start }: Slice, index: number) => picked?.[index] ?? start + index;
    if (k > slice.length) {
      const sorted = sortSlice(await this.#scorer.scores(feeds), slice.length, slice.rows);
      return { ...sorted, rows: sorted.rows.map((index) => rowAt(slice, index)) };
    }
    const { scores, indices } = await this.#scorer.best(feeds, k);
    return { k, scores, rows: Int32Array.from(indices, (index) => rowAt(slice, Number(index))) };
  }

  /** A slice reduced to some of all rows. */
  #restricted(slice: Slice, all: Int32Array): Slice {
    const rows = all.subarray(firstFrom(all, slice.start), firstFrom(all, slice.start + slice.rows));
    if (rows.length >= COPIED_SHARE * slice.rows) {
      const penalties = new Float32Array(slice.length).fill(Number.NEGATIVE_INFINITY);
      for (const row of rows) penalties[row - slice.start] = 0;
      return { ...slice, feeds: { ...slice.feeds, penalties: f32(penalties, [slice.length]) } };
    }
    const { dimension } = this;
    const length = aligned(rows.length);
    const vectors = copyRows(new Float32Array(length * dimension), this.#data, rows, dimension);
    const penalties = new Float32Array(length)
      .fill(0, 0, rows.length)
      .fill(Number.NEGATIVE_INFINITY, rows.length);
    const feeds = { vectors: f32(vectors, [length, dimension]), penalties: f32(penalties, [length]) };
    return { start: slice.start, length, rows: rows.length, feeds, picked: rows };
  }

  /** Slices of nearly equal size of the current rows. */
  #slices(): Slice[] {
    const total = aligned(this.#size);
    const length = aligned(Math.ceil(total / Math.ceil(total / SLICE_ROWS)));
    const slices: Slice[] = [];
    for (let start = 0; start < total; start += length) {
      const end = Math.min(start + length, total);
      const vectors = this.#data.subarray(start * this.dimension, end * this.dimension);
      slices.push({
        start,
        length: end - start,
        rows: Math.min(end, this.#size) - start,
        feeds: {
          vectors: f32(vectors, [end - start, this.dimension]),
          penalties: f32(this.#penalties.subarray(start, end), [end - start]),
        },
      });
    }
    return slices;
  }

  /** Queries in groups whose scores against a slice are at most `BLOCK_SCORES`. */
  *#blocks(queries: Float32Array, count: number): Generator<Block> {
    const most = Math.floor(BLOCK_SCORES / Math.min(SLICE_ROWS, Math.max(1, aligned(this.#size))));
    for (let start = 0; start < count; start += most) {
      const end = Math.min(start + most, count);
      const part = queries.subarray(start * this.dimension, end * this.dimension);
      yield { start, count: end - start, feeds: { queries: f32(part, [end - start, this.dimension]) } };
    }
  }

  #reserve(rows: number): void {
    const capacity = this.#penalties.length;
    if (rows <= capacity) return;
    const larger = aligned(Math.max(rows, 2 * capacity));
    const data = new Float32Array(larger * this.dimension);
    data.set(this.#data.subarray(0, this.#size * this.dimension));
    const penalties = new Float32Array(larger).fill(Number.NEGATIVE_INFINITY);
    penalties.set(this.#penalties.subarray(0, this.#size));
    this.#data = data;
    this.#penalties = penalties;
  }

  /** Checks a matrix and returns its number of rows. */
  #rowsOf(where: string, matrix: Float32Array): number {
    const rows = matrix.length / this.dimension;
    if (!Number.isInteger(rows)) {
      throw new RangeError(
        `${where}: expected rows of ${this.dimension} numbers, found ${matrix.length} numbers`,
      );
    }
    // NaN has no place in a ranking.
    for (let i = 0; i < matrix.length; i++) {
      if (!Number.isFinite(matrix[i])) {
        const row = Math.floor(i / this.dimension);
        throw new RangeError(`${where}: expected finite numbers, found ${matrix[i]} in row ${row}`);
      }
    }
    return rows;
  }

  #refuseUnknown(where: string, row: number): void {
    if (Number.isInteger(row) && row >= 0 && row < this.#size) return;
    throw new RangeError(`${where}: expected a row below ${this.#size}, found ${row}`);
  }

  #refuseGone(where: string, row: number): void {
    this.#refuseUnknown(where, row);
    if (this.#penalties[row] !== 0) throw new RangeError(`${where}: the row ${row} was removed`);
  }

  #refusePositives(positives: readonly (readonly number[])[], queries: number): void {
    if (positives.length !== queries) {
      throw new RangeError(`ranks: expected positives for ${queries} queries, found ${positives.length}`);
    }
    for (const [query, rows] of positives.entries()) {
      for (const row of rows) this.#refuseGone('ranks', row);
      if (new Set(rows).size !== rows.length) {
        throw new RangeError(`ranks: expected distinct positives, found [${rows}] for query ${query}`);
      }
    }
  }
}
