/** Writes GGUF files for the tests, from the description of the format (docs/gguf.md of ggml). */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WeightTensor } from 'search-r3/checkpoint';

/** The numbers of value types. */
const VALUE_TYPES = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;

type ValueType = keyof typeof VALUE_TYPES;

export interface Value {
  type: ValueType;
  value: number | bigint | boolean | string | Value[];
  /** Of the elements of an array. */
  of?: ValueType;
}

/** The numbers of the tensor types of these tests. */
export const TENSOR_TYPES = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q2_K: 10,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  BF16: 30,
} as const;

export interface TensorToWrite {
  name: string;
  type: number;
  /** Rows first, as in Python. */
  shape: readonly number[];
  bytes: Uint8Array;
  /** In place of the next free one. */
  offset?: number;
}

export interface FileToWrite {
  version?: number;
  metadata: Readonly<Record<string, Value>>;
  tensors: readonly TensorToWrite[];
}

export const scalar = (type: ValueType, value: number | bigint | boolean | string): Value => ({
  type,
  value,
});
export const u32 = (value: number): Value => scalar('u32', value);
export const f32 = (value: number): Value => scalar('f32', value);
export const text = (value: string): Value => scalar('string', value);
export const flag = (value: boolean): Value => scalar('bool', value);
export const array = (of: ValueType, values: readonly (number | bigint | boolean | string)[]): Value => ({
  type: 'array',
  of,
  value: values.map((value) => scalar(of, value)),
});

function number(type: ValueType, value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  switch (type) {
    case 'u8':
      return bytes.subarray(0, bytes.writeUInt8(Number(value)));
    case 'i8':
      return bytes.subarray(0, bytes.writeInt8(Number(value)));
    case 'u16':
      return bytes.subarray(0, bytes.writeUInt16LE(Number(value)));
    case 'i16':
      return bytes.subarray(0, bytes.writeInt16LE(Number(value)));
    case 'u32':
      return bytes.subarray(0, bytes.writeUInt32LE(Number(value)));
    case 'i32':
      return bytes.subarray(0, bytes.writeInt32LE(Number(value)));
    case 'f32':
      return bytes.subarray(0, bytes.writeFloatLE(Number(value)));
    case 'f64':
      return bytes.subarray(0, bytes.writeDoubleLE(Number(value)));
    case 'u64':
      return bytes.subarray(0, bytes.writeBigUInt64LE(BigInt(value)));
    case 'i64':
      return bytes.subarray(0, bytes.writeBigInt64LE(BigInt(value)));
    default:
      throw new Error(type);
  }
}

function string(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([number('u64', bytes.length), bytes]);
}

function encode({ type, value, of = 'u8' }: Value): Buffer {
  if (typeof value === 'string') return string(value);
  if (typeof value === 'boolean') return Buffer.of(Number(value));
  if (!Array.isArray(value)) return number(type, value);
  return Buffer.concat([number('u32', VALUE_TYPES[of]), number('u64', value.length), ...value.map(encode)]);
}

export function ggufBytes({ version = 3, metadata, tensors }: FileToWrite): Buffer {
  const alignment = Number(metadata['general.alignment']?.value ?? 32);
  const padded = (length: number) => Math.ceil(length / alignment) * alignment;
  const parts = [
    Buffer.from('GGUF'),
    number('u32', version),
    number('u64', tensors.length),
    number('u64', Object.keys(metadata).length),
  ];
  for (const [key, value] of Object.entries(metadata)) {
    parts.push(string(key), number('u32', VALUE_TYPES[value.type]), encode(value));
  }
  let next = 0;
  const data: Buffer[] = [];
  for (const { name, type, shape, bytes, offset } of tensors) {
    parts.push(string(name), number('u32', shape.length));
    for (const size of shape.toReversed()) parts.push(number('u64', size));
    parts.push(number('u32', type), number('u64', offset ?? next));
    data.push(Buffer.concat([bytes, Buffer.alloc(padded(bytes.length) - bytes.length)]));
    next += padded(bytes.length);
  }
  const header = Buffer.concat(parts);
  return Buffer.concat([header, Buffer.alloc(padded(header.length) - header.length), ...data]);
}

export async function fileOf(bytes: Uint8Array, name = 'model.gguf'): Promise<string> {
  const path = join(await mkdtemp(join(tmpdir(), 'gguf-')), name);
  await writeFile(path, bytes);
  return path;
}

export const writeGguf = (file: FileToWrite): Promise<string> => fileOf(ggufBytes(file));

export function f32Tensor(name: string, { data, shape }: WeightTensor): TensorToWrite {
  return { name, type: TENSOR_TYPES.F32, shape, bytes: Buffer.from(data.slice().buffer) };
}
