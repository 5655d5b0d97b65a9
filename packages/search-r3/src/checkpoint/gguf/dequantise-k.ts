/**
 * The K types of ggml: blocks of 256 values in 8 or 16 groups. The block has scales in binary16, each group a small
 * integer that multiplies them. Layouts: `ggml-common.h` of ggml; reference: the Python package `gguf`.
 */
import { float16At } from '../float16.js';

/** Values of a block. */
const BLOCK = 256;
/** Groups of Q4_K and Q5_K, of 32 values each. */
const GROUPS = 8;

/**
 * The scales and minima of the 8 groups, 6 bits each in 12 bytes: bytes 0 to 3 have the scales of groups 0 to 3, bytes 4
 * to 7 their minima; bytes 8 to 11 have the low four bits of the scales and of the minima of groups 4 to 7, whose two
 * high bits are those of the bytes before.
 */
function unpackGroups(bytes: Uint8Array, at: number, scales: Uint8Array, minima: Uint8Array): void {
  for (let i = 0; i < 4; i++) {
    const scale = bytes[at + i] as number;
    const least = bytes[at + 4 + i] as number;
    const both = bytes[at + 8 + i] as number;
    scales[i] = scale & 63;
    minima[i] = least & 63;
    scales[i + 4] = (both & 15) | ((scale >> 6) << 4);
    minima[i + 4] = (both >> 4) | ((least >> 6) << 4);
  }
}

/**
 * Scale and scale of the minima, the 12 bytes of the groups, 128 bytes of values: 32 bytes hold two groups, the first in
 * the low bits. A value is scale x group scale x integer - minima's scale x group minimum.
 */
export function q4k(bytes: Uint8Array, out: Float32Array): void {
  const [scales, minima] = [new Uint8Array(GROUPS), new Uint8Array(GROUPS)];
  for (let at = 0, to = 0; to < out.length; at += 144, to += BLOCK) {
    const scale = float16At(bytes, at);
    const leastScale = float16At(bytes, at + 2);
    unpackGroups(bytes, at + 4, scales, minima);
    for (let group = 0; group < GROUPS; group += 2) {
      const low = scale * (scales[group] as number);
      const lowLeast = leastScale * (minima[group] as number);
      const high = scale * (scales[group + 1] as number);
      const highLeast = leastScale * (minima[group + 1] as number);
      const from = at + 16 + group * 16;
      const into = to + group * 32;
      for (let i = 0; i < 32; i++) {
        const pair = bytes[from + i] as number;
        out[into + i] = low * (pair & 15) - lowLeast;
        out[into + 32 + i] = high * (pair >> 4) - highLeast;
      }
    }
  }
}

/** As Q4_K, with 32 bytes of fifth bits before the values: bit g of byte i belongs to value i of group g. */
export function q5k(bytes: Uint8Array, out: Float32Array): void {
  const [scales, minima] = [new Uint8Array(GROUPS), new Uint8Array(GROUPS)];
  for (let at = 0, to = 0; to < out.length; at += 176, to += BLOCK) {
    const scale = float16At(bytes, at);
    const leastScale = float16At(bytes, at + 2);
    unpackGroups(bytes, at + 4, scales, minima);
    for (let group = 0; group < GROUPS; group += 2) {
      const low = scale * (scales[group] as number);
      const lowLeast = leastScale * (minima[group] as number);
      const high = scale * (scales[group + 1] as number);
      const highLeast = leastScale * (minima[group + 1] as number);
      const from = at + 48 + group * 16;
      const into = to + group * 32;
      for (let i = 0; i < 32; i++) {
        const pair = bytes[from + i] as number;
        const fifth = (bytes[at + 16 + i] as number) >> group;
        out[into + i] = low * ((pair & 15) | ((fifth & 1) << 4)) - lowLeast;
        out[into + 32 + i] = high * ((pair >> 4) | ((fifth & 2) << 3)) - highLeast;
      }
    }
  }
}

/**
 * 128 bytes of low bits, 64 of high bits, 16 signed group scales, the scale; 32 stands for zero. Each half of the block
 * has 64 bytes of low bits and 32 of high bits: value i of the four quarters of the half takes low bits of byte i (low,
 * then high half of the byte: quarters 0 and 2) or 32 + i (1 and 3), and two bits of high byte i, quarter 0 the lowest.
 */
export function q6k(bytes: Uint8Array, out: Float32Array): void {
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0, to = 0; to < out.length; at += 210, to += BLOCK) {
    const scale = float16At(bytes, at + 208);
    for (let part = 0; part < 2; part++) {
      const lowAt = at + part * 64;
      const highAt = at + 128 + part * 32;
      const groupAt = at + 192 + part * 8;
      const into = to + part * 128;
      for (let i = 0; i < 32; i++) {
        const group = groupAt + (i >> 4);
        const first = bytes[lowAt + i] as number;
        const second = bytes[lowAt + 32 + i] as number;
        const high = bytes[highAt + i] as number;
        out[into + i] = scale * (signed[group] as number) * (((first & 15) | ((high & 3) << 4)) - 32);
        out[into + 32 + i] =
          scale * (signed[group + 2] as number) * (((second & 15) | ((high & 12) << 2)) - 32);
        out[into + 64 + i] = scale * (signed[group + 4] as number) * (((first >> 4) | (high & 48)) - 32);
        out[into + 96 + i] =
          scale * (signed[group + 6] as number) * (((second >> 4) | ((high & 192) >> 2)) - 32);
      }
    }
  }
}
