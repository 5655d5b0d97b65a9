/**
 * Tells whether docs/reference/api is current without rendering it, by a fingerprint of the declarations and of the
 * pages.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const PAGES = join(ROOT, 'docs/reference/api');
export const FINGERPRINT = join(PAGES, 'fingerprint.json');

/** The documented modules. The command line has a reference of its own. */
const MODULES =
  'run tokenizer checkpoint model generate embed vectors dataset evaluate environment sft pretrain rl pipeline'.split(
    ' ',
  );

const PACKAGES = ['packages/search-r3', 'packages/onnx-grad'].map((folder) => join(ROOT, folder));
const search = join(ROOT, 'packages/search-r3/dist');
const engine = join(ROOT, 'packages/onnx-grad/dist');

/** The top level comes last: a function in it must not take the page of the module of the same name. */
export const ENTRY_POINTS = [
  ...MODULES.map((name) => join(search, name, 'index.d.ts')),
  join(engine, 'index.d.ts'),
  join(engine, 'optim/index.d.ts'),
  join(engine, 'exit-guard.d.ts'),
  join(search, 'index.d.ts'),
];

/**
 * SHA-256 of all declarations and of all pages, in hex.
 * @returns {Promise<{ declarations: string, pages: string }>}
 */
export async function fingerprint() {
  const declared = await Promise.all(PACKAGES.map(declarations));
  const pages = (await readdir(PAGES, { recursive: true })).filter((name) => name.endsWith('.md'));
  return {
    declarations: await digest(declared.flat()),
    pages: await digest(pages.map((name) => join(PAGES, name))),
  };
}

/**
 * The declarations of the present sources: `dist` may also hold those of deleted ones.
 * @param {string} folder
 * @returns {Promise<string[]>}
 */
async function declarations(folder) {
  const sources = await readdir(join(folder, 'src'), { recursive: true });
  return sources
    .filter((name) => /(?<!\.d|\.as)\.ts$/.test(name) && !/^cli[\\/]/.test(name))
    .map((name) => join(folder, 'dist', name.replace(/\.ts$/, '.d.ts')));
}

/**
 * @param {string[]} paths
 * @returns {Promise<string>}
 */
async function digest(paths) {
  const hash = createHash('sha256');
  for (const path of paths.sort()) {
    hash.update(`${relative(ROOT, path).split(sep).join('/')}\0`).update(await readFile(path));
  }
  return hash.digest('hex');
}
