/**
 * Caches results, keyed by what determines them, so that a long benchmark can be spread over several sessions and a
 * changed comment causes no reruns. Each result records its commit.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import swc from '@swc/core';
import { commit } from './machine.js';
import { ROOT } from './paths.js';

/** A short name for everything that a result depends on. */
export const keyOf = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 10);

/** The result of `work()`, or its cached result for the same `key`. */
export async function kept<T extends object>(
  folder: string,
  key: unknown,
  work: () => Promise<T>,
): Promise<T & { commit: string }> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${keyOf(key)}.json`);
  const known = await readFile(path, 'utf8').catch(() => undefined);
  if (known !== undefined) return JSON.parse(known) as T & { commit: string };
  const result = { ...(await work()), commit: commit() };
  await writeFile(path, JSON.stringify(result));
  return result;
}

const PRODUCT = 'packages/search-r3/dist';
/** Modules of the product that do not affect the results of training and evaluation. */
const OUTSIDE = ['api', 'cli'];

async function modulesThatDecide(): Promise<string[]> {
  const entries = await readdir(join(ROOT, PRODUCT), { withFileTypes: true });
  const modules = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  return modules.filter((name) => !OUTSIDE.includes(name)).sort();
}

const MINIFIED = { module: true, compress: false, mangle: false } as const;

export interface DigestOptions {
  /** Modules of the product. Default: all that affect the results of training and evaluation. */
  modules?: readonly string[];
  /** Further files, relative to the root; they need not be code. */
  files?: readonly string[];
}

/** A digest of what compiled code does, without its comments: the engine, modules of the product, further files. */
export async function codeDigest({ modules, files = [] }: DigestOptions = {}): Promise<string> {
  const hash = createHash('sha256');
  const paths = [...files];
  const folders = (modules ?? (await modulesThatDecide())).map((name) => `${PRODUCT}/${name}`);
  folders.push('packages/onnx-grad/dist');
  for (const folder of folders) {
    const names = await readdir(join(ROOT, folder), { recursive: true });
    for (const name of names.filter((each) => each.endsWith('.js')).sort()) paths.push(`${folder}/${name}`);
  }
  for (const name of paths) {
    const content = await readFile(join(ROOT, name));
    const code = name.endsWith('.js') ? (await swc.minify(content.toString(), MINIFIED)).code : content;
    hash.update(name).update(code);
  }
  return hash.digest('hex').slice(0, 10);
}
