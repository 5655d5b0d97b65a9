import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { configFlag, loadConfig, withConfig } from 'search-r3/cli';
import { InputError } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';

const schema = z.strictObject({
  name: z.string().default('run'),
  steps: z.int().positive().default(10),
  limit: z.union([z.int(), z.literal('all')]).default('all'),
  shuffle: z.boolean().default(true),
  sft: z
    .strictObject({
      temperature: z.number().positive().default(0.05),
      layers: z.array(z.string()).default([]),
      sources: z.array(z.strictObject({ path: z.string(), weight: z.number().default(1) })).default([]),
    })
    .prefault({}),
});

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'config-'));
  file = join(folder, 'train.yaml');
});
afterAll(() => rm(folder, { recursive: true }));

/** The config of a command called with `argv`, `yaml` being its config file. */
async function load(argv: string[], yaml?: string) {
  const command = withConfig(new Command('train'), async () => schema).exitOverride();
  configFlag(command, '--steps <n>', 'steps');
  configFlag(command, '--name <text>', 'name');
  configFlag(command, '--no-shuffle', 'shuffle');
  configFlag(command, '--temperature <x>', 'sft.temperature');
  configFlag(command, '--layers <name...>', 'sft.layers');
  if (yaml !== undefined) await writeFile(file, yaml);
  command.parse(yaml === undefined ? argv : ['--config', file, ...argv], { from: 'user' });
  return loadConfig(command, schema);
}

/** The message of the InputError, without the folder. */
async function failure(argv: string[], yaml?: string): Promise<string> {
  const error = await load(argv, yaml).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(InputError);
  return (error as InputError).message.replaceAll(`${folder}/`, '');
}

const defaults = {
  name: 'run',
  steps: 10,
  limit: 'all',
  shuffle: true,
  sft: { temperature: 0.05, layers: [], sources: [] },
};

describe('what wins', () => {
  test('nothing given: the defaults of the schema', async () => {
    expect(await load([])).toEqual(defaults);
    expect(await load([], '# nothing\n')).toEqual(defaults);
  });

  test('file, then flags, then --set', async () => {
    const yaml = 'steps: 1\nlimit: 7\nsft:\n  temperature: 1e-1\n';
    expect(await load([], yaml)).toEqual({
      ...defaults,
      steps: 1,
      limit: 7,
      sft: { ...defaults.sft, temperature: 0.1 },
    });
    expect(await load(['--steps', '2'], yaml)).toMatchObject({ steps: 2, limit: 7 });
    expect(await load(['--set', 'steps=3', '--steps', '2'], yaml)).toMatchObject({ steps: 3, limit: 7 });
    expect(await load(['--set', 'steps=3', '--set', 'steps=4'])).toMatchObject({ steps: 4 });
    expect(await load(['--set', 'sft.layers=[a, b]'], yaml)).toMatchObject({
      sft: { temperature: 0.1, layers: ['a', 'b'] },
    });
  });

  test('a flag that is not given changes nothing, a negated one does', async () => {
    expect(await load([], 'shuffle: false\n')).toMatchObject({ shuffle: false });
    expect(await load(['--no-shuffle'])).toMatchObject({ shuffle: false });
  });
});

describe('values from the command line are read as the schema wants them', () => {
  test.each([
    [['--temperature', '5e-2'], { sft: { temperature: 0.05 } }],
    [['--name', '007'], { name: '007' }],
    [['--name', 'null'], { name: 'null' }],
    [['--name', 'a: b: c'], { name: 'a: b: c' }],
    [['--set', 'name=x=y'], { name: 'x=y' }],
    [['--set', 'name="quoted"'], { name: 'quoted' }],
    [['--set', 'limit=5'], { limit: 5 }],
    [['--set', 'limit=all'], { limit: 'all' }],
    [['--layers', '1', 'true', 'q_proj'], { sft: { layers: ['1', 'true', 'q_proj'] } }],
    [['--layers', '1,true', 'q_proj, k_proj,'], { sft: { layers: ['1', 'true', 'q_proj', 'k_proj'] } }],
  ])('%j', async (argv, expected) => expect(await load(argv)).toMatchObject(expected));

  test('an entry of a list in the file can be changed', async () => {
    const yaml = 'sft:\n  sources:\n    - path: a\n    - path: b\n';
    expect((await load(['--set', 'sft.sources.1.weight=2.5'], yaml)).sft.sources).toEqual([
      { path: 'a', weight: 1 },
      { path: 'b', weight: 2.5 },
    ]);
  });
});

describe('errors name the place', () => {
  test.each([
    [[], 'steps: 2\nstesp: 3\n', /^train\.yaml:2: stesp: .*unknown key "stesp"\. Did you mean "steps"\?$/],
    [
      [],
      '\n# a\nsft:\n  temperature: warm\n',
      'train.yaml:4: sft.temperature: expected number, found "warm".',
    ],
    [
      [],
      'sft: {temperature: 1, sources: [{path: x}, {path: 3}]}\n',
      'train.yaml:1: sft.sources.1.path: expected string, found 3.',
    ],
    [
      [],
      'sft:\n  sources:\n    - path: x\n    - weight: 3\n',
      'train.yaml: sft.sources.1.path: expected string, found nothing.',
    ],
    [['--steps', 'two'], 'steps: 1\n', '--steps: steps: expected number, found "two".'],
    [
      ['--set', 'sft.temperature=0'],
      'sft:\n  temperature: 1\n',
      '--set sft.temperature: sft.temperature: expected a number above 0, found 0.',
    ],
    [['--set', 'stft.temperature=1'], '', /^--set stft\.temperature: stft: .* Did you mean "sft"\?$/],
    [
      ['--set', 'temperature=1'],
      undefined,
      /^--set temperature: temperature: .* Did you mean "sft\.temperature"\?$/,
    ],
    [['--set', 'steps.more=1'], undefined, '--set steps.more: steps: expected number, found {"more":1}.'],
    [['--set', 'steps'], undefined, '--set: expected key=value, found "steps".'],
    [['--set', '=3'], undefined, '--set: expected key=value, found "=3".'],
    [['--set', 'a..b=3'], undefined, '--set a..b: expected a dotted key, found "a..b".'],
    [['--set', '__proto__.x=3'], undefined, '--set __proto__.x: expected a dotted key, found "__proto__.x".'],
    [['--set', 'steps=[1'], undefined, '--set steps: expected a YAML value, found "[1".'],
    [[], 'a: 1\nb: [1, 2\n', /^train\.yaml:\d: expected valid YAML, found /],
    [[], 'steps: 1\nsteps: 2\n', /^train\.yaml:2: expected valid YAML, found Map keys must be unique/],
    [[], '- a\n- b\n', 'train.yaml: expected settings as "key: value" lines, found ["a","b"].'],
    [
      ['--config', '/nonexistent.yaml'],
      undefined,
      '/nonexistent.yaml: expected a readable file, found nothing there.',
    ],
  ])('%j with %j', async (argv, yaml, message) => {
    const found = await failure(argv, yaml);
    if (typeof message === 'string') expect(found).toBe(message);
    else expect(found).toMatch(message);
  });
});
