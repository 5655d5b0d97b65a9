/** Folders with a tiny model of each architecture, and changes to them. */
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Checkpoint,
  saveCheckpoint,
  type WeightTensor,
  writeSafetensors,
  writeWeights,
} from 'search-r3/checkpoint';
import { freshFolder } from './files.js';
import { makeCheckpoint, shrunk } from './tiny.js';

export const EMBEDDING = 'model.embed_tokens.weight';
export const HEAD = 'lm_head.weight';
export const INDEX = 'model.safetensors.index.json';

export type Kind = 'qwen2' | 'llama' | 'qwen3';
export const originals = Object.fromEntries(
  (['qwen2', 'llama', 'qwen3'] as const).map((kind) => [kind, makeCheckpoint(shrunk[kind])]),
) as Record<Kind, Checkpoint>;
const saved = new Map<Kind, Promise<string>>();

async function save(kind: Kind): Promise<string> {
  const folder = join(await freshFolder(), kind);
  await saveCheckpoint(folder, originals[kind]);
  return folder;
}

/** A folder as it was saved, not to be changed. */
export function savedFolder(kind: Kind): Promise<string> {
  const folder = saved.get(kind) ?? save(kind);
  saved.set(kind, folder);
  return folder;
}

export type Change = (folder: string) => Promise<unknown>;

export async function folderOf(kind: Kind, ...changes: Change[]): Promise<string> {
  const folder = join(await freshFolder(), kind);
  await cp(await savedFolder(kind), folder, { recursive: true });
  for (const change of changes) await change(folder);
  return folder;
}

export const json = async (path: string) =>
  JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;

export const edit =
  (name: string, over: object): Change =>
  async (folder) => {
    const path = join(folder, name);
    const before = await json(path).catch(() => ({}));
    await writeFile(path, JSON.stringify({ ...before, ...over }));
  };

export type Tensors = Map<string, WeightTensor>;

/** The tensors of a model after a change, stored in one file. */
export const reweigh =
  (kind: Kind, change: (weights: Tensors) => Tensors | undefined): Change =>
  async (folder) => {
    const weights = new Map(originals[kind].weights);
    await writeSafetensors(join(folder, 'model.safetensors'), change(weights) ?? weights);
  };

/** The same in shards of at most 900 bytes, with an index that `list` may change. */
export const reshard =
  (
    kind: Kind,
    change: (weights: Tensors) => unknown,
    list: (places: Record<string, string>) => unknown = () => {},
  ): Change =>
  async (folder) => {
    const weights = new Map(originals[kind].weights);
    change(weights);
    await rm(join(folder, 'model.safetensors'));
    await writeWeights(folder, weights, { maxShardBytes: 900 });
    const index = (await json(join(folder, INDEX))) as { weight_map: Record<string, string> };
    list(index.weight_map);
    await writeFile(join(folder, INDEX), JSON.stringify(index));
  };

export const rename = (weights: Tensors, name: (old: string) => string): Tensors =>
  new Map([...weights].map(([old, weight]) => [name(old), weight]));

export const negated = ({ data, shape }: WeightTensor): WeightTensor => ({
  shape,
  data: data.map((x) => -x),
});
