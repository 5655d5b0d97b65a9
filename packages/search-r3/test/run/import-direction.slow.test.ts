import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const repository = resolve(import.meta.dirname, '../../../..');
const cruiser = join(repository, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'imports-'));
  await symlink(join(repository, 'node_modules'), join(root, 'node_modules'));
});
afterEach(() => rm(root, { recursive: true }));

/** Runs the rules of the repository on `files` (path under packages/ -> text); returns `file: broken rule`, sorted. */
async function broken(files: Record<string, string>): Promise<string[]> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, 'packages', path)), { recursive: true });
    await writeFile(join(root, 'packages', path), text);
  }
  const config = join(repository, '.dependency-cruiser.mjs');
  const args = [cruiser, '--config', config, '--output-type', 'json', 'packages/*/src'];
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
  if (stdout === '') throw new Error(stderr);
  const result = JSON.parse(stdout) as {
    summary: { violations: { from: string; rule: { name: string } }[] };
  };
  return result.summary.violations
    .map(({ from, rule }) => `${from.replace('packages/', '')}: ${rule.name}`)
    .sort();
}

const modules = {
  'search-r3/src/run/index.ts': `export const run = 1;`,
  'search-r3/src/decoder/index.ts': `import { run } from '../run/index.js'; export type Model = typeof run;`,
  'search-r3/src/rl/index.ts': `import type { Model } from '../decoder/index.js'; export const rl: Model = 1;`,
  'onnx-grad/src/index.ts': `export const grad = 1;`,
};

test('imports from modules above are allowed', async () => {
  expect(await broken(modules)).toEqual([]);
});

test('every kind of planted violation is caught', async () => {
  const planted = {
    'search-r3/src/decoder/value.ts': `export { rl } from '../rl/index.js';`,
    'search-r3/src/run/type.ts': `import type { Model } from '../decoder/index.js'; export type A = Model;`,
    'search-r3/src/run/lazy.ts': `export const a = () => import('../rl/index.js');`,
    'search-r3/src/cellar/unlisted.ts': `export { run } from '../run/index.js';`,
    'search-r3/src/rl/own-package.ts': `import 'search-r3/run';`,
    'search-r3/src/rl/itself.ts': `import './itself.js';`,
    'search-r3/src/rl/nothing-there.ts': `import './gone.js';`,
    'onnx-grad/src/path.ts': `import { run } from '../../search-r3/src/run/index.js'; run;`,
    'onnx-grad/src/name.ts': `import 'search-r3/run';`,
    'onnx-grad/src/one.ts': `import { b } from './two.js'; export const a = () => b;`,
    'onnx-grad/src/two.ts': `import { a } from './one.js'; export const b = () => a;`,
  };
  expect(await broken({ ...modules, ...planted })).toEqual([
    'onnx-grad/src/name.ts: engine-stands-alone',
    'onnx-grad/src/one.ts: no-cycles',
    'onnx-grad/src/path.ts: engine-stands-alone',
    'search-r3/src/cellar/unlisted.ts: unlisted-module',
    'search-r3/src/decoder/value.ts: module-order-decoder',
    'search-r3/src/rl/itself.ts: no-cycles',
    'search-r3/src/rl/nothing-there.ts: no-unresolvable',
    'search-r3/src/rl/own-package.ts: no-package-root-inside',
    'search-r3/src/run/lazy.ts: module-order-run',
    'search-r3/src/run/type.ts: module-order-run',
  ]);
});
