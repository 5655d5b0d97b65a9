/** Whether what lies in the folder of an index is one: told before a model is loaded for it. */
import { join } from 'node:path';
import { InputError } from '../run/errors.js';
import { exists } from '../run/files.js';
import { MANIFEST_FILE } from '../vectors/manifest.js';

/** @throws InputError where there is no index to search; what is wrong with one, opening it tells. */
export async function assertIndex(folder: string): Promise<void> {
  if (await exists(join(folder, MANIFEST_FILE))) return;
  throw new InputError({
    source: folder,
    expected: 'the folder of an index',
    found: (await exists(folder)) ? 'no index there' : 'nothing there',
    remedy: 'The command index makes one.',
  });
}
