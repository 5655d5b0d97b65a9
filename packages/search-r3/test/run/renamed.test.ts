/** Old keys of settings, library options and the JSON files of models are refused with the new key. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { loadRetrieverFile } from 'search-r3/checkpoint';
import { loadConfig, withConfig } from 'search-r3/cli';
import { trainSettings } from 'search-r3/pipeline';
import { InputError, RENAMED_KEYS, validate } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { z } from 'zod';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'renamed-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** The message of the InputError, without the folder. */
async function messageOf(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as InputError).message.replaceAll(`${folder}/`, '');
  }
  throw new Error('expected an InputError');
}

/** What `validate` says of an old key. */
const renamed = (source: string, old: string, current: string) =>
  `${source}: ${old}: expected its new name, found the old one. ${old} was renamed: use ${current}.`;

test.each(Object.entries(RENAMED_KEYS))('%s: use %s', async (old, current) => {
  const section = z.strictObject({ [current]: z.number() });
  const schema = z.strictObject({ a: section.optional(), list: z.array(section).optional() });
  const refused = (value: unknown) => messageOf(() => validate(schema, value, 'x'));
  expect(await refused({ a: { [old]: 1 } })).toBe(renamed('x', `a.${old}`, `a.${current}`));
  expect(await refused({ a: { [current]: 1, [old]: 1 } })).toBe(renamed('x', `a.${old}`, `a.${current}`));
  expect(await refused({ list: [{ [current]: 1 }, { [old]: 1 }] })).toBe(
    renamed('x', `list.1.${old}`, `list.1.${current}`),
  );
  // Without the new key in the schema, the old one is just unknown.
  expect(await refused({ [old]: 1 })).toContain(`found the unknown key "${old}".`);
});

describe('settings', () => {
  const KEYS = [
    ['development.share', 'validation.share'],
    ['development.queries', 'validation.queries'],
    ['development.every', 'validation.every'],
    ['sft.tau', 'sft.temperature'],
    ['rl.contrastive.tau', 'rl.contrastive.temperature'],
    ['pretrain.contrastive.tau', 'pretrain.contrastive.temperature'],
  ] as const;
  const nested = (key: string): Record<string, unknown> =>
    key.split('.').reduceRight<unknown>((value, part) => ({ [part]: value }), 0) as Record<string, unknown>;

  async function load(argv: string[], yaml: string) {
    const file = join(folder, 'train.yaml');
    await writeFile(file, yaml);
    const command = withConfig(new Command('train'), async () => trainSettings).exitOverride();
    command.parse(['--config', file, ...argv], { from: 'user' });
    return loadConfig(command, trainSettings);
  }

  test.each(KEYS)('%s: in YAML, by --set and as options of a call', async (old, current) => {
    const yaml = `data: x\nout: y\n${stringify(nested(old))}`;
    expect(await messageOf(() => load([], yaml))).toBe(
      renamed(`train.yaml:${2 + old.split('.').length}`, old, current),
    );
    expect(await messageOf(() => load(['--set', `${old}=0`], 'data: x\nout: y\n'))).toBe(
      renamed(`--set ${old}`, old, current),
    );
    expect(await messageOf(() => validate(trainSettings, { data: 'x', ...nested(old) }, 'settings'))).toBe(
      renamed('settings', old, current),
    );
  });

  test('a section with several keys is named as a whole', async () => {
    expect(await messageOf(() => load([], 'development: { share: 0.2, every: 5 }\n'))).toBe(
      renamed('train.yaml:1', 'development', 'validation'),
    );
  });
});

test('the split in search_r3.json of a model', async () => {
  const split = { seed: 0, development: 0.1, sft: 0.5 };
  await writeFile(join(folder, 'search_r3.json'), JSON.stringify({ split }));
  expect(await messageOf(() => loadRetrieverFile(folder))).toBe(
    renamed('search_r3.json', 'split.development', 'split.validation'),
  );
});
