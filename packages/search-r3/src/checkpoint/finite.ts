/** Weights that are no numbers: a training that diverged leaves them, and every embedding would be one too. */
import { InputError } from '../run/index.js';
import type { Checkpoint } from './checkpoint.js';

/** @throws InputError naming the first tensor that holds NaN or an infinity; `source` is what the weights are called. */
export function assertFinite({ weights }: Pick<Checkpoint, 'weights'>, source: string): void {
  for (const [field, { data }] of weights) {
    // Zero times a number is zero, times anything else NaN: one sum tells of all.
    let sum = 0;
    for (let i = 0; i < data.length; i++) sum += 0 * (data[i] as number);
    if (sum === 0) continue;
    const at = data.findIndex((value) => !Number.isFinite(value));
    throw new InputError({
      source,
      field,
      expected: 'finite weights',
      found: `${data[at]} at element ${at}`,
    });
  }
}
