/**
 * The memory that ONNX Runtime's CPU arena takes from the system for given allocations: the algorithm of its `BFCArena`
 * with its defaults. Regions are powers of two and are never given back; a request takes the smallest free chunk that
 * holds it; a chunk is split if it is at least twice as large as the request. What counts is the part of the
 * regions that was ever written, since untouched pages take no memory.
 */

const ALIGNMENT = 256;
const FIRST_REGION = 2 ** 20;
const LARGEST_STEP = 2 ** 30;
/** A chunk that is larger than the request by this much is split in any case. */
const MOST_UNUSED = 128 * 2 ** 20;

interface Chunk {
  region: Region;
  start: number;
  size: number;
  free: boolean;
  previous: Chunk | undefined;
  next: Chunk | undefined;
}

interface Region {
  /** Order of creation, which stands in for its address. */
  readonly index: number;
  /** Bytes from the start that were ever in use. */
  touched: number;
}

/** An allocation. */
export type Handle = Chunk;

export class Arena {
  readonly #free = new Set<Chunk>();
  readonly #regions: Region[] = [];
  #step = FIRST_REGION;

  /** Bytes that were written at some time. */
  get touched(): number {
    return this.#regions.reduce((total, { touched }) => total + touched, 0);
  }

  allocate(bytes: number): Handle {
    const size = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    const chunk = this.#smallest(size) ?? this.#extend(size);
    this.#free.delete(chunk);
    if (chunk.size >= 2 * size || chunk.size - size >= MOST_UNUSED) this.#split(chunk, size);
    chunk.free = false;
    chunk.region.touched = Math.max(chunk.region.touched, chunk.start + bytes);
    return chunk;
  }

  release(chunk: Handle): void {
    chunk.free = true;
    let merged = chunk;
    if (merged.next?.free) this.#merge(merged, merged.next);
    if (merged.previous?.free) {
      const { previous } = merged;
      this.#merge(previous, merged);
      merged = previous;
    }
    this.#free.add(merged);
  }

  #smallest(size: number): Chunk | undefined {
    let best: Chunk | undefined;
    for (const chunk of this.#free) {
      if (chunk.size >= size && (best === undefined || before(chunk, best))) best = chunk;
    }
    return best;
  }

  #extend(size: number): Chunk {
    const enough = this.#step >= size;
    while (this.#step < size) this.#step *= 2;
    const region = { index: this.#regions.length, touched: 0 };
    this.#regions.push(region);
    const whole = { region, start: 0, size: this.#step, free: true, previous: undefined, next: undefined };
    if (enough) this.#step = Math.min(2 * this.#step, Math.max(LARGEST_STEP, this.#step));
    return whole;
  }

  #split(chunk: Chunk, size: number): void {
    const rest: Chunk = {
      region: chunk.region,
      start: chunk.start + size,
      size: chunk.size - size,
      free: true,
      previous: chunk,
      next: chunk.next,
    };
    if (chunk.next !== undefined) chunk.next.previous = rest;
    chunk.next = rest;
    chunk.size = size;
    this.#free.add(rest);
  }

  /** Joins a chunk with the free one after it. */
  #merge(first: Chunk, second: Chunk): void {
    this.#free.delete(second);
    this.#free.delete(first);
    first.size += second.size;
    first.next = second.next;
    if (second.next !== undefined) second.next.previous = first;
  }
}

const before = (a: Chunk, b: Chunk) =>
  a.size !== b.size
    ? a.size < b.size
    : a.region.index !== b.region.index
      ? a.region.index < b.region.index
      : a.start < b.start;
