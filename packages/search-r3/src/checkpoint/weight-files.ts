/**
 * Which files of a folder hold its weights: one safetensors file, or shards. As in transformers, the shard index is
 * used only for the file names. Its entries for single tensors are ignored: the files list their own tensors, and old
 * indexes list tied heads that were never stored, or omit buffers that were.
 */
import { readdir, stat } from 'node:fs/promises';
import { isAbsolute, join, normalize, sep } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { describeReadFailure, exists, readJson } from '../run/files.js';
import type { StandIn } from '../run/stand-in.js';
import { validate } from '../run/validate.js';
import { otherWeights } from './other-formats.js';
import { openSafetensors, type TensorSource } from './safetensors.js';
import type { TensorEntry } from './safetensors-header.js';

export const WEIGHTS_FILE = 'model.safetensors';
export const WEIGHTS_INDEX = 'model.safetensors.index.json';

/** The files of an adapter on top of a base, as PEFT names them. */
export const ADAPTER_CONFIG = 'adapter_config.json';
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors';

/**
 * Opens a folder's weights: `model.safetensors`, or else the shards that `model.safetensors.index.json` names.
 * @param named the file or index to open in their place, relative to the folder (`transformers_weights` of a
 *   `config.json`).
 * @throws InputError if there is neither, if a shard is missing, or if a file is not a valid safetensors file.
 */
export async function openWeights(folder: string, named?: string): Promise<TensorSource> {
  if (named !== undefined) {
    const source = join(folder, 'config.json');
    const path = join(folder, insideFolder(named, { source, field: 'transformers_weights' }, FILE_OR_INDEX));
    return path.endsWith('.json') ? openShards(folder, path) : openSafetensors(path);
  }
  const [file, index] = [join(folder, WEIGHTS_FILE), join(folder, WEIGHTS_INDEX)];
  const isSharded = await exists(index);
  if (await exists(file)) {
    const source = await openSafetensors(file);
    const note = `${WEIGHTS_FILE} is read; the shards of ${WEIGHTS_INDEX} are not.`;
    return isSharded ? { ...source, notes: [...source.notes, note] } : source;
  }
  if (isSharded) return openShards(folder, index);
  const names = await readdir(folder).catch((error: unknown) => {
    throw new InputError({ source: folder, expected: 'a folder', found: describeReadFailure(error) });
  });
  throw new InputError({
    source: folder,
    expected: `${WEIGHTS_FILE}, or ${WEIGHTS_INDEX} and its shards`,
    ...(brokenLink(names) ?? otherWeights(names) ?? { found: 'neither' }),
  });
}

/** A file as it was at some time: another size or time of change is another content. */
export interface StoredFile {
  path: string;
  size: number;
  mtimeMs: number;
}

/** Whether a file has not changed. */
export const isSameFile = (a: StoredFile, b: StoredFile) => a.size === b.size && a.mtimeMs === b.mtimeMs;

/** The file as it is now. */
export async function storedFile(path: string): Promise<StoredFile> {
  const { size, mtimeMs } = await stat(path);
  return { path, size, mtimeMs };
}

/** The files that `openWeights` reads, as they are now. Errors: as `openWeights`, for the shard index. */
export async function weightFiles(folder: string, named?: string): Promise<StoredFile[]> {
  const file = (await exists(join(folder, WEIGHTS_FILE))) ? WEIGHTS_FILE : WEIGHTS_INDEX;
  const path = join(folder, named ?? file);
  const isIndex = path.endsWith('.json');
  const paths = isIndex ? (await shardNames(path)).map((name) => join(folder, name)) : [path];
  return Promise.all(paths.map(storedFile));
}

/** Neither file is there, but the name of one is. */
function brokenLink(names: readonly string[]): StandIn | undefined {
  const name = [WEIGHTS_FILE, WEIGHTS_INDEX].find((one) => names.includes(one));
  if (name === undefined) return undefined;
  return { found: `${name}, a link to a file that is missing`, remedy: 'Fetch what it links to.' };
}

const FILE = /\.safetensors$/;
const FILE_OR_INDEX = /\.safetensors(?:\.index\.json)?$/;

/** An external file name as a path inside the folder. @throws InputError if it points outside. */
function insideFolder(name: string, at: { source: string; field: string }, pattern: RegExp): string {
  const path = normalize(name);
  const leaves = isAbsolute(path) || path.split(sep).includes('..') || name.includes('\\');
  if (!leaves && pattern.test(name)) return path;
  const expected = 'the name of a .safetensors file inside the folder';
  throw new InputError({ ...at, expected, found: JSON.stringify(name) });
}

// transformers requires `metadata` too, but does not use it here.
const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** The files that an index names. @throws InputError if it is invalid or names one outside the folder. */
async function shardNames(path: string): Promise<string[]> {
  const { weight_map: places } = validate(indexSchema, await readJson(path), path);
  for (const [name, file] of Object.entries(places)) {
    insideFolder(file, { source: path, field: `weight_map.${name}` }, FILE);
  }
  return [...new Set(Object.values(places).map(normalize))].sort();
}

async function openShards(folder: string, path: string): Promise<TensorSource> {
  const files = await shardNames(path);
  await refuseMissing(folder, files, path);
  const shards: TensorSource[] = [];
  const close = async () => {
    for (const shard of shards) await shard.close();
  };
  try {
    for (const file of files) shards.push(await openSafetensors(join(folder, file)));
  } catch (error) {
    await close();
    throw error;
  }
  return joined(shards, files, path, close);
}

async function refuseMissing(folder: string, files: readonly string[], source: string): Promise<void> {
  const missing: string[] = [];
  for (const file of files) if (!(await exists(join(folder, file)))) missing.push(file);
  if (missing.length === 0) return;
  const shown = missing.slice(0, 4).join(', ') + (missing.length > 4 ? ', ...' : '');
  throw new InputError({
    source,
    field: 'weight_map',
    expected: `its ${files.length} shards in the folder`,
    found: `${missing.length} of them missing: ${shown}`,
    remedy: 'Fetch the missing files.',
  });
}

/** The tensors of several files; if a name occurs twice, the last file wins, as in transformers. */
function joined(
  shards: readonly TensorSource[],
  files: readonly string[],
  path: string,
  close: () => Promise<void>,
): TensorSource {
  const entries = new Map<string, TensorEntry>();
  const owners = new Map<string, number>();
  const notes: string[] = [];
  for (const [i, shard] of shards.entries()) {
    for (const [name, entry] of shard.entries) {
      const earlier = owners.get(name);
      if (earlier !== undefined)
        notes.push(`${name} is in ${files[earlier]} and in ${files[i]}: the latter is used.`);
      entries.set(name, entry);
      owners.set(name, i);
    }
  }
  const shardOf = (name: string): TensorSource => {
    const shard = shards[owners.get(name) ?? -1];
    if (shard !== undefined) return shard;
    throw new InputError({ source: path, expected: `a tensor ${name}`, found: 'none of this name' });
  };
  return {
    entries,
    notes,
    check: (name) => shardOf(name).check(name),
    read: async (name) => shardOf(name).read(name),
    readInto: async (name, start, out) => shardOf(name).readInto(name, start, out),
    locate: (name) => shardOf(name).locate(name),
    close,
  };
}
