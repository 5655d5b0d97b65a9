/** Reading safetensors, tensor by tensor: one file, or the shards of a folder with their index. */
import { type FileHandle, open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { describeReadFailure, exists, readJson } from '../run/files.js';
import { validate } from '../run/validate.js';
import { fromBFloat16, fromFloat16 } from './float16.js';
import { elementCount, type WeightTensor } from './parameters.js';
import { headerLength, parseHeader, type TensorEntry } from './safetensors-header.js';

export const WEIGHTS_FILE = 'model.safetensors';
export const WEIGHTS_INDEX = 'model.safetensors.index.json';

/** Half-precision bytes held at once while they are widened. */
const CHUNK_BYTES = 1 << 24;

/** Tensors that can be read by name, from one file or several. Close it after use. */
export interface TensorSource {
  /** Name, stored dtype and shape of each tensor. */
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** @throws InputError on an unknown name, and on a dtype other than F32, F16 and BF16. */
  read(name: string): Promise<WeightTensor>;
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
    const prefix = new Uint8Array(8);
    const { bytesRead } = await file.read(prefix, 0, 8, 0);
    const length = headerLength(prefix.subarray(0, bytesRead), info.size, path);
    const header = new Uint8Array(length);
    await readFully(file, header, 8, path);
    const { tensors } = parseHeader(header, info.size, path);
    return {
      entries: tensors,
      read: async (name) => readTensor(file, lookUp(tensors, name, path), path),
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function lookUp(entries: ReadonlyMap<string, TensorEntry>, name: string, source: string): TensorEntry {
  const entry = entries.get(name);
  if (entry === undefined)
    throw new InputError({ source, expected: `a tensor ${name}`, found: 'none of this name' });
  return entry;
}

async function readFully(
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

async function readTensor(file: FileHandle, entry: TensorEntry, source: string): Promise<WeightTensor> {
  const data = new Float32Array(elementCount(entry.shape));
  const tensor = { data, shape: entry.shape };
  if (entry.dtype === 'F32') {
    // The format is little-endian, and so is every machine the runtime exists for.
    await readFully(file, new Uint8Array(data.buffer), entry.begin, source);
    return tensor;
  }
  const widen = entry.dtype === 'BF16' ? fromBFloat16 : entry.dtype === 'F16' ? fromFloat16 : undefined;
  if (widen === undefined) {
    throw new InputError({
      source,
      field: `${entry.name}.dtype`,
      expected: 'F32, F16 or BF16',
      found: entry.dtype,
    });
  }
  const chunk = new Uint16Array(Math.min(data.length, CHUNK_BYTES / 2));
  for (let at = 0; at < data.length; at += chunk.length) {
    const part = chunk.subarray(0, Math.min(chunk.length, data.length - at));
    await readFully(file, new Uint8Array(part.buffer, 0, part.byteLength), entry.begin + 2 * at, source);
    widen(part, data.subarray(at, at + part.length));
  }
  return tensor;
}

/**
 * Opens a folder's weights: `model.safetensors`, else the shards that `model.safetensors.index.json` names.
 * @throws InputError where neither is there, or index and shards disagree. The index's `metadata.total_size` is not
 *   compared: writers do not agree on how tied tensors count in it.
 */
export async function openWeights(folder: string): Promise<TensorSource> {
  if (await exists(join(folder, WEIGHTS_FILE))) return openSafetensors(join(folder, WEIGHTS_FILE));
  const path = join(folder, WEIGHTS_INDEX);
  if (await exists(path)) return openShards(folder, path);
  const pickled = await exists(join(folder, 'pytorch_model.bin'));
  throw new InputError({
    source: folder,
    expected: `${WEIGHTS_FILE}, or ${WEIGHTS_INDEX} and its shards`,
    found: pickled ? 'pytorch_model.bin, which only Python can read' : 'neither',
    ...(pickled ? { remedy: 'Convert it to safetensors first.' } : {}),
  });
}

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

async function openShards(folder: string, path: string): Promise<TensorSource> {
  const { weight_map } = validate(indexSchema, await readJson(path), path);
  const shards = new Map<string, TensorSource>();
  const close = async () => {
    for (const shard of shards.values()) await shard.close();
  };
  try {
    const entries = new Map<string, TensorEntry>();
    const places = new Map<string, TensorSource>();
    for (const [name, file] of Object.entries(weight_map)) {
      if (basename(file) !== file || file.includes('\\') || !file.endsWith('.safetensors')) {
        const expected = 'the name of a .safetensors file in the same folder';
        throw new InputError({
          source: path,
          field: `weight_map.${name}`,
          expected,
          found: JSON.stringify(file),
        });
      }
      let shard = shards.get(file);
      if (shard === undefined) {
        shard = await openSafetensors(join(folder, file));
        shards.set(file, shard);
      }
      const entry = shard.entries.get(name);
      if (entry === undefined) {
        const expected = `the tensor in ${file}`;
        throw new InputError({
          source: path,
          field: `weight_map.${name}`,
          expected,
          found: 'it is not there',
        });
      }
      entries.set(name, entry);
      places.set(name, shard);
    }
    refuseUnlisted(shards, places, path);
    const read = async (name: string): Promise<WeightTensor> => {
      const shard = places.get(name);
      if (shard === undefined) {
        throw new InputError({ source: path, expected: `a tensor ${name}`, found: 'none of this name' });
      }
      return shard.read(name);
    };
    return { entries, read, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function refuseUnlisted(
  shards: ReadonlyMap<string, TensorSource>,
  places: ReadonlyMap<string, TensorSource>,
  source: string,
): void {
  for (const [file, shard] of shards) {
    for (const name of shard.entries.keys()) {
      if (places.get(name) === shard) continue;
      const found = places.has(name)
        ? `${name} in ${file} too, though mapped to another`
        : `no place for ${name} of ${file}`;
      throw new InputError({
        source,
        field: 'weight_map',
        expected: "each of the shards' tensors once",
        found,
      });
    }
  }
}
