/** The order in which steps draw queries, resumed or not. */
import { InputError } from 'search-r3/run';
import { drawingOrder, EpochSampler } from 'search-r3/train';
import { describe, expect, test } from 'vitest';

describe('EpochSampler', () => {
  const options = { count: 11, batchSize: 4, seed: 5, label: 'test' };
  const read = (sampler: EpochSampler, steps: number) =>
    Array.from({ length: steps }, (_, step) => sampler.batch(step)).flat();

  test('every epoch holds every query once, in another order', () => {
    // 11 steps of 4 are 4 epochs of 11; batches straddle their ends.
    const all = read(new EpochSampler(options), 11);
    const epochs = [0, 1, 2, 3].map((epoch) => all.slice(11 * epoch, 11 * (epoch + 1)));
    for (const epoch of epochs) {
      expect(epoch.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 11 }, (_, i) => i));
    }
    expect(new Set(epochs.map((epoch) => epoch.join())).size).toBe(4);
  });

  test('resumed at any step, it skips and repeats no query', () => {
    const straight = new EpochSampler(options);
    const batches = Array.from({ length: 11 }, (_, step) => straight.batch(step));
    for (let from = 0; from < 11; from++) {
      const resumed = new EpochSampler(options);
      for (let step = from; step < 11; step++) expect(resumed.batch(step)).toEqual(batches[step]);
    }
    // Back and forth too.
    for (const step of [7, 2, 9, 2, 0]) expect(straight.batch(step)).toEqual(batches[step]);
  });

  test('seed and label decide the order', () => {
    const order = (change: object) => read(new EpochSampler({ ...options, ...change }), 11).join();
    expect(new Set([{}, { seed: 6 }, { label: 'other' }].map(order)).size).toBe(3);
    expect(order({})).toBe(order({ seed: 5 }));
  });

  test('a batch as large as the epoch is one, a larger is refused', () => {
    const whole = new EpochSampler({ ...options, batchSize: 11 });
    expect(whole.batch(3).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 11 }, (_, i) => i));
    expect(() => new EpochSampler({ ...options, batchSize: 12 })).toThrow(
      new InputError({
        source: 'test',
        field: 'batchSize',
        expected: 'at most the 11 training queries',
        found: '12',
      }),
    );
  });

  test('drawingOrder: each query where it is drawn first, and how many each step has reached', () => {
    const sampler = new EpochSampler(options);
    // 11 queries in steps of 4: the third step reaches into the second epoch.
    for (const [steps, reached] of [
      [2, [4, 8]],
      [7, [4, 8, 11]],
    ] as const) {
      const { order, drawnBy } = drawingOrder(sampler, 11, steps);
      expect(order).toEqual([...new Set(read(new EpochSampler(options), steps))]);
      const last = reached.at(-1);
      expect(Array.from({ length: steps }, (_, step) => drawnBy(step))).toEqual(
        Array.from({ length: steps }, (_, step) => reached[step] ?? last),
      );
    }
  });
});
