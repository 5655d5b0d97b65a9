/** Whether what lies in the folder of an index is one: told before a model is loaded for it. */
import { join } from 'node:path';
import { InputError } from '../run/errors.js';
import { exists, whatStandsAt } from '../run/files.js';
import { MANIFEST_FILE } from '../vectors/manifest.js';

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

/** @throws InputError where something else stands in the way of a new index: it is never replaced. */
export async function assertNothingElse(folder: string): Promise<void> {
  const occupied = await whatStandsAt(folder);
  if (!occupied || (await isIndex(folder))) return;
  throw new InputError({
    source: folder,
    expected: 'no such folder yet, or an empty one',
    found: `${occupied}, and no index`,
    remedy: 'Only an index is ever replaced: choose another folder.',
  });
}

const isIndex = (folder: string): Promise<boolean> => exists(join(folder, MANIFEST_FILE));
