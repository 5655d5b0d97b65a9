/**
 * The float32 values of stored tensors. A block of the types named Q has a scale in binary16, in some types also a
 * minimum, and small integers; low bits come first. Products of a scale and an integer are exact in float32 and in the
 * doubles used here, so each value is rounded once, as in the reference (the Python package `gguf`).
 */
import { float16At, fromBFloat16, fromFloat16 } from '../float16.js';
import { q4k, q5k, q6k } from './dequantise-k.js';

/** Fills `out` with the values of whole blocks. */
export type Dequantise = (bytes: Uint8Array, out: Float32Array) => void;

/** Values of a block of the types without K. */
const BLOCK = 32;
const HALF = BLOCK / 2;

/** 16-bit numbers need an even position in memory. */
function words(bytes: Uint8Array): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 2);
}

const f32: Dequantise = (bytes, out) => {
  // The format is little-endian, and so is every machine the runtime exists for.
  new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes);
};

/** Scale (2 bytes), 32 signed bytes. */
const q8x0: Dequantise = (bytes, out) => {
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0, to = 0; to < out.length; at += 34) {
    const scale = float16At(bytes, at);
    for (let i = at + 2; i < at + 34; i++) out[to++] = scale * (signed[i] as number);
  }
};

/** Scale, 16 bytes: byte i has values i (low bits) and i + 16; 8 stands for zero. */
const q4x0: Dequantise = (bytes, out) => {
  for (let at = 0, to = 0; to < out.length; at += 18, to += BLOCK) {
    const scale = float16At(bytes, at);
    for (let i = 0; i < HALF; i++) {
      const pair = bytes[at + 2 + i] as number;
      out[to + i] = scale * ((pair & 15) - 8);
      out[to + HALF + i] = scale * ((pair >> 4) - 8);
    }
  }
};

/** Scale, minimum, 16 bytes as in Q4_0; 0 stands for the minimum. */
const q4x1: Dequantise = (bytes, out) => {
  for (let at = 0, to = 0; to < out.length; at += 20, to += BLOCK) {
    const scale = float16At(bytes, at);
    const least = float16At(bytes, at + 2);
    for (let i = 0; i < HALF; i++) {
      const pair = bytes[at + 4 + i] as number;
      out[to + i] = scale * (pair & 15) + least;
      out[to + HALF + i] = scale * (pair >> 4) + least;
    }
  }
};

/** The fifth bits of a block: bit i belongs to value i. */
const highBits = (bytes: Uint8Array, at: number): number =>
  (bytes[at] as number) |
  ((bytes[at + 1] as number) << 8) |
  ((bytes[at + 2] as number) << 16) |
  ((bytes[at + 3] as number) << 24);

/** Scale, fifth bits (4 bytes), 16 bytes as in Q4_0; 16 stands for zero. */
const q5x0: Dequantise = (bytes, out) => {
  for (let at = 0, to = 0; to < out.length; at += 22, to += BLOCK) {
    const scale = float16At(bytes, at);
    const high = highBits(bytes, at + 2);
    for (let i = 0; i < HALF; i++) {
      const pair = bytes[at + 6 + i] as number;
      out[to + i] = scale * (((pair & 15) | (((high >>> i) & 1) << 4)) - 16);
      out[to + HALF + i] = scale * (((pair >> 4) | (((high >>> (i + HALF)) & 1) << 4)) - 16);
    }
  }
};

/** Scale, minimum, fifth bits, 16 bytes; 0 stands for the minimum. */
const q5x1: Dequantise = (bytes, out) => {
  for (let at = 0, to = 0; to < out.length; at += 24, to += BLOCK) {
    const scale = float16At(bytes, at);
    const least = float16At(bytes, at + 2);
    const high = highBits(bytes, at + 4);
    for (let i = 0; i < HALF; i++) {
      const pair = bytes[at + 8 + i] as number;
      out[to + i] = scale * ((pair & 15) | (((high >>> i) & 1) << 4)) + least;
      out[to + HALF + i] = scale * ((pair >> 4) | (((high >>> (i + HALF)) & 1) << 4)) + least;
    }
  }
};

/** By the name of the type: the types whose values can be read. */
export const DEQUANTISE: ReadonlyMap<string, Dequantise> = new Map(
  Object.entries({
    F32: f32,
    F16: (bytes: Uint8Array, out: Float32Array) => fromFloat16(words(bytes), out),
    BF16: (bytes: Uint8Array, out: Float32Array) => fromBFloat16(words(bytes), out),
    Q8_0: q8x0,
    Q4_0: q4x0,
    Q4_1: q4x1,
    Q5_0: q5x0,
    Q5_1: q5x1,
    Q4_K: q4k,
    Q5_K: q5k,
    Q6_K: q6k,
  }),
);
