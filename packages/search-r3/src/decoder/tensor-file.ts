/** Writes safetensors files of several dtypes: their layout, and tensors at their places. */
import type { FileHandle } from 'node:fs/promises';
import { elementCount, toBFloat16, toFloat16 } from '../checkpoint/index.js';
import type { FloatType, StoredTensor, StoredType } from './stored-tensors.js';

const TYPES: Record<StoredType, { name: string; bytes: number }> = {
  float32: { name: 'F32', bytes: 4 },
  float16: { name: 'F16', bytes: 2 },
  bfloat16: { name: 'BF16', bytes: 2 },
  int8: { name: 'I8', bytes: 1 },
  uint8: { name: 'U8', bytes: 1 },
};

/** The type that a safetensors file names so; undefined for one that no model is computed from. */
export const storedType = (dtype: string): StoredType | undefined =>
  (Object.keys(TYPES) as StoredType[]).find((type) => TYPES[type].name === dtype);

/** Of the first tensor. The format has no room between tensors. */
const ALIGNMENT = 64;

/** The header of a file, and where each tensor starts in it. */
export function layOut(tensors: ReadonlyMap<string, StoredTensor>): {
  header: Uint8Array;
  starts: Map<string, number>;
} {
  let at = 0;
  const entries: Record<string, unknown> = {};
  const offsets = new Map<string, number>();
  for (const [name, { type, shape }] of tensors) {
    const { name: dtype, bytes } = TYPES[type];
    const end = at + elementCount(shape) * bytes;
    entries[name] = { dtype, shape, data_offsets: [at, end] };
    offsets.set(name, at);
    at = end;
  }
  const json = Buffer.from(JSON.stringify(entries));
  const length = Math.ceil((8 + json.length) / ALIGNMENT) * ALIGNMENT - 8;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return { header, starts: new Map([...offsets].map(([name, offset]) => [name, header.length + offset])) };
}

/** A write takes less than 2 GiB. */
const PIECE = 1 << 28;

/** Writes all of an array at a position. */
export async function writeAt(file: FileHandle, data: ArrayBufferView, start: number): Promise<void> {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < bytes.length; ) {
    const piece = bytes.subarray(at, at + PIECE);
    at += (await file.write(piece, 0, piece.length, start + at)).bytesWritten;
  }
}

/** Numbers as they are stored. */
export function narrowed(values: Float32Array, type: FloatType): Float32Array | Uint16Array {
  if (type === 'float32') return values;
  const stored = new Uint16Array(values.length);
  if (type === 'float16') toFloat16(values, stored);
  else toBFloat16(values, stored);
  return stored;
}
