import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SavedIndex } from 'search-r3/vectors';
import { type OpenStore, storeContract } from '../support/store-contract.js';

const openAs =
  (ann: boolean): OpenStore =>
  async (shape) => {
    const parent = await mkdtemp(join(tmpdir(), 'store-'));
    const folder = join(parent, 'index');
    return {
      store: await SavedIndex.create(folder, { ...shape, ann }),
      reopen: () => SavedIndex.open(folder),
      dispose: () => rm(parent, { recursive: true }),
    };
  };

storeContract('SavedIndex', openAs(false));
storeContract('SavedIndex with a graph', openAs(true));
