/** Tells whether a path stands for a GGUF file. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError } from '../../run/errors.js';

const ENDING = /\.gguf$/i;

/**
 * The GGUF file that a path stands for: the file itself, or the only one in a folder without `config.json`; undefined for
 * any other folder, and for a path where nothing is.
 * @throws InputError for a folder with several.
 */
export async function ggufFile(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  if (!found.isDirectory()) return path;
  const names = await readdir(path);
  if (names.includes('config.json')) return undefined;
  const files = names.filter((name) => ENDING.test(name)).sort();
  const [first, ...others] = files;
  if (first === undefined) return undefined;
  if (others.length === 0) return join(path, first);
  throw new InputError({
    source: path,
    expected: 'a model folder, with config.json, or one GGUF file',
    found: `${files.length} GGUF files: ${files.slice(0, 4).join(', ')}${files.length > 4 ? ', ...' : ''}`,
    remedy: `Give the path of one of them, such as ${join(path, first)}.`,
  });
}
