/**
 * The header of a GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3, little-endian:
 * the bytes "GGUF", the version, the numbers of tensors and of metadata entries, the entries, and the table of tensors;
 * then the tensors, each at a multiple of the alignment. Everything is checked against the file before it is used.
 */
import { InputError } from '../../run/errors.js';
import { elementCount } from '../parameters.js';
import type { TensorEntry } from '../safetensors-header.js';
import { Cursor, SIZES } from './cursor.js';
import { GGML_TYPES, type GgmlType } from './types.js';

/** A metadata value. Integers beyond 2^53 are bigints. */
export type GgufValue = number | bigint | boolean | string | GgufValue[];

export type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** One tensor of a file. Its `dtype` is the name of its type; its shape is in the order of Python, rows first. */
export interface GgufTensor extends TensorEntry {
  readonly type: GgmlType;
}

export interface GgufHeader {
  readonly metadata: GgufMetadata;
  /** By their names in the file, in its order. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

const ALIGNMENT = 'general.alignment';
const DEFAULT_ALIGNMENT = 32;
const MAX_DIMENSIONS = 4;
/** Elements of an array. A larger count means that the file is damaged. */
const MAX_ARRAY = 1 << 26;
/** Arrays within arrays. No key of a model has them. */
const MAX_DEPTH = 4;
/** Least bytes of an entry (empty name, type, value), and of a tensor (empty name, no dimensions, type, offset). */
const [LEAST_ENTRY, LEAST_TENSOR] = [8 + 4 + 1, 8 + 4 + 4 + 8];

/**
 * Reads the header of an open file that begins with "GGUF".
 * @param file its descriptor.
 * @throws InputError if it is not valid, or if a tensor lies outside of the file.
 */
export function readHeader(file: number, size: number, source: string): GgufHeader {
  const cursor = new Cursor(file, size, source);
  cursor.number('u32', 'magic');
  checkVersion(Number(cursor.number('u32', 'version')), source);
  const tensorCount = cursor.count('u64', 'number of tensors', LEAST_TENSOR);
  const entryCount = cursor.count('u64', 'number of metadata entries', LEAST_ENTRY);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < entryCount; i++) {
    const name = cursor.string(`name of metadata entry ${i}`);
    if (metadata.has(name)) throw cursor.error('metadata', 'each name once', `${name} twice`);
    metadata.set(name, readValue(cursor, Number(cursor.number('u32', `${name}, type`)), name));
  }
  const table: Row[] = [];
  for (let i = 0; i < tensorCount; i++) table.push(readRow(cursor, i));
  const alignment = alignmentOf(metadata, source);
  const start = Math.ceil(cursor.position / alignment) * alignment;
  return { metadata, tensors: placed(table, { start, alignment }, cursor) };
}

function checkVersion(version: number, source: string): void {
  if (version === 2 || version === 3) return;
  const isSwapped = version !== 0 && (version & 0xffff) === 0;
  throw new InputError({
    source,
    field: 'version',
    expected: '2 or 3, little-endian',
    found: isSwapped ? 'a big-endian file' : String(version),
    remedy:
      version === 1
        ? 'The format of 2023: convert the model again with a current llama.cpp.'
        : 'Convert the model to version 3.',
  });
}

/** The types of metadata values, by their numbers. */
// biome-ignore format: one line shows the order
const VALUES = ['u8', 'i8', 'u16', 'i16', 'u32', 'i32', 'f32', 'bool', 'string', 'array', 'u64', 'i64', 'f64'] as const;

/** Least bytes of a value. */
const LEAST: Record<(typeof VALUES)[number], number> = { ...SIZES, bool: 1, string: 8, array: 12 };

function readValue(cursor: Cursor, number: number, field: string, depth = 0): GgufValue {
  const type = VALUES[number];
  switch (type) {
    case undefined:
      throw cursor.error(`${field}, type`, `one of 0 to ${VALUES.length - 1}`, String(number));
    case 'bool':
      return cursor.number('u8', field) !== 0;
    case 'string':
      return cursor.string(field);
    case 'array':
      return readArray(cursor, field, depth);
    default:
      return cursor.number(type, field);
  }
}

function readArray(cursor: Cursor, field: string, depth: number): GgufValue[] {
  if (depth === MAX_DEPTH) throw cursor.error(field, `arrays ${MAX_DEPTH} deep at most`, 'deeper ones');
  const number = Number(cursor.number('u32', `${field}, type of elements`));
  const least = LEAST[VALUES[number] ?? 'u8'];
  const length = cursor.count('u64', `${field}, length`, least, MAX_ARRAY);
  const values: GgufValue[] = [];
  for (let i = 0; i < length; i++) values.push(readValue(cursor, number, field, depth + 1));
  return values;
}

/** A line of the table of tensors. */
interface Row {
  name: string;
  type: GgmlType;
  shape: number[];
  /** From the start of the tensors' part of the file. */
  offset: number;
}

function readRow(cursor: Cursor, index: number): Row {
  const name = cursor.string(`name of tensor ${index}`);
  const dimensions = cursor.count('u32', `${name}, number of dimensions`, 8, MAX_DIMENSIONS);
  const shape: number[] = [];
  for (let i = 0; i < dimensions; i++) {
    const length = cursor.number('u64', `${name}, dimensions`);
    if (typeof length === 'bigint') throw cursor.error(`${name}, dimensions`, 'sizes', String(length));
    // The file has the length of a row first.
    shape.unshift(length);
  }
  const number = Number(cursor.number('u32', `${name}, type`));
  const type = GGML_TYPES.get(number);
  if (type === undefined) {
    throw new InputError({
      source: cursor.source,
      field: `${name}, type`,
      expected: `a type of ggml (${[...GGML_TYPES.values()].map((one) => one.name).join(', ')})`,
      found: `the unknown type ${number}`,
      remedy: 'The file is damaged, or newer than this program.',
    });
  }
  return { name, type, shape, offset: Number(cursor.number('u64', `${name}, offset`)) };
}

function alignmentOf(metadata: GgufMetadata, source: string): number {
  const value = metadata.get(ALIGNMENT) ?? DEFAULT_ALIGNMENT;
  if (typeof value === 'number' && Number.isInteger(Math.log2(value)) && value >= 1) return value;
  throw new InputError({ source, field: ALIGNMENT, expected: 'a power of two', found: String(value) });
}

/** The tensors with their places in the file. @throws InputError if one is outside of it or overlaps another. */
function placed(
  table: readonly Row[],
  { start, alignment }: { start: number; alignment: number },
  cursor: Cursor,
): Map<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>();
  for (const { name, type, shape, offset } of table) {
    if (tensors.has(name)) throw cursor.error('tensors', 'each name once', `${name} twice`);
    const row = shape.at(-1) ?? 1;
    if (row % type.elements !== 0) {
      const expected = `rows of a multiple of ${type.elements} elements, for ${type.name}`;
      throw cursor.error(`${name}, dimensions`, expected, `[${shape.join(', ')}]`);
    }
    if (offset % alignment !== 0) {
      throw cursor.error(`${name}, offset`, `a multiple of the alignment, ${alignment}`, String(offset));
    }
    const begin = start + offset;
    const end = begin + (elementCount(shape) / type.elements) * type.bytes;
    // Beyond 2^53 the product is not exact, but then it exceeds any file too.
    if (end > cursor.size) {
      const expected = `bytes ${begin} to ${end} for ${type.name} [${shape.join(', ')}]`;
      throw cursor.error(name, expected, `a file of ${cursor.size} bytes`);
    }
    tensors.set(name, { name, dtype: type.name, type, shape, begin, end });
  }
  refuseOverlaps([...tensors.values()], cursor);
  return tensors;
}

function refuseOverlaps(tensors: GgufTensor[], cursor: Cursor): void {
  let before: GgufTensor | undefined;
  for (const tensor of tensors.filter(({ begin, end }) => end > begin).sort((a, b) => a.begin - b.begin)) {
    if (before !== undefined && tensor.begin < before.end) {
      const expected = `a start at ${before.end} or later, where ${before.name} ends`;
      throw cursor.error(`${tensor.name}, offset`, expected, String(tensor.begin));
    }
    before = tensor;
  }
}
