/** Rejects weights that are not finite, as a diverged training run leaves them: every embedding would be NaN. */
import { InputError } from '../run/index.js';
import type { Weights } from './parameters.js';

/** @throws InputError naming the first tensor that holds NaN or an infinity; `source` is the name of the weights. */
export function assertFinite({ weights }: { weights: Weights }, source: string): void {
  for (const [field, { data }] of weights) assertFiniteElements(data, { source, field });
}

/** @throws InputError as `assertFinite`, for elements of a tensor from `start` on. */
export function assertFiniteElements(
  data: Float32Array,
  { source, field, start = 0 }: { source: string; field: string; start?: number },
): void {
  // Zero times a finite number is zero; times anything else it is NaN. So sums cover all elements; several, because each
  // addition waits for the one before it.
  let [a, b, c, d] = [0, 0, 0, 0];
  const whole = data.length - (data.length % 4);
  for (let i = 0; i < whole; i += 4) {
    a += 0 * (data[i] as number);
    b += 0 * (data[i + 1] as number);
    c += 0 * (data[i + 2] as number);
    d += 0 * (data[i + 3] as number);
  }
  for (let i = whole; i < data.length; i++) a += 0 * (data[i] as number);
  if (a + b + c + d === 0) return;
  const at = data.findIndex((value) => !Number.isFinite(value));
  throw new InputError({
    source,
    field,
    expected: 'finite weights',
    found: `${data[at]} at element ${start + at}`,
  });
}
