/** docs/architecture.md names files and modules that exist, in the order that the import rules enforce. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../../..');
const page = await readFile(join(ROOT, 'docs/architecture.md'), 'utf8');

test('every path on the page exists', () => {
  const paths = [...page.matchAll(/`([\w./-]+(?:\.ts|\/))`/g)].map((match) => match[1] as string);
  expect(paths.length).toBeGreaterThan(60);
  const places = ['packages/search-r3/src', '.', ''].map((place) => join(ROOT, place));
  // A bare file name stands in the row of its module.
  const inRow = new Map(
    [...page.matchAll(/^\| `(\w+)` \|.*\| (.*) \|$/gm)].flatMap(([, module, files]) =>
      [...(files as string).matchAll(/`([\w-]+\.ts)`/g)].map((match) => [match[1], module] as const),
    ),
  );
  const missing = paths.filter((path) => {
    const candidates = [path, `${inRow.get(path)}/${path}`];
    return !candidates.some((candidate) => places.some((place) => existsSync(join(place, candidate))));
  });
  expect(missing).toEqual([]);
});

test('modules are listed in the order of the import rules', async () => {
  const rules = await readFile(join(ROOT, '.dependency-cruiser.mjs'), 'utf8');
  const list = /const MODULES = \[([^\]]*)\]/.exec(rules)?.[1] ?? '';
  const order = [...list.matchAll(/'(\w+)'/g)].map((match) => match[1]);
  const listed = [...page.matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1]);
  expect(order.length).toBeGreaterThan(10);
  expect(listed).toEqual(order);
});
