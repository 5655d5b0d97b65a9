/** The state that every trainer saves and restores: weights and optimiser. */
import { join } from 'node:path';
import { type Checkpoint, loadWeights, saveCheckpoint } from '../checkpoint/index.js';
import { readStateFile, writeStateFile } from '../run/index.js';
import type { Optimizer } from './optimizer.js';

const MODEL = 'model';
const OPTIMIZER = 'optimizer.state';

/** Writes `model/` (float32, exactly) and `optimizer.state` into a folder that is being made. */
export async function saveTraining(folder: string, model: Checkpoint, optimizer: Optimizer): Promise<void> {
  await saveCheckpoint(join(folder, MODEL), model, { dtype: 'f32' });
  await writeStateFile(join(folder, OPTIMIZER), optimizer.state());
}

/** Overwrites the model's weights, in the arrays that sessions read, and the optimiser's state. */
export async function restoreTraining(
  folder: string,
  model: Checkpoint,
  optimizer: Optimizer,
): Promise<void> {
  const { config, weights } = model;
  for (const [name, { data }] of await loadWeights(join(folder, MODEL), config))
    weights.get(name)?.data.set(data);
  optimizer.restore(await readStateFile(join(folder, OPTIMIZER)));
}
