/**
 * Applies the WebAssembly kernels (`kernel.as.ts`) to arrays of any length. Arrays in a kernel's memory (`allocate`)
 * are processed in place; ordinary ones are copied chunk by chunk through a small scratch memory. Everything is
 * synchronous, so one instance serves all callers of the thread.
 */
import { readFileSync } from 'node:fs';

interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

// Node's types leave WebAssembly to lib.dom, which would add all browser globals.
declare const WebAssembly: {
  Memory: new (limits: { initial: number }) => WasmMemory;
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { readonly exports: unknown };
};

interface KernelExports {
  readonly CHUNK: { readonly value: number };
  readonly AREA_0: { readonly value: number };
  readonly AREA_1: { readonly value: number };
  readonly AREA_2: { readonly value: number };
  readonly AREA_3: { readonly value: number };
  adamw(
    parameter: number,
    first: number,
    second: number,
    gradient: number,
    length: number,
    scale: number,
    beta1: number,
    oneMinusBeta1: number,
    beta2: number,
    oneMinusBeta2: number,
    stepSize: number,
    inverseCorrection: number,
    epsilon: number,
    decay: number,
  ): void;
  sumOfSquares(array: number, length: number): number;
  addScaled(target: number, source: number, length: number, weight: number): void;
}

const module = new WebAssembly.Module(readFileSync(new URL('./kernel.wasm', import.meta.url)));
const PAGE = 65_536;
/** The limit of 32-bit addresses. */
const MAX_PAGES = 65_536;
/** Arrays begin at multiples of a cache line, so that kernels, which round up, do not reach the next array. */
const LINE = 64;
const bytesOf = (length: number) => Math.ceil((4 * length) / LINE) * LINE;
const bytesOfAll = (lengths: readonly number[]) => lengths.reduce((sum, length) => sum + bytesOf(length), 0);

const endOf = ({ byteOffset, byteLength }: Float32Array) => byteOffset + byteLength;

/** The kernels with their own memory, which never grows, because growing would detach the arrays. */
class Kernel {
  readonly exports: KernelExports;
  readonly buffer: ArrayBuffer;
  readonly areas: readonly Float32Array[];
  readonly #areaAddresses: readonly number[];
  #free: number;

  /** @throws RangeError if the system does not grant the memory. */
  constructor(pages: number) {
    const memory = new WebAssembly.Memory({ initial: pages });
    this.exports = new WebAssembly.Instance(module, { env: { memory } }).exports as KernelExports;
    this.buffer = memory.buffer;
    const { AREA_0, AREA_1, AREA_2, AREA_3, CHUNK } = this.exports;
    this.#areaAddresses = [AREA_0, AREA_1, AREA_2, AREA_3].map(({ value }) => value);
    this.areas = this.#areaAddresses.map((address) => new Float32Array(this.buffer, address, CHUNK.value));
    this.#free = Math.ceil(Math.max(...this.areas.map(endOf)) / LINE) * LINE;
  }

  /** Arrays of zeros; undefined if they do not fit. */
  allocate(lengths: readonly number[]): Float32Array<ArrayBuffer>[] | undefined {
    if (this.#free + bytesOfAll(lengths) > this.buffer.byteLength) return undefined;
    return lengths.map((length) => {
      const array = new Float32Array(this.buffer, this.#free, length);
      this.#free += bytesOf(length);
      return array;
    });
  }

  /**
   * Calls `visit` with the addresses of each chunk of arrays of equal length. Chunks of ordinary arrays are copied in
   * before; those of the first `written` arrays are copied back.
   */
  eachChunk(
    arrays: readonly Float32Array[],
    written: number,
    visit: (addresses: readonly number[], length: number) => void,
  ): void {
    const size = arrays[0]?.length ?? 0;
    const chunk = this.exports.CHUNK.value;
    for (let start = 0; start < size; start += chunk) {
      const end = Math.min(start + chunk, size);
      const length = end - start;
      // Kernels round up to whole vectors, and a view may be followed by other data.
      const inPlace = arrays.map(({ buffer }) => buffer === this.buffer && length % 4 === 0);
      const addresses = arrays.map(({ byteOffset }, i) =>
        inPlace[i] ? byteOffset + 4 * start : (this.#areaAddresses[i] as number),
      );
      for (const [i, array] of arrays.entries())
        if (!inPlace[i]) this.areas[i]?.set(array.subarray(start, end));
      visit(addresses, length);
      for (const [i, array] of arrays.slice(0, written).entries())
        if (!inPlace[i]) array.set((this.areas[i] as Float32Array).subarray(0, length), start);
    }
  }
}

/** 16 pages hold the scratch areas. */
const scratch = new Kernel(16);
const kernels = new WeakMap<ArrayBufferLike, Kernel>();

/** The kernel in whose memory one of the arrays lives. */
const kernelOf = (arrays: readonly Float32Array[]): Kernel =>
  arrays.map(({ buffer }) => kernels.get(buffer)).find((kernel) => kernel !== undefined) ?? scratch;

/**
 * Arrays of zeros in the memory of a kernel, which processes them in place. `room`: how many more elements per element
 * to leave space for (`allocateBeside`); untouched memory costs nothing. Ordinary arrays if one WebAssembly memory (4
 * GiB) is too small or the system does not grant it.
 */
export function allocate(lengths: readonly number[], room = 0): Float32Array<ArrayBuffer>[] {
  const pages = Math.ceil((scratch.buffer.byteLength + bytesOfAll(lengths) * (1 + room)) / PAGE);
  if (pages <= MAX_PAGES) {
    try {
      const kernel = new Kernel(pages);
      const arrays = kernel.allocate(lengths);
      if (arrays !== undefined) {
        kernels.set(kernel.buffer, kernel);
        return arrays;
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  }
  return lengths.map((length) => new Float32Array(length));
}

/** Arrays of zeros in the memory of `neighbour`; undefined if it is an ordinary array or there is no room. */
export const allocateBeside = (
  neighbour: Float32Array,
  lengths: readonly number[],
): Float32Array<ArrayBuffer>[] | undefined => kernels.get(neighbour.buffer)?.allocate(lengths);

/** The constants of one AdamW update; `kernel.as.ts` has the formulae. */
export interface AdamWConstants {
  scale: number;
  beta1: number;
  beta2: number;
  stepSize: number;
  inverseCorrection: number;
  epsilon: number;
  decay: number;
}

/** One AdamW update of four arrays of equal length; `gradient` is only read. */
export function adamw(
  parameter: Float32Array,
  first: Float32Array,
  second: Float32Array,
  gradient: Float32Array,
  { scale, beta1, beta2, stepSize, inverseCorrection, epsilon, decay }: AdamWConstants,
): void {
  const arrays = [parameter, first, second, gradient];
  const kernel = kernelOf(arrays);
  kernel.eachChunk(arrays, 3, ([p, m, v, g], length) =>
    kernel.exports.adamw(
      p as number,
      m as number,
      v as number,
      g as number,
      length,
      scale,
      beta1,
      1 - beta1,
      beta2,
      1 - beta2,
      stepSize,
      inverseCorrection,
      epsilon,
      decay,
    ),
  );
}

/** Sum of squares in float64; finite if and only if all elements are. */
export function sumOfSquares(array: Float32Array): number {
  const kernel = kernelOf([array]);
  let total = 0;
  kernel.eachChunk([array], 0, ([address], length) => {
    total += kernel.exports.sumOfSquares(address as number, length);
  });
  return total;
}

/** target += weight * source, for arrays of equal length. */
export function addScaled(target: Float32Array, source: Float32Array, weight: number): void {
  const kernel = kernelOf([target, source]);
  kernel.eachChunk([target, source], 1, ([to, from], length) =>
    kernel.exports.addScaled(to as number, from as number, length, weight),
  );
}
