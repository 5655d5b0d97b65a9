/** Reads a safetensors file, tensor by tensor. */
import { type FileHandle, open } from 'node:fs/promises';
import { InputError } from '../run/errors.js';
import { describeReadFailure } from '../run/files.js';
import { type StandIn, standIn } from '../run/stand-in.js';
import { fromBFloat16, fromFloat16 } from './float16.js';
import { elementCount, type WeightTensor } from './parameters.js';
import { headerLength, parseHeader, type TensorEntry } from './safetensors-header.js';

/** Numbers in float64 held at once while they are converted to float32. */
const CHUNK_BYTES = 1 << 24;

/** A tensor in a file. */
export interface TensorLocation {
  path: string;
  /** As safetensors names it. */
  dtype: string;
  shape: readonly number[];
  /** Position of the first byte, and number of bytes. */
  offset: number;
  length: number;
}

/** Tensors that can be read by name, from one file or several. Close it after use. */
export interface TensorSource {
  /** Name, stored dtype and shape of each tensor. */
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** Notes for the user on how the tensors are stored. */
  readonly notes: readonly string[];
  /** @throws InputError for an unknown name, or a dtype that `read` cannot read. */
  check(name: string): void;
  /** As float32; float64 is rounded. @throws InputError as `check` does, or if the file cannot be read. */
  read(name: string): Promise<WeightTensor>;
  /** Where the bytes of a tensor are, if they are its elements one after the other. Errors: as `check`, for the name. */
  locate(name: string): TensorLocation | undefined;
  /** Fills all of `out` with elements of a tensor, row-major, from `start` on. Errors: as `read`. */
  readInto(name: string, start: number, out: Float32Array): Promise<void>;
  close(): Promise<void>;
}

/** Opens a safetensors file and checks its header; tensors are read when asked for. */
export async function openSafetensors(path: string): Promise<TensorSource> {
  const file = await open(path, 'r').catch((error: unknown) => {
    throw new InputError({ source: path, expected: 'a readable file', found: describeReadFailure(error) });
  });
  try {
    const info = await file.stat();
    if (!info.isFile()) throw new InputError({ source: path, expected: 'a file', found: 'a folder' });
    await refuseOtherFile(file, info.size, path);
    const prefix = new Uint8Array(8);
    const { bytesRead } = await file.read(prefix, 0, 8, 0);
    const length = headerLength(prefix.subarray(0, bytesRead), info.size, path);
    const header = new Uint8Array(length);
    await readFully(file, header, 8, path);
    const { tensors } = parseHeader(header, info.size, path);
    const check = (name: string) => {
      storedType(lookUp(tensors, name, path), path);
    };
    const readInto = (name: string, start: number, out: Float32Array) =>
      readValues(file, lookUp(tensors, name, path), start, out, path);
    return {
      entries: tensors,
      notes: [],
      check,
      read: async (name) => {
        const { shape } = lookUp(tensors, name, path);
        check(name);
        const data = new Float32Array(elementCount(shape));
        await readInto(name, 0, data);
        return { data, shape };
      },
      readInto,
      locate: (name) => {
        const { dtype, shape, begin, end } = lookUp(tensors, name, path);
        return { path, dtype, shape, offset: begin, length: end - begin };
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Bytes that identify other kinds of files. */
const HEAD_BYTES = 512;

/** @throws InputError for other content commonly found under the name of a safetensors file. */
async function refuseOtherFile(file: FileHandle, size: number, source: string): Promise<void> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  const head = buffer.toString('latin1', 0, bytesRead);
  const other = size === 0 ? { found: 'an empty file', remedy: 'Fetch it again.' } : otherFormat(head);
  if (other !== undefined) throw new InputError({ source, expected: 'a safetensors file', ...other });
}

function otherFormat(head: string): StandIn | undefined {
  const remedy = 'Its name is wrong: convert the model to safetensors with transformers.';
  if (head.startsWith('PK\u0003\u0004')) return { found: 'a zip archive, as torch.save writes', remedy };
  if (head.startsWith('GGUF')) {
    return {
      found: 'a GGUF file',
      remedy: 'Its name is wrong: give it the ending .gguf, and give its path.',
    };
  }
  // The length of a header is far too small to be written with eight bytes of text.
  const text = /^[\t\n\r\x20-\x7e]{8,40}/.exec(head)?.[0];
  if (text === undefined) return standIn(head);
  return (
    standIn(head) ?? { found: `text that begins with ${JSON.stringify(text)}`, remedy: 'Fetch it again.' }
  );
}

/** @throws InputError for an unknown name. */
export function lookUp<T extends TensorEntry>(
  entries: ReadonlyMap<string, T>,
  name: string,
  source: string,
): T {
  const entry = entries.get(name);
  if (entry === undefined)
    throw new InputError({ source, expected: `a tensor ${name}`, found: 'none of this name' });
  return entry;
}

/** Fills all of `into`. @throws InputError if the file ends before. */
export async function readFully(
  file: FileHandle,
  into: Uint8Array,
  position: number,
  source: string,
): Promise<void> {
  let done = 0;
  while (done < into.length) {
    // One read call takes less than 2 GiB.
    const wanted = Math.min(into.length - done, 1 << 30);
    const { bytesRead } = await file.read(into, done, wanted, position + done);
    if (bytesRead === 0) {
      throw new InputError({
        source,
        expected: `bytes up to ${position + into.length}`,
        found: 'the file cut short',
      });
    }
    done += bytesRead;
  }
}

type StoredType = 'F64' | 'F32' | 'F16' | 'BF16';

const BYTES: Record<StoredType, number> = { F64: 8, F32: 4, F16: 2, BF16: 2 };

const isReadable = (dtype: string): dtype is StoredType => Object.hasOwn(BYTES, dtype);

/** The type a tensor is stored as. @throws InputError unless it is one that models are trained in. */
function storedType({ name, dtype }: TensorEntry, source: string): StoredType {
  if (isReadable(dtype)) return dtype;
  throw new InputError({
    source,
    field: `${name}.dtype`,
    expected: 'F64, F32, F16 or BF16',
    found: dtype,
    remedy: 'Quantised weights are not read: use the model before quantisation.',
  });
}

async function readValues(
  file: FileHandle,
  entry: TensorEntry,
  start: number,
  out: Float32Array,
  source: string,
): Promise<void> {
  const type = storedType(entry, source);
  const begin = entry.begin + BYTES[type] * start;
  // The format is little-endian, and so is every machine the runtime exists for.
  if (type === 'F32') {
    await readFully(file, new Uint8Array(out.buffer, out.byteOffset, out.byteLength), begin, source);
    return;
  }
  if (type !== 'F64') {
    // Numbers of half the size are read to the second half of the room, and widen from the first one on.
    const stored = new Uint16Array(out.buffer, out.byteOffset + 2 * out.length, out.length);
    await readFully(file, new Uint8Array(out.buffer, stored.byteOffset, stored.byteLength), begin, source);
    if (type === 'BF16') fromBFloat16(stored, out);
    else fromFloat16(stored, out);
    return;
  }
  const most = Math.min(out.length, CHUNK_BYTES / BYTES[type]);
  const chunk = new Float64Array(most);
  for (let at = 0; at < out.length; at += most) {
    const part = chunk.subarray(0, Math.min(most, out.length - at));
    await readFully(file, new Uint8Array(part.buffer, 0, part.byteLength), begin + BYTES[type] * at, source);
    out.set(part, at);
  }
}
