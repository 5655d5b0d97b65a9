/** Writes safetensors, as one file or as shards with an index. Streams the weights, without a second copy in memory. */
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError } from '../run/errors.js';
import { writeFileAtomic, writeJsonAtomic } from '../run/files.js';
import { toBFloat16, toFloat16 } from './float16.js';
import { elementCount, type WeightTensor } from './parameters.js';
import { WEIGHTS_FILE, WEIGHTS_INDEX } from './weight-files.js';

/** How numbers are stored: float32 exactly, or rounded to nearest even. */
export type StorageDtype = 'f32' | 'bf16' | 'f16';

const BYTES: Record<StorageDtype, number> = { f32: 4, bf16: 2, f16: 2 };
const NAMES: Record<StorageDtype, string> = { f32: 'F32', bf16: 'BF16', f16: 'F16' };
const CHUNK_ELEMENTS = 1 << 22;

/** Writes one file atomically, with the tensors in order and the metadata `{"format": "pt"}` that readers expect. */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, WeightTensor>,
  dtype: StorageDtype = 'f32',
): Promise<void> {
  const header = encodeHeader(tensors, dtype);
  return writeFileAtomic(path, async (file) => {
    await file.writeFile(header);
    for (const [name, tensor] of tensors) await writeTensor(file, tensor, dtype, `${path}: ${name}`);
  });
}

function encodeHeader(tensors: ReadonlyMap<string, WeightTensor>, dtype: StorageDtype): Uint8Array {
  let at = 0;
  const entries: [string, unknown][] = [['__metadata__', { format: 'pt' }]];
  for (const [name, { data, shape }] of tensors) {
    if (data.length !== elementCount(shape)) {
      throw new RangeError(
        `${name}: expected ${elementCount(shape)} values for [${shape}], found ${data.length}`,
      );
    }
    const end = at + data.length * BYTES[dtype];
    entries.push([name, { dtype: NAMES[dtype], shape, data_offsets: [at, end] }]);
    at = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  // Readers that map the file want aligned data: pad the header to a multiple of 8 bytes.
  const length = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return header;
}

async function writeTensor(
  file: FileHandle,
  { data }: WeightTensor,
  dtype: StorageDtype,
  source: string,
): Promise<void> {
  const narrow = new Uint16Array(dtype === 'f32' ? 0 : Math.min(data.length, CHUNK_ELEMENTS));
  for (let at = 0; at < data.length; at += CHUNK_ELEMENTS) {
    const part = data.subarray(at, at + CHUNK_ELEMENTS);
    let stored: Float32Array | Uint16Array = part;
    if (dtype !== 'f32') {
      stored = narrow.subarray(0, part.length);
      if (dtype === 'bf16') toBFloat16(part, stored);
      else toFloat16(part, stored);
      if (dtype === 'f16') refuseOverflow(part, stored, source);
    }
    await file.writeFile(new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength));
  }
}

/** A weight that becomes infinite would make every result NaN. */
function refuseOverflow(values: Float32Array, stored: Uint16Array, source: string): void {
  const at = stored.findIndex((pattern, i) => (pattern & 0x7fff) === 0x7c00 && Number.isFinite(values[i]));
  if (at === -1) return;
  const found = String(values[at]);
  throw new InputError({
    source,
    expected: 'magnitudes below 65520 for f16',
    found,
    remedy: 'Store it as bf16 or f32.',
  });
}

export interface WriteWeightsOptions {
  /** Default f32. */
  dtype?: StorageDtype;
  /** Maximum bytes of tensors in one file; a larger tensor gets a file of its own. Default 5e9. */
  maxShardBytes?: number;
}

/** Writes a folder's weights in the layout that `openWeights` reads. */
export async function writeWeights(
  folder: string,
  tensors: ReadonlyMap<string, WeightTensor>,
  options: WriteWeightsOptions = {},
): Promise<void> {
  const { dtype = 'f32', maxShardBytes = 5e9 } = options;
  const shards: { bytes: number; tensors: Map<string, WeightTensor> }[] = [];
  for (const [name, tensor] of tensors) {
    const bytes = tensor.data.length * BYTES[dtype];
    let shard = shards.at(-1);
    if (shard === undefined || shard.bytes + bytes > maxShardBytes) {
      shard = { bytes: 0, tensors: new Map() };
      shards.push(shard);
    }
    shard.bytes += bytes;
    shard.tensors.set(name, tensor);
  }
  if (shards.length <= 1) return writeSafetensors(join(folder, WEIGHTS_FILE), tensors, dtype);

  const number = (n: number) => String(n).padStart(5, '0');
  const weightMap: [string, string][] = [];
  for (const [i, shard] of shards.entries()) {
    const file = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    await writeSafetensors(join(folder, file), shard.tensors, dtype);
    for (const name of shard.tensors.keys()) weightMap.push([name, file]);
  }
  const totalSize = shards.reduce((sum, { bytes }) => sum + bytes, 0);
  // Written last, so that a folder with an index has all its shards.
  await writeJsonAtomic(join(folder, WEIGHTS_INDEX), {
    metadata: { total_size: totalSize },
    weight_map: Object.fromEntries(weightMap),
  });
}
