/**
 * One file for named arrays and JSON metadata: the state of an optimiser or an environment at a step.
 *
 * Layout, little-endian: the 8 bytes `SR3STATE`, the length of the header as a 64-bit integer, the header as JSON
 * `{ metadata, arrays: [{ name, dtype, length }] }` padded with spaces to a multiple of 8 bytes, and the arrays in that
 * order, each padded with zeros likewise. (Safetensors, which holds the weights, has no structured metadata.) The
 * checksum is in the manifest of the checkpoint.
 */
import type { FileHandle } from 'node:fs/promises';
import { endianness } from 'node:os';
import { z } from 'zod';
import { openFile, readFully } from './checked-files.js';
import { InputError } from './errors.js';
import { parseJson, writeFileAtomic } from './files.js';

const ARRAY_TYPES = {
  f64: Float64Array,
  f32: Float32Array,
  i64: BigInt64Array,
  u64: BigUint64Array,
  i32: Int32Array,
  u32: Uint32Array,
  i16: Int16Array,
  u16: Uint16Array,
  i8: Int8Array,
  u8: Uint8Array,
} as const;
type Dtype = keyof typeof ARRAY_TYPES;
const DTYPES = Object.keys(ARRAY_TYPES) as [Dtype, ...Dtype[]];

/** An array a state file can hold. */
export type StateArray = InstanceType<(typeof ARRAY_TYPES)[Dtype]>;

export interface State {
  /** Anything JSON can express. */
  metadata: unknown;
  arrays: Record<string, StateArray>;
}

const MAGIC = Buffer.from('SR3STATE', 'latin1');
/** Large files are written and read in pieces of this many bytes; a system call handles at most 2 GiB. */
const PIECE = 1 << 24;

const headerSchema = z.strictObject({
  metadata: z.unknown(),
  arrays: z.array(z.strictObject({ name: z.string(), dtype: z.enum(DTYPES), length: z.int().nonnegative() })),
});
type Header = z.infer<typeof headerSchema>;

const padded = (bytes: number) => Math.ceil(bytes / 8) * 8;

function dtypeOf(array: StateArray): Dtype {
  const found = DTYPES.find((dtype) => array.constructor === ARRAY_TYPES[dtype]);
  if (found === undefined)
    throw new TypeError(`state file: expected a plain typed array, found ${typeof array}`);
  return found;
}

/** Writes `state` to `path` atomically. */
export async function writeStateFile(path: string, state: State): Promise<void> {
  requireLittleEndian();
  const entries = Object.entries(state.arrays);
  const arrays = entries.map(([name, array]) => ({ name, dtype: dtypeOf(array), length: array.length }));
  const json = Buffer.from(JSON.stringify({ metadata: state.metadata ?? null, arrays } satisfies Header));
  const header = Buffer.alloc(padded(json.length), ' ');
  json.copy(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  await writeFileAtomic(path, async (file) => {
    const put = async (bytes: Uint8Array) => {
      for (let start = 0; start < bytes.length; start += PIECE) {
        await file.writeFile(bytes.subarray(start, start + PIECE));
      }
    };
    await put(Buffer.concat([MAGIC, length, header]));
    for (const [, array] of entries) {
      await put(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
      await put(Buffer.alloc(padded(array.byteLength) - array.byteLength));
    }
  });
}

/** Reads a state file. @throws InputError if it is missing, truncated or not a state file. */
export async function readStateFile(path: string): Promise<State> {
  requireLittleEndian();
  const file = await openFile(path);
  try {
    return await readState(path, file);
  } finally {
    await file.close();
  }
}

async function readState(path: string, file: FileHandle): Promise<State> {
  const fail = (field: string, expected: string, found: string) =>
    new InputError({ source: path, field, expected, found });
  const { size } = await file.stat();
  let position = 0;
  const take = async (bytes: number): Promise<ArrayBuffer> => {
    const target = new Uint8Array(bytes);
    for (let start = 0; start < bytes; start += PIECE) {
      await readFully(file, target.subarray(start, start + PIECE), position + start, path);
    }
    position += bytes;
    return target.buffer;
  };

  const fixed = MAGIC.length + 8;
  if (size < fixed) throw fail('size', `at least ${fixed} bytes`, `${size}`);
  const start = Buffer.from(await take(fixed));
  if (!start.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw fail('first bytes', 'SR3STATE', JSON.stringify(start.toString('latin1', 0, MAGIC.length)));
  }
  const headerBytes = start.readBigUInt64LE(MAGIC.length);
  if (headerBytes > BigInt(size - fixed)) {
    throw fail('header length', `at most the file's ${size} bytes`, `${headerBytes}`);
  }
  const header = parseHeader(path, Buffer.from(await take(Number(headerBytes))).toString('utf8'));
  const bytesOf = header.arrays.map(({ dtype, length }) => length * ARRAY_TYPES[dtype].BYTES_PER_ELEMENT);
  const expected = bytesOf.reduce((sum, bytes) => sum + padded(bytes), position);
  if (expected !== size) throw fail('size', `${expected} bytes, as its header says`, `${size}`);

  const arrays: Record<string, StateArray> = {};
  for (const [index, { name, dtype, length }] of header.arrays.entries()) {
    const buffer = await take(padded(bytesOf[index] ?? 0));
    arrays[name] = new ARRAY_TYPES[dtype](buffer, 0, length);
  }
  return { metadata: header.metadata, arrays };
}

function parseHeader(path: string, text: string): Header {
  const result = headerSchema.safeParse(parseJson(text, { source: path, field: 'header' }));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = ['header', ...(issue?.path ?? [])].join('.');
  throw new InputError({
    source: path,
    field,
    expected: 'a valid header',
    found: issue?.message ?? 'something else',
  });
}

function requireLittleEndian(): void {
  if (endianness() !== 'LE') throw new Error('state files need a little-endian machine');
}
