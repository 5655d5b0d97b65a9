/** An adapter folder as an ordinary model. */

import { type Checkpoint, loadCheckpoint } from '../checkpoint.js';
import { assertFinite } from '../finite.js';
import { readAdapterFolder, refuseMisfit } from './files.js';
import { mergeAdapter } from './merge.js';

/**
 * Loads an adapter and its base, merged in float32.
 * @param base in place of the one that the folder names.
 * @throws InputError as `readAdapterFolder` and `loadCheckpoint`, and where the adapter does not fit the base.
 */
export async function loadMerged(folder: string, base?: string): Promise<Checkpoint> {
  const found = await readAdapterFolder(folder, base);
  const { retriever, adapter } = found;
  const checkpoint = await loadCheckpoint(found.base, retriever && { embedding: { recorded: retriever } });
  refuseMisfit(adapter, checkpoint.config, folder);
  const weights = mergeAdapter(checkpoint.weights, adapter);
  assertFinite({ weights }, folder);
  return { ...checkpoint, ...retriever, weights };
}
