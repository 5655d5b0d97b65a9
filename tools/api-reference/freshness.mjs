/**
 * Whether docs/reference/api is what the declarations of the packages say, without rendering it: a fingerprint of the
 * declarations and of the pages lies beside them.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const PAGES = join(ROOT, 'docs/reference/api');
export const FINGERPRINT = join(PAGES, 'fingerprint.json');

/** The documented modules; the command line has a reference of its own. */
const MODULES =
  'run tokenizer checkpoint model generate embed vectors dataset evaluate environment sft pretrain rl pipeline'.split(
    ' ',
  );

const PACKAGES = ['packages/search-r3', 'packages/onnx-grad'].map((folder) => join(ROOT, folder));
const [search, engine] = PACKAGES.map((folder) => join(folder, 'dist'));

/** The last one is the top level: a function in it must not take the page of the module of the same name. */
export const ENTRY_POINTS = [
  ...MODULES.map((module) => join(search, module, 'index.d.ts')),
  join(engine, 'index.d.ts'),
  join(engine, 'optim/index.d.ts'),
  join(search, 'index.d.ts'),
];

/** SHA-256 of all declarations and of all pages, in hex. */
export async function fingerprint() {
  const declared = await Promise.all(PACKAGES.map(declarations));
  const pages = (await readdir(PAGES, { recursive: true })).filter((name) => name.endsWith('.md'));
  return {
    declarations: await digest(declared.flat()),
    pages: await digest(pages.map((name) => join(PAGES, name))),
  };
}

/** Of the sources there are: `dist` may hold what was built from others. */
async function declarations(folder) {
  const sources = await readdir(join(folder, 'src'), { recursive: true });
  return sources
    .filter((name) => /(?<!\.d|\.as)\.ts$/.test(name) && !/^cli[\\/]/.test(name))
    .map((name) => join(folder, 'dist', name.replace(/\.ts$/, '.d.ts')));
}

async function digest(paths) {
  const hash = createHash('sha256');
  for (const path of paths.sort()) {
    hash.update(`${relative(ROOT, path).split(sep).join('/')}\0`).update(await readFile(path));
  }
  return hash.digest('hex');
}
