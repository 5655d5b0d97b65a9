/** The state that every trainer saves and restores: what it trains, and the optimiser. */
import { join } from 'node:path';
import { type Checkpoint, loadWeights, saveCheckpoint, type Weights } from '../checkpoint/index.js';
import { InputError, readStateFile, type StateArray, writeStateFile } from '../run/index.js';
import type { Optimizer } from './optimizer.js';

const MODEL = 'model';
const TRAINED = 'trained.state';
const OPTIMIZER = 'optimizer.state';

/** What training changes: a whole model, or some arrays beside one that stays as it is, such as those of an adapter. */
export type Trained = Checkpoint | Weights;

/**
 * Writes what is trained (a model as the folder `model/` in float32, arrays as `trained.state`, both exactly) and
 * `optimizer.state` into a folder that is being made.
 */
export async function saveTraining(folder: string, trained: Trained, optimizer: Optimizer): Promise<void> {
  if (trained instanceof Map) await saveArrays(join(folder, TRAINED), trained);
  else await saveCheckpoint(join(folder, MODEL), trained, { dtype: 'f32' });
  await writeStateFile(join(folder, OPTIMIZER), optimizer.state());
}

/**
 * Overwrites what is trained, in the arrays that sessions read, and the optimiser's state.
 * @throws InputError if what was saved are not the same arrays.
 */
export async function restoreTraining(folder: string, trained: Trained, optimizer: Optimizer): Promise<void> {
  if (trained instanceof Map) await restoreArrays(join(folder, TRAINED), trained);
  else {
    const { config, weights } = trained;
    for (const [name, { data }] of await loadWeights(join(folder, MODEL), config))
      weights.get(name)?.data.set(data);
  }
  optimizer.restore(await readStateFile(join(folder, OPTIMIZER)));
}

async function saveArrays(path: string, trained: Weights): Promise<void> {
  const arrays: Record<string, StateArray> = {};
  for (const [name, { data }] of trained) arrays[name] = data as Float32Array<ArrayBuffer>;
  await writeStateFile(path, { metadata: {}, arrays });
}

async function restoreArrays(path: string, trained: Weights): Promise<void> {
  const { arrays } = await readStateFile(path);
  const unknown = Object.keys(arrays).find((name) => !trained.has(name));
  if (unknown !== undefined) {
    throw new InputError({
      source: path,
      field: unknown,
      expected: 'only what is trained now',
      found: 'another array',
    });
  }
  for (const [name, { data }] of trained) {
    const saved = arrays[name];
    if (!(saved instanceof Float32Array) || saved.length !== data.length) {
      throw new InputError({
        source: path,
        field: name,
        expected: `${data.length} numbers`,
        found: saved === undefined ? 'none' : String(saved.length),
      });
    }
    data.set(saved);
  }
}
