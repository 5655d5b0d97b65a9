/** Rehearsed generation: the key/value cache by its closed form, and work in proportion to tokens. */
import { newConfig } from 'search-r3/checkpoint';
import { fedWeights } from 'search-r3/decoder';
import { GenerationRehearsal } from 'search-r3/generate';
import { expect, test } from 'vitest';

const config = newConfig({
  ...{ vocabSize: 300, hiddenSize: 64, intermediateSize: 160, layers: 3, heads: 4, kvHeads: 2 },
  maxPositions: 256,
});
const rehearsal = () => new GenerationRehearsal(config, fedWeights(config));
/** Keys and values of one position, in float32. */
const POSITION = 2 * 3 * 2 * 16 * 4;

test('a slot has room for the prompt, its completion and an embed token, in multiples of 32 positions', () => {
  const one = rehearsal();
  one.generate({ prompts: [20, 31, 9], samples: 2, maxNewTokens: 40 });
  // 31 + 40 + 1 = 72 positions, rounded up to 96, for six rows.
  expect(one.cache).toBe(6 * 96 * POSITION);
});

test('no more than 128 rows generate at the same time', () => {
  const one = rehearsal();
  one.generate({ prompts: new Array<number>(500).fill(10), maxNewTokens: 20 });
  expect(one.cache).toBe(128 * 32 * POSITION);
});

test('work grows with the tokens that are written, room only with those that may be', () => {
  const prompts = [12, 20, 17];
  const work = (newTokens: number) => {
    const one = rehearsal();
    const { floatOperations } = one.generate({ prompts, maxNewTokens: 64, newTokens });
    return { floatOperations, cache: one.cache };
  };
  const [none, some, more] = [work(0), work(10), work(30)];
  expect(more.cache).toBe(some.cache);
  const step = (some.floatOperations - none.floatOperations) / 10;
  expect(more.floatOperations).toBeCloseTo(none.floatOperations + 30 * step, -2);
  // Each token goes through all linear layers, the head included, and attends to all positions of its slot.
  const linear = 3 * (64 * (64 + 2 * 32) + 64 * 64 + 3 * 64 * 160) + 64 * 300;
  const attention = 3 * 2 * 4 * 96 * 16;
  expect(step).toBe(2 * prompts.length * (linear + attention));
});

test('samples of one prompt share its reading', () => {
  const operations = (prompts: number[], samples: number) =>
    rehearsal().generate({ prompts, samples, maxNewTokens: 4, newTokens: 0 }).floatOperations;
  expect(operations([40, 40], 8)).toBe(operations([40, 40], 1));
  expect(operations([40, 40], 1)).toBeGreaterThan(1.9 * operations([40], 1));
});
