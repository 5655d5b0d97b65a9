/** Checks that a folder holds an index, before a model is loaded for it. */
import { join } from 'node:path';
import { InputError } from '../run/errors.js';
import { exists } from '../run/files.js';
import { MANIFEST_FILE } from '../vectors/manifest.js';

/** @throws InputError if the folder holds no index. Opening the index checks its content. */
export async function assertIndex(folder: string): Promise<void> {
  if (await exists(join(folder, MANIFEST_FILE))) return;
  throw new InputError({
    source: folder,
    expected: 'an index folder',
    found: (await exists(folder)) ? 'a folder without an index' : 'nothing there',
    remedy: 'Create one with search-r3 index.',
  });
}
