/**
 * Results kept by what decides them, so that the long form of a benchmark can be done over several sittings and is not
 * done again for words that changed in a comment. Each keeps the commit it was found at.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import swc from '@swc/core';
import { commit } from './machine.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** A short name of everything that a result depends on. */
export const keyOf = (value) => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 10);

/** `work()`, or what it gave the last time for the same `key`. */
export async function kept(folder, key, work) {
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${keyOf(key)}.json`);
  const known = await readFile(path, 'utf8').catch(() => undefined);
  if (known !== undefined) return JSON.parse(known);
  const result = { ...(await work()), commit: commit() };
  await writeFile(path, JSON.stringify(result));
  return result;
}

const PRODUCT = 'packages/search-r3/dist';
/** Modules of the product that do not decide what training and evaluation give. */
const OUTSIDE = ['api', 'cli'];

async function modulesThatDecide() {
  const entries = await readdir(join(ROOT, PRODUCT), { withFileTypes: true });
  const modules = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  return modules.filter((name) => !OUTSIDE.includes(name)).sort();
}

const MINIFIED = { module: true, compress: false, mangle: false };

/**
 * A digest of what code does: compiled files, without their comments, of the engine and of `modules` of the product
 * (default: all that decide what training and evaluation give), and of `files` relative to the root, which may also be no
 * code.
 */
export async function codeDigest({ modules, files = [] } = {}) {
  const hash = createHash('sha256');
  const paths = [...files];
  const folders = (modules ?? (await modulesThatDecide())).map((module) => `${PRODUCT}/${module}`);
  folders.push('packages/onnx-grad/dist');
  for (const folder of folders) {
    const names = await readdir(join(ROOT, folder), { recursive: true });
    for (const name of names.filter((name) => name.endsWith('.js')).sort()) paths.push(`${folder}/${name}`);
  }
  for (const name of paths) {
    const content = await readFile(join(ROOT, name));
    const isCode = /\.m?js$/.test(name);
    hash.update(name).update(isCode ? (await swc.minify(content.toString(), MINIFIED)).code : content);
  }
  return hash.digest('hex').slice(0, 10);
}
