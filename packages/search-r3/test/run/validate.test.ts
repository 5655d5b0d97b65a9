import { closest, InputError, validate } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

const schema = z.strictObject({
  steps: z.int().positive(),
  seed: z.int().default(0),
  sft: z
    .strictObject({
      temperature: z.number().positive().default(0.05),
      learningRate: z.number().default(5e-4),
    })
    .prefault({}),
  mode: z.enum(['dapo', 'grpo']).default('dapo'),
  datasets: z.array(z.strictObject({ path: z.string() })).optional(),
  limit: z.union([z.int(), z.literal('all')]).optional(),
});

const failure = (value: unknown, source: Parameters<typeof validate>[2] = 'run.yaml'): string => {
  try {
    validate(schema, value, source);
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as InputError).message;
  }
  throw new Error('expected a failure');
};

test('fills in defaults', () => {
  expect(validate(schema, { steps: 3 }, 'run.yaml')).toEqual({
    steps: 3,
    seed: 0,
    sft: { temperature: 0.05, learningRate: 5e-4 },
    mode: 'dapo',
  });
});

describe('errors are one line', () => {
  test.each([
    [{ steps: 'many' }, 'run.yaml: steps: expected number, found "many".'],
    [{}, 'run.yaml: steps: expected number, found nothing.'],
    [{ steps: 0 }, 'run.yaml: steps: expected a whole number from 1, found 0.'],
    [{ steps: 1.5 }, 'run.yaml: steps: expected a whole number, found 1.5.'],
    [{ steps: 1, mode: 'ppo' }, 'run.yaml: mode: expected one of "dapo"|"grpo", found "ppo".'],
    [{ steps: 1, limit: true }, 'run.yaml: limit: expected number or "all", found true.'],
    [
      { steps: 1, datasets: [{ path: 'a' }, { path: 2 }] },
      'run.yaml: datasets.1.path: expected string, found 2.',
    ],
    [[1], 'run.yaml: expected object, found [1].'],
    [
      { stesp: 3 },
      'run.yaml: stesp: expected one of the keys steps, seed, sft, mode, datasets, limit, found the unknown key "stesp". Did you mean "steps"?',
    ],
    [
      { steps: 1, sft: { 'learning-rate': 1 } },
      'run.yaml: sft.learning-rate: expected one of the keys temperature, learningRate, found the unknown key "learning-rate". Did you mean "learningRate"?',
    ],
    [
      { steps: 1, datasets: [{ path: 'a', pth: 1 }] },
      'run.yaml: datasets.0.pth: expected one of the keys path, found the unknown key "pth". Did you mean "path"?',
    ],
  ])('%j', (value, message) => expect(failure(value)).toBe(message));

  test('a bound with its own message uses that', () => {
    const own = z.strictObject({ group: z.int().min(2, 'expected a group of at least 2') });
    expect(() => validate(own, { group: 1 }, 'run.yaml')).toThrow(
      'run.yaml: group: expected a group of at least 2, found 1.',
    );
  });

  test('a key that belongs in another section is suggested there', () => {
    expect(failure({ steps: 1, temperature: 0.1 })).toContain('Did you mean "sft.temperature"?');
  });

  test('the source can depend on the key', () => {
    expect(failure({ steps: 1, sft: { temperature: -1 } }, (path) => `from ${path.join('/')}`)).toBe(
      'from sft/temperature: sft.temperature: expected a number above 0, found -1.',
    );
  });
});

describe('a union of objects: the problem of the form that comes closest', () => {
  const named = z.strictObject({ name: z.string(), size: z.number().positive() });
  const schema = z.strictObject({ one: z.union([named, z.strictObject({ path: z.string() })]) });
  test.each<[unknown, string]>([
    [{ name: 'a' }, 'x: one.size: expected number, found nothing.'],
    [{ name: 'a', size: 0 }, 'x: one.size: expected a number above 0, found 0.'],
    [{ path: 7 }, 'x: one.path: expected string, found 7.'],
    [
      { name: 'a', sise: 1 },
      'x: one.sise: expected one of the keys name, size, path, found the unknown key "sise". Did you mean "size"?',
    ],
    [7, 'x: one: expected object, found 7.'],
  ])('%j', (one, message) => {
    expect(() => validate(schema, { one }, 'x')).toThrow(message);
  });
});

describe('closest', () => {
  const words = ['steps', 'seed', 'learningRate', 'temperature'];
  test.each([
    ['step', 'steps'],
    ['setps', 'steps'], // Swapping two neighbours counts as one slip.
    ['LEARNING_RATE', 'learningRate'],
    ['temprature', 'temperature'],
    ['momentum', undefined],
    ['', undefined],
  ])('%j -> %j', (word, expected) => expect(closest(word, words)).toBe(expected));
});
