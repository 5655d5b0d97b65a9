/**
 * Applies the WebAssembly kernels (`kernel.as.ts`) to ordinary arrays of any length, chunk by chunk through a small
 * scratch memory. Everything is synchronous, so one instance serves all callers of the thread.
 */
import { readFileSync } from 'node:fs';

// Node's typings leave WebAssembly to lib.dom, which would bring all browser globals with it.
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { readonly exports: unknown };
};

interface KernelExports {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly CHUNK: { readonly value: number };
  readonly AREA_0: { readonly value: number };
  readonly AREA_1: { readonly value: number };
  readonly AREA_2: { readonly value: number };
  readonly AREA_3: { readonly value: number };
  adamw(
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
  sumOfSquares(length: number): number;
  addScaled(length: number, weight: number): void;
}

const bytes = readFileSync(new URL('./kernel.wasm', import.meta.url));
const kernel = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports as KernelExports;
const CHUNK = kernel.CHUNK.value;
const area = (address: { readonly value: number }) =>
  new Float32Array(kernel.memory.buffer, address.value, CHUNK);
const AREA_0 = area(kernel.AREA_0);
const AREA_1 = area(kernel.AREA_1);
const AREA_2 = area(kernel.AREA_2);
const AREA_3 = area(kernel.AREA_3);

/** Calls `visit` with the bounds of each chunk of an array of `length` elements. */
function eachChunk(length: number, visit: (start: number, end: number) => void): void {
  for (let start = 0; start < length; start += CHUNK) visit(start, Math.min(start + CHUNK, length));
}

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
  eachChunk(parameter.length, (start, end) => {
    AREA_0.set(parameter.subarray(start, end));
    AREA_1.set(first.subarray(start, end));
    AREA_2.set(second.subarray(start, end));
    AREA_3.set(gradient.subarray(start, end));
    const length = end - start;
    kernel.adamw(
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
    );
    parameter.set(AREA_0.subarray(0, length), start);
    first.set(AREA_1.subarray(0, length), start);
    second.set(AREA_2.subarray(0, length), start);
  });
}

/** Sum of squares in float64; not finite exactly when an element is not. */
export function sumOfSquares(array: Float32Array): number {
  let total = 0;
  eachChunk(array.length, (start, end) => {
    AREA_0.set(array.subarray(start, end));
    total += kernel.sumOfSquares(end - start);
  });
  return total;
}

/** target += weight * source, for arrays of equal length. */
export function addScaled(target: Float32Array, source: Float32Array, weight: number): void {
  eachChunk(target.length, (start, end) => {
    AREA_0.set(target.subarray(start, end));
    AREA_1.set(source.subarray(start, end));
    kernel.addScaled(end - start, weight);
    target.set(AREA_0.subarray(0, end - start), start);
  });
}
