/** Where quantised weights are kept: beside the model, or in the user's cache where the model's folder is read-only. */
import { createHash } from 'node:crypto';
import { access, constants, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { StoredFile } from '../checkpoint/index.js';
import type { Precision } from '../decoder/index.js';

/** The environment variable that names a folder in place of both. */
export const CACHE_VARIABLE = 'SEARCH_R3_CACHE';

const NAME = 'search-r3';
/** Raised when the same model would be quantised to something else. */
const VERSION = 2;

/**
 * The path of the quantised weights of a model. Its name changes with whatever they are made from.
 * @param rows of the embedding, which an added token makes more.
 */
export async function quantizedPath(
  model: string,
  precision: Precision,
  { files, rows }: { files: readonly StoredFile[]; rows: number },
): Promise<string> {
  const stamps = files.map(({ path, size, mtimeMs }) => [resolve(path), size, mtimeMs]);
  const key = JSON.stringify([VERSION, precision, rows, stamps]);
  const digest = createHash('sha256').update(key).digest('hex').slice(0, 16);
  return join(await cacheFolder(model), `${precision}-${digest}.safetensors`);
}

async function cacheFolder(model: string): Promise<string> {
  const given = process.env[CACHE_VARIABLE];
  if (given !== undefined && given !== '') return given;
  const folder = (await stat(model)).isDirectory() ? model : dirname(model);
  try {
    await access(folder, constants.W_OK);
    return join(folder, `.${NAME}`);
  } catch {
    return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), NAME);
  }
}
