/** Evenly spaced samples of a list. */
import fc from 'fast-check';
import { evenly } from 'search-r3/run';
import { expect, test } from 'vitest';

test('by hand', () => {
  const letters = [...'abcdefg'];
  // Every 7 / 3rd: 0, 2.33, 4.67.
  expect(evenly(letters, 3)).toEqual(['a', 'c', 'e']);
  expect(evenly(letters, 4)).toEqual(['a', 'b', 'd', 'f']);
  expect(evenly(letters, 1)).toEqual(['a']);
  expect(evenly(letters, 0)).toEqual([]);
  expect(evenly(letters, 7)).toEqual(letters);
  expect(evenly(letters, 8)).toEqual(letters);
});

test('the requested number, in order, with gaps that differ by at most one', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 400 }), (length, count) => {
      const items = Array.from({ length }, (_, i) => i);
      const chosen = evenly(items, count);
      expect(chosen.length).toBe(Math.min(count, length));
      expect(chosen[0]).toBe(0);
      const gaps = chosen.map((at, i) => (chosen[i + 1] ?? length) - at);
      expect(Math.min(...gaps)).toBeGreaterThan(0);
      expect(Math.max(...gaps) - Math.min(...gaps)).toBeLessThanOrEqual(1);
    }),
  );
});
