/** Safetensors files for the tests, written by hand. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSafetensors, type WeightTensor } from 'search-r3/checkpoint';

export const freshFolder = () => mkdtemp(join(tmpdir(), 'safetensors-'));
export const tensor = (shape: number[], values: ArrayLike<number>): WeightTensor => ({
  shape,
  data: Float32Array.from(values),
});

/** A file of a header, given as JSON or text, and data bytes. */
export async function fileOf(header: unknown, data: Uint8Array, headerLength?: bigint): Promise<string> {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerLength ?? BigInt(json.length));
  const path = join(await freshFolder(), 'model.safetensors');
  await writeFile(path, Buffer.concat([length, json, data]));
  return path;
}

export async function readAll(path: string): Promise<Map<string, WeightTensor>> {
  const file = await openSafetensors(path);
  try {
    const tensors = new Map<string, WeightTensor>();
    for (const name of file.entries.keys()) tensors.set(name, await file.read(name));
    return tensors;
  } finally {
    await file.close();
  }
}
