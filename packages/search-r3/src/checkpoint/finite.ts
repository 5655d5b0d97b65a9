/** Rejects weights that are not finite, as a diverged training run leaves them: every embedding would be NaN. */
import { InputError } from '../run/index.js';
import type { Weights } from './parameters.js';

/** @throws InputError naming the first tensor that holds NaN or an infinity; `source` is the name of the weights. */
export function assertFinite({ weights }: { weights: Weights }, source: string): void {
  for (const [field, { data }] of weights) {
    // Zero times a finite number is zero; times anything else it is NaN. So a single sum covers all elements.
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
