/** What the schemas say about settings, and the help of flags that is made from it. */
import { flagHelp, settingsOf } from 'search-r3/cli';
import * as pipeline from 'search-r3/pipeline';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

describe('every setting of every command says what it does and when to change it, in sentences', () => {
  const { embedSettings, evaluateSettings, indexSettings, pretrainSettings } = pipeline;
  const { rlSettings, searchSettings, sftSettings, trainSettings } = pipeline;
  test.each(
    Object.entries({
      embedSettings,
      evaluateSettings,
      indexSettings,
      pretrainSettings,
      rlSettings,
      searchSettings,
      sftSettings,
      trainSettings,
    }),
  )('%s', (_, schema) => {
    const settings = settingsOf(schema);
    expect(settings.length).toBeGreaterThan(100);
    for (const { key, description, when } of settings) {
      expect(description, key).toMatch(/^[A-Z`][^|\n]*\.$/);
      expect(when, key).toMatch(/^[A-Z0-9`][^|\n]*\.$/);
    }
  });

  test('what holds for a setting that is left out is said once: by its default, or in words', () => {
    const both = settingsOf(trainSettings).filter(
      (setting) => setting.default !== undefined && setting.ifUnset !== undefined,
    );
    expect(both).toEqual([]);
  });

  test('what stages share is worded once, also where the default differs', () => {
    const texts = new Map(settingsOf(trainSettings).map((setting) => [setting.key, setting]));
    const rate = (stage: string) => texts.get(`${stage}.optimization.learningRate`)!;
    expect(rate('sft').when).toMatch(/^Try this first\./);
    expect([rate('rl').when, rate('pretrain').when]).toEqual([rate('sft').when, rate('sft').when]);
    expect([rate('sft').default, rate('rl').default, rate('pretrain').default]).toEqual([5e-4, 2e-4, 2e-3]);
  });

  test('a setting of one key that means something else in another command', () => {
    const model = (schema: z.ZodType) => settingsOf(schema).find(({ key }) => key === 'model');
    expect(model(rlSettings)?.description).toBe('Model folder from stage 1.');
    expect(model(searchSettings)?.description).toBe('Model folder, trained or not, or GGUF file.');
    expect(model(trainSettings)?.description).toMatch(/^Model folder that stage 2 starts from\./);
  });
});

test('what a setting takes, and its default, in words', () => {
  const schema = z.strictObject({
    a: z
      .strictObject({ b: z.int().positive().default(3), c: z.number().gt(0).lt(1).optional() })
      .prefault({}),
    d: z.enum(['x', 'y']).default('x'),
    e: z.tuple([z.number().min(0), z.number().max(2)]).default([1, 2]),
    f: z.array(z.string()).optional(),
    g: z.boolean().default(false),
    h: z
      .discriminatedUnion('kind', [
        z.strictObject({ kind: z.literal('p') }),
        z.strictObject({
          kind: z.literal('q'),
          i: z.strictObject({ j: z.number().optional(), k: z.int().default(1) }).prefault({ j: 5 }),
        }),
      ])
      .prefault({ kind: 'p' }),
    l: z.record(z.string(), z.union([z.boolean(), z.number(), z.string()])).optional(),
  });
  expect(settingsOf(schema)).toEqual([
    { key: 'a.b', takes: 'whole number from 1', default: 3 },
    { key: 'a.c', takes: 'number above 0 below 1', default: undefined },
    { key: 'd', takes: '`x`, `y`', choices: ['x', 'y'], default: 'x' },
    { key: 'e', takes: '[number from 0, number to 2]', default: [1, 2] },
    { key: 'f', takes: 'list of text', default: undefined },
    { key: 'g', takes: '`true`, `false`', default: false },
    { key: 'h.kind', takes: '`p`, `q`', choices: ['p', 'q'], default: 'p' },
    { key: 'h.i.j', takes: 'number', default: 5 },
    { key: 'h.i.k', takes: 'whole number', default: 1 },
    { key: 'l', takes: 'names, each with `true`, `false`, number, text', default: undefined },
  ]);
});

describe('the help of a flag', () => {
  const schema = z.strictObject({
    steps: z.int().default(3).meta({ description: 'Steps of `a` to b. More is better.' }),
    rate: z.number().optional().meta({ description: 'Rate at 0.5 x seconds.', ifUnset: '`steps`, or none' }),
    on: z.boolean().default(true).meta({ description: 'Switch it on.' }),
    off: z.boolean().default(false).meta({ description: 'BEIR only.' }),
    inner: z
      .strictObject({
        kinds: z
          .array(z.enum(['x', 'y']))
          .optional()
          .meta({ description: 'Kinds.' }),
        kind: z.enum(['x', 'y']).default('y').meta({ description: 'Kind' }),
      })
      .prefault({}),
    bare: z.int().default(1),
  });
  const help = (key: string, { negate = false, variadic = false } = {}) =>
    flagHelp(schema, key, { negate, variadic });

  test.each([
    ['steps', 'steps of a to b (default: 3)'],
    ['rate', 'rate at 0.5 x seconds (default: steps, or none)'],
    ['on', 'switch it on (default: true)'],
    ['off', 'BEIR only'],
    ['inner.kind', 'kind (choices: "x", "y", default: "y")'],
  ])('%s', (key, text) => expect(help(key)).toBe(text));

  test('of a list and of a switch with --no-', () => {
    expect(help('inner.kinds', { variadic: true })).toBe(
      'kinds, separated by spaces or commas (choices: "x", "y")',
    );
    expect(help('on', { negate: true })).toBe('do not switch it on');
  });

  test.each(['bare', 'gone', 'inner.gone', 'inner'])('%s has none', (key) => {
    expect(() => help(key)).toThrow(`internal: the setting ${key} has no description`);
  });
});
