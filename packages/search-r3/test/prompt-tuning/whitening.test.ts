/** Centred and whitened vectors against closed forms. */
import { centring, whitening } from 'search-r3/prompt-tuning';
import { expect, test } from 'vitest';

/** Three axes with spreads of 4, 1 and 0, around a mean of (5, 0, 7): rows m + 4 e1, m - 4 e1, m + e2, m - e2. */
const ROWS = [
  [9, 0, 7],
  [1, 0, 7],
  [5, 1, 7],
  [5, -1, 7],
];
const documents = { data: Float32Array.from(ROWS.flat()), width: 3 };

test('the mean is taken off, and the length is 1', () => {
  const { data } = centring(documents)({ data: Float32Array.of(8, 4, 7), width: 3 });
  // (3, 4, 0) / 5.
  expect([...data]).toEqual([0.6, 0.8, 0].map((x) => Math.fround(x)));
});

test('directions count by their spread, damped', () => {
  // Singular values: sqrt(32), sqrt(2), and 0, which is none. 0.3 of the last is added to each.
  const damping = 0.3 * Math.SQRT2;
  const expected = [4 / (Math.sqrt(32) + damping), 1 / (Math.SQRT2 + damping)];
  const length = Math.hypot(...expected);
  const map = whitening(documents);
  const { data } = map({ data: Float32Array.of(9, 1, 7), width: 3 });
  // Up to the signs of eigenvectors.
  const found = [...data].map(Math.abs).sort((a, b) => b - a);
  for (const [i, value] of [...expected, 0].entries()) expect(found[i]).toBeCloseTo(value / length, 5);
  const { data: other } = map({ data: Float32Array.of(9, -1, 7), width: 3 });
  const cosine = data.reduce((sum, value, i) => sum + value * (other[i] as number), 0);
  expect(cosine).toBeCloseTo(((expected[0] as number) ** 2 - (expected[1] as number) ** 2) / length ** 2, 5);
});
