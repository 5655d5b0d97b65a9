import { InterruptedError, inTurns, type PartProgress } from 'search-r3/run';
import { describe, expect, test } from 'vitest';

/** Keeps the thread busy. */
const compute = (ms: number): void => {
  for (const end = performance.now() + ms; performance.now() < end; );
};
const range = (count: number) => Array.from({ length: count }, (_, i) => i);

describe('inTurns', () => {
  test('runs the work on every item in order and always reports the end', async () => {
    const seen: number[] = [];
    const told: PartProgress[] = [];
    const part = { name: 'numbers', total: 4 };
    await inTurns([3, 1, 2], part, (x) => seen.push(x), { onProgress: (event) => told.push(event) });
    expect(seen).toEqual([3, 1, 2]);
    // The total is what was done, even if fewer items came than announced.
    expect(told).toEqual([{ part: 'numbers', done: 3, total: 3 }]);
  });

  test('progress can count something other than items', async () => {
    const told: PartProgress[] = [];
    let letters = 0;
    const part = { name: 'letters', total: 99, done: () => letters };
    const onProgress = (event: PartProgress) => told.push(event);
    await inTurns(['ab', 'cde'], part, (word) => (letters += word.length), { onProgress });
    expect(told).toEqual([{ part: 'letters', done: 5, total: 5 }]);
  });

  test('does nothing if it is aborted beforehand', async () => {
    let done = 0;
    const stopped = inTurns([1, 2], { name: 'x', total: 2 }, () => done++, { signal: AbortSignal.abort() });
    await expect(stopped).rejects.toThrow(InterruptedError);
    expect(done).toBe(0);
  });

  test('yields and reports progress while it works', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const told: number[] = [];
    const how = { onProgress: ({ done }: PartProgress) => told.push(done) };
    await inTurns(range(30), { name: 'x', total: 30 }, () => compute(20), how);
    clearInterval(timer);
    // 600 ms in slices of 50 ms, each of which ends with an item.
    expect(turns).toBeGreaterThanOrEqual(5);
    expect(told.length).toBeGreaterThanOrEqual(6);
    expect(told).toEqual(told.toSorted((a, b) => a - b));
    expect(told.at(-1)).toBe(30);
  });

  test('aborted between slices, it leaves the rest', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 1);
    let done = 0;
    const work = () => {
      compute(60);
      done++;
    };
    const { signal } = controller;
    const stopped = inTurns(range(100), { name: 'x', total: 100 }, work, { signal });
    await expect(stopped).rejects.toThrow(InterruptedError);
    expect(done).toBeLessThan(20);
  });
});
