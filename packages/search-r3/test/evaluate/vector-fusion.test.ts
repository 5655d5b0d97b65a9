/** Fused vectors against closed forms. */
import { bestShare, fuseQueryVectors } from 'search-r3/evaluate';
import { expect, test } from 'vitest';

const rows = (...vectors: number[][]) => vectors.map((vector) => ({ vector: Float32Array.from(vector) }));

test('the sum by shares, of unit length', () => {
  const direct = rows([1, 0, 0], [0, 0.6, 0.8]);
  const reasoned = rows([0, 1, 0], [0, 0.6, 0.8]);
  const fused = fuseQueryVectors(direct, reasoned, 0.25);
  // (0.75, 0.25, 0) / sqrt(0.625), and a vector fused with itself.
  const expected = [0.75 / Math.sqrt(0.625), 0.25 / Math.sqrt(0.625), 0, 0, 0.6, 0.8];
  for (const [i, value] of expected.entries()) expect(fused[i]).toBeCloseTo(value, 6);
  expect([...fuseQueryVectors(direct, reasoned, 0)]).toEqual(direct.flatMap(({ vector }) => [...vector]));
  expect([...fuseQueryVectors(direct, reasoned, 1)].slice(0, 3)).toEqual([0, 1, 0]);
  // Opposite vectors have no direction in common.
  expect([...fuseQueryVectors(rows([1, 0]), rows([-1, 0]), 0.5)]).toEqual([0, 0]);
});

test('the best share is the smallest of equally good ones', async () => {
  expect(await bestShare(async (share) => -Math.abs(share - 0.37))).toBe(0.35);
  expect(await bestShare(async (share) => Math.min(share, 0.6))).toBe(0.6);
  expect(await bestShare(async () => 1)).toBe(0);
});
