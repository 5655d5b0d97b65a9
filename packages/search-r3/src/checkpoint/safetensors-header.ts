/**
 * The header of a safetensors file (https://github.com/huggingface/safetensors, "Format"): eight bytes with its length,
 * little-endian; a JSON object of tensor name -> dtype, shape and byte range; then the bytes. Everything in the header
 * is checked against the file before it is used.
 */
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { parseJson } from '../run/files.js';
import { validate } from '../run/validate.js';
import { elementCount } from './parameters.js';

/** Bits of one element of each dtype of the format. */
const DTYPE_BITS: Record<string, number> = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
};

/** The reference implementation's limit: the first eight bytes must not decide how much memory is allocated. */
const MAX_HEADER_BYTES = 100_000_000;

/** One tensor of a file: its bytes are `begin` to `end` (exclusive), from the start of the file. */
export interface TensorEntry {
  name: string;
  dtype: string;
  shape: number[];
  begin: number;
  end: number;
}

export interface SafetensorsHeader {
  /** In the order of the file's bytes. */
  tensors: Map<string, TensorEntry>;
  metadata: Record<string, string>;
}

/** Length of the header from the file's first eight bytes, checked against the file's size. */
export function headerLength(prefix: Uint8Array, fileSize: number, source: string): number {
  if (fileSize < 8 || prefix.length < 8) {
    throw new InputError({
      source,
      expected: 'a safetensors file of 8 bytes or more',
      found: `${fileSize} bytes`,
    });
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES) || length > BigInt(fileSize - 8)) {
    throw new InputError({
      source,
      field: 'header length',
      expected: `at most ${Math.min(MAX_HEADER_BYTES, fileSize - 8)} in a file of ${fileSize} bytes`,
      found: String(length),
      remedy: 'The file is truncated or not a safetensors file.',
    });
  }
  if (length === 0n) {
    const remedy = 'The file is truncated or not a safetensors file.';
    throw new InputError({ source, field: 'header length', expected: 'at least 2', found: '0', remedy });
  }
  return Number(length);
}

const entrySchema = z.looseObject({
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});
const metadataSchema = z.record(z.string(), z.string()).nullable();

/**
 * Reads the header's JSON.
 * @param header its bytes, without the length.
 * @throws InputError unless every byte after the header belongs to exactly one tensor.
 */
export function parseHeader(header: Uint8Array, fileSize: number, source: string): SafetensorsHeader {
  const text = decodeHeader(header, source);
  const json = parseJson(text, { source, field: 'header' });
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new InputError({ source, field: 'header', expected: 'a JSON object', found: text.slice(0, 40) });
  }
  refuseDuplicateKeys(text, source);

  const dataStart = 8 + header.length;
  let metadata: Record<string, string> = {};
  const entries: TensorEntry[] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') metadata = validate(metadataSchema, value, `${source}: __metadata__`) ?? {};
    else entries.push(checkedEntry(name, value, dataStart, source));
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  refuseGaps(entries, dataStart, fileSize, source);
  return { tensors: new Map(entries.map((entry) => [entry.name, entry])), metadata };
}

function decodeHeader(header: Uint8Array, source: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
  } catch {
    throw new InputError({ source, field: 'header', expected: 'UTF-8 text', found: 'other bytes' });
  }
}

function checkedEntry(name: string, value: unknown, dataStart: number, source: string): TensorEntry {
  const { dtype, shape, data_offsets } = validate(entrySchema, value, `${source}: tensor ${name}`);
  const bits = Object.hasOwn(DTYPE_BITS, dtype) ? DTYPE_BITS[dtype] : undefined;
  if (bits === undefined) {
    throw new InputError({
      source,
      field: `${name}.dtype`,
      expected: Object.keys(DTYPE_BITS).join(', '),
      found: dtype,
    });
  }
  const [begin, end] = data_offsets;
  const bytes = (elementCount(shape) * bits) / 8;
  // Beyond 2^53 the product is not exact, but then it exceeds any file too.
  if (end - begin !== bytes) {
    throw new InputError({
      source,
      field: `${name}.data_offsets`,
      expected: `${bytes} bytes for ${dtype} [${shape.join(', ')}]`,
      found: `${begin} to ${end}, ${end - begin} bytes`,
    });
  }
  return { name, dtype, shape, begin: dataStart + begin, end: dataStart + end };
}

function refuseGaps(entries: TensorEntry[], dataStart: number, fileSize: number, source: string): void {
  let at = dataStart;
  for (const { name, begin, end } of entries) {
    if (begin !== at) {
      throw new InputError({
        source,
        field: `${name}.data_offsets`,
        expected: `a start at ${at - dataStart}, where the tensor before it ends`,
        found: `${begin - dataStart}, ${begin < at ? 'overlapping it' : 'leaving a hole'}`,
      });
    }
    at = end;
  }
  if (at !== fileSize) {
    throw new InputError({
      source,
      field: 'size',
      expected: `${at} bytes, as its header says`,
      found: `${fileSize} bytes`,
      remedy:
        at > fileSize
          ? 'The file is truncated: fetch it again.'
          : 'The file has bytes that belong to no tensor.',
    });
  }
}

/** JSON.parse silently keeps the last of two equal keys. `text` is valid JSON. */
function refuseDuplicateKeys(text: string, source: string): void {
  const open: Set<string>[] = [];
  for (const match of text.matchAll(/("[^"\\]*(?:\\.[^"\\]*)*")\s*(:?)|[{}]/g)) {
    const [token, string, colon] = match;
    if (token === '{') open.push(new Set());
    else if (token === '}') open.pop();
    else if (string !== undefined && colon === ':') {
      const key = JSON.parse(string) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) {
        throw new InputError({
          source,
          field: 'header',
          expected: 'each name once',
          found: `"${key}" twice`,
        });
      }
      keys?.add(key);
    }
  }
}
