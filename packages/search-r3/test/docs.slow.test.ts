/** README and guides: every snippet compiles, every command and setting exists, and the tables are those of the code. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { loadCheckpoint, saveCheckpoint } from 'search-r3/checkpoint';
import {
  buildProgram,
  mergeConfig,
  OPTIONS_PATH,
  parseConfig,
  renderOptions,
  settingsOf,
} from 'search-r3/cli';
import { makePolicy } from 'search-r3/model';
import { ATLAS_BASE, trainSettings } from 'search-r3/pipeline';
import { ATLAS_PROMPTS } from 'search-r3/pretrain';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../../..');
const DOCUMENTS = [
  'docs/guides/training.md',
  'README.md',
  'packages/search-r3/README.md',
  'docs/environment.md',
  'docs/guides/metrics.md',
];
const texts = new Map<string, string>();
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
for (const name of DOCUMENTS) texts.set(name, await readFile(join(ROOT, name), 'utf8'));

/** The code blocks of a language, with the document each is in. */
function blocks(language: string): [name: string, code: string][] {
  return [...texts].flatMap(([name, text]) =>
    [...text.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 'gs'))].map(
      (match) => [name, match[1] as string] as [string, string],
    ),
  );
}

describe('TypeScript', () => {
  let cwd: string;
  beforeAll(async () => {
    cwd = await mkdtemp(join(tmpdir(), 'docs-'));
    const base = await loadCheckpoint(ATLAS_BASE);
    for (const run of ['runs/demo', 'runs/mine']) {
      await mkdir(join(cwd, run), { recursive: true });
      await saveCheckpoint(join(cwd, run, 'model'), makePolicy(base, ATLAS_PROMPTS));
    }
    await symlink(join(ROOT, 'node_modules'), join(cwd, 'node_modules'));
    await writeFile(join(cwd, 'package.json'), '{ "type": "module" }');
    const compilerOptions = { composite: false, noUnusedLocals: false };
    const extended = join(ROOT, 'tsconfig.base.json');
    await writeFile(
      join(cwd, 'tsconfig.json'),
      JSON.stringify({ extends: extended, compilerOptions, include: ['*.ts'] }),
    );
    for (const [i, [, code]] of blocks('ts').entries()) await writeFile(join(cwd, `snippet-${i}.ts`), code);
    const { status, stdout } = spawnSync(join(ROOT, 'node_modules/.bin/tsc'), ['-p', '.'], {
      cwd,
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(stdout);
  });
  afterAll(() => rm(cwd, { recursive: true, force: true }));

  test('the snippets compile under the strict config and run one after the other', async () => {
    const outputs = blocks('ts').map(([name], i) => [
      name,
      execFileSync(process.execPath, [`snippet-${i}.js`], { cwd, encoding: 'utf8' }),
    ]);
    expect(outputs.map(([name]) => name)).toEqual([
      'docs/guides/training.md',
      'docs/guides/training.md',
      'README.md',
      'packages/search-r3/README.md',
    ]);
    expect(outputs[0]?.[1]).toBe('');
    expect(outputs[1]?.[1]).toMatch(/^1 1\nwhich proteins repair DNA\? [\s\S]* d1 -?[01]\.\d+\n$/);
    expect(outputs[2]?.[1]).toMatch(/ 192 false\n[\s\S]*d1/);
    expect(outputs[3]?.[1]).toBe('');
    expect((await readdir(join(cwd, 'my-collection'))).sort()).toEqual([
      'corpus.jsonl',
      'qrels',
      'queries.jsonl',
    ]);
  });
});

test('every command line names a command and options that exist', () => {
  const commands = new Map(buildProgram().commands.map((command) => [command.name(), command]));
  const lines = blocks('sh').flatMap(([, code]) =>
    code
      .replaceAll(/\\\n\s*/g, '')
      .split('\n')
      .filter((line) => line.startsWith('npx search-r3')),
  );
  expect(lines.length).toBeGreaterThan(6);
  for (const line of lines) {
    const [, , name = '', ...rest] = line.split(' ');
    const known = commands.get(name)?.options.flatMap(({ long, short }) => [long, short]);
    expect(known, line).toBeDefined();
    for (const flag of rest.filter((word) => word.startsWith('-'))) expect(known, line).toContain(flag);
  }
});

test('every YAML file is valid for train', () => {
  const files = blocks('yaml');
  expect(files.length).toBeGreaterThan(0);
  const places = ['data', 'out'].map((key) => ({ source: 'this test', key, value: key }));
  const settings = new Map(
    files.map(([name, code]) => [name, mergeConfig(trainSettings, parseConfig(name, code), places)]),
  );
  // What the guide says of sizes.
  const { sft, rl } = settings.get('docs/guides/training.md')!;
  expect(sft.reasoning.maxNewTokens).toBeLessThan(rl.maxNewTokens);
});

test('settings that are named in prose exist', () => {
  const keys = settingsOf(trainSettings).map(({ key }) => key);
  for (const [name, text] of texts) {
    for (const [, key = ''] of text.matchAll(
      /`((?:sft|rl|pretrain|queries|validation|evaluate)\.(?!jsonl)[\w.]+)(?:: [^`]*)?`/g,
    )) {
      expect(
        keys.some((known) => known === key || known.startsWith(`${key}.`)),
        `${name}: ${key}`,
      ).toBe(true);
    }
  }
});

test('links between documents lead somewhere', async () => {
  for (const [name, text] of [...texts, ['docs/guides/options.md', renderOptions()] as const]) {
    for (const [, link = ''] of text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)) {
      const path = resolve(ROOT, name, '..', link);
      const found = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => error.code);
      expect(found, `${name}: ${link}`).not.toBe('ENOENT');
    }
  }
});

test('the committed guide to the options is current (else: npm run reference)', async () => {
  expect(await readFile(OPTIONS_PATH, 'utf8')).toBe(renderOptions());
});
