/**
 * One file for named arrays and JSON metadata: the state of an optimiser or an environment at a step.
 *
 * Layout, little-endian: the 8 bytes `SR3STATE`, the length of the header as a 64-bit integer, the header as JSON
 * `{ metadata, arrays: [{ name, dtype, length }] }` padded with spaces to a multiple of 8 bytes, the arrays in that
 * order, each padded with zeros likewise, and a SHA-256 of everything before it. (Safetensors, which holds the weights,
 * has no checksum and no structured metadata.)
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { endianness } from 'node:os';
import { z } from 'zod';
import { InputError } from './errors.js';
import { describeReadFailure, parseJson, writeFileAtomic } from './files.js';

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
const DIGEST_BYTES = 32;
/** Large files are read and hashed in pieces of this many bytes; a system call handles at most 2 GiB. */
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
    const hash = createHash('sha256');
    const put = async (bytes: Uint8Array) => {
      for (let start = 0; start < bytes.length; start += PIECE) {
        const piece = bytes.subarray(start, start + PIECE);
        hash.update(piece);
        await file.writeFile(piece);
      }
    };
    await put(Buffer.concat([MAGIC, length, header]));
    for (const [, array] of entries) {
      await put(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
      await put(Buffer.alloc(padded(array.byteLength) - array.byteLength));
    }
    await file.writeFile(hash.digest());
  });
}

/** Reads a state file. @throws InputError if it is missing, truncated or corrupt. */
export async function readStateFile(path: string): Promise<State> {
  requireLittleEndian();
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    throw new InputError({ source: path, expected: 'a state file', found: describeReadFailure(error) });
  }
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
  const hash = createHash('sha256');
  let position = 0;
  const take = async (bytes: number): Promise<ArrayBuffer> => {
    const target = new Uint8Array(bytes);
    for (let start = 0; start < bytes; ) {
      const { bytesRead } = await file.read(target, start, Math.min(PIECE, bytes - start), position);
      if (bytesRead === 0) throw fail('size', `${position + bytes - start} bytes`, `${position}`);
      start += bytesRead;
      position += bytesRead;
    }
    return target.buffer;
  };
  const takeHashed = async (bytes: number): Promise<ArrayBuffer> => {
    const buffer = await take(bytes);
    hash.update(new Uint8Array(buffer));
    return buffer;
  };

  const fixed = MAGIC.length + 8;
  if (size < fixed + DIGEST_BYTES) throw fail('size', `at least ${fixed + DIGEST_BYTES} bytes`, `${size}`);
  const start = Buffer.from(await takeHashed(fixed));
  if (!start.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw fail('first bytes', 'SR3STATE', JSON.stringify(start.toString('latin1', 0, MAGIC.length)));
  }
  const headerBytes = start.readBigUInt64LE(MAGIC.length);
  if (headerBytes > BigInt(size - fixed - DIGEST_BYTES)) {
    throw fail('header length', `at most the file's ${size} bytes`, `${headerBytes}`);
  }
  const header = parseHeader(path, Buffer.from(await takeHashed(Number(headerBytes))).toString('utf8'));
  const bytesOf = header.arrays.map(({ dtype, length }) => length * ARRAY_TYPES[dtype].BYTES_PER_ELEMENT);
  const expected = bytesOf.reduce((sum, bytes) => sum + padded(bytes), position + DIGEST_BYTES);
  if (expected !== size) throw fail('size', `${expected} bytes, as its header says`, `${size}`);

  const arrays: Record<string, StateArray> = {};
  for (const [index, { name, dtype, length }] of header.arrays.entries()) {
    const buffer = await takeHashed(padded(bytesOf[index] ?? 0));
    arrays[name] = new ARRAY_TYPES[dtype](buffer, 0, length);
  }
  const digest = Buffer.from(await take(DIGEST_BYTES)).toString('hex');
  const actual = hash.digest('hex');
  if (digest !== actual) throw fail('checksum', digest, `${actual} for the contents`);
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
