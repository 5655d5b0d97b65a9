/** The default learning rates are for models of a few million parameters. */
import { type ModelConfig, parameterCount } from '../checkpoint/index.js';
import type { Notes } from './stages/stage.js';

/** From so many parameters on, a model was pre-trained on much text; a higher rate would undo that. */
const LARGE = 100e6;
const HIGH_RATE = 1e-4;

/** Warns of a learning rate that is high for a model of this size. */
export function noteHighRate(
  { config }: { config: ModelConfig },
  rate: number,
  stage: 'sft' | 'rl',
  { onNote }: Notes,
): void {
  const size = parameterCount(config);
  if (size < LARGE || rate <= HIGH_RATE) return;
  const model = `a model of ${Math.round(size / 1e6)} million parameters`;
  onNote(`warning: ${stage}.optimization.learningRate ${rate} is high for ${model}; 2e-5 or less is usual.`);
}
