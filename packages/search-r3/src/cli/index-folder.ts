/** Whether what lies in the folder of an index is one: told before a model is loaded for it. */
import { InputError } from '../run/errors.js';
import { exists } from '../run/files.js';
import { isIndex } from '../vectors/manifest.js';

/** @throws InputError where there is no index to search. */
export async function assertIndex(folder: string): Promise<void> {
  if (await isIndex(folder)) return;
  throw new InputError({
    source: folder,
    expected: 'the folder of an index',
    found: (await exists(folder)) ? 'no index there' : 'nothing there',
    remedy: 'The command index makes one.',
  });
}
