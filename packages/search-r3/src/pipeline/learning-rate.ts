/** The default learning rates are for models of a few million parameters. */
import { parameterCount } from '../checkpoint/index.js';
import type { Model, Policy } from '../model/index.js';
import type { Notes } from './stages/stage.js';

/** From so many parameters on, a model was pre-trained on much text; a higher rate would undo that. */
const LARGE = 100e6;
const HIGH_RATE = 1e-4;

/** Warns of a learning rate that is high for a model of this size, all of whose weights are trained. */
export function noteHighRate(
  { config, adapter }: Pick<Model<Policy>, 'config' | 'adapter'>,
  rate: number,
  stage: 'sft' | 'rl',
  { onNote }: Notes,
): void {
  const size = parameterCount(config);
  if (adapter !== undefined || size < LARGE || rate <= HIGH_RATE) return;
  const model = `a model of ${Math.round(size / 1e6)} million parameters`;
  onNote(`warning: ${stage}.optimization.learningRate ${rate} is high for ${model}; 2e-5 or less is usual.`);
}
