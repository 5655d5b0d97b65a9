import { copyRows } from 'search-r3/run';
import { expect, test } from 'vitest';

test('rows of a matrix in the requested order, one of them twice', () => {
  const matrix = Float64Array.from({ length: 12 }, (_, i) => i);
  const target = new Float64Array(9);
  expect(copyRows(target, matrix, [3, 0, 3], 3)).toBe(target);
  expect([...target]).toEqual([9, 10, 11, 0, 1, 2, 9, 10, 11]);
});

test('no rows', () => {
  expect(copyRows(new Float32Array(), Float32Array.of(1, 2), [], 2)).toHaveLength(0);
});
