/** Changes of a saved index: what others see, who may change it, what an interrupted change leaves, compaction. */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream } from 'search-r3/run';
import { type Batch, describeIndex, readManifest, SavedIndex } from 'search-r3/vectors';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { unitMatrix } from './brute-force.js';

let parent: string;
let folder: string;
let opened: SavedIndex[];
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'index-'));
  folder = join(parent, 'saved');
  opened = [];
});
afterEach(async () => {
  for (const index of opened) await index.close();
  await rm(parent, { recursive: true });
});

const made = { dimension: 3, fingerprint: { checkpoint: 'c0ffee' } };
const batch = (ids: readonly string[], seed = 1): Batch => ({
  documents: ids.map((id) => ({ id, text: `text ${seed} of ${id}` })),
  vectors: unitMatrix(randomStream(seed), ids.length, 3),
});
const names = (count: number, prefix = 'd') => Array.from({ length: count }, (_, i) => `${prefix}${i}`);
const tracked = (index: SavedIndex) => {
  opened.push(index);
  return index;
};
const create = async (...batches: Batch[]) => tracked(await SavedIndex.create(folder, made, batches));
const open = async (at = folder) => tracked(await SavedIndex.open(at));
/** `count` whole numbers from `start` to `end`. */
const evenly = (start: number, end: number, count: number) =>
  Array.from({ length: count }, (_, i) => Math.round(start + ((end - start) * i) / (count - 1)));
const query = unitMatrix(randomStream(9), 1, 3);
/** Everything that an index says. */
const stateOf = async (index: SavedIndex) => ({
  count: await index.count(),
  found: await index.search(query, { k: 10_000 }),
});

test('whoever opened the index before a change keeps seeing it as it was, also when it is written anew', async () => {
  const writer = await create(batch(names(30)));
  const reader = await open();
  const before = await stateOf(reader);
  await writer.upsert(batch(['d3', 'new'], 2));
  await writer.delete(['d7']);
  expect(await stateOf(reader)).toEqual(before);
  expect(await reader.get(['d7', 'new'])).toEqual([{ id: 'd7', text: 'text 1 of d7' }, undefined]);
  await writer.compact();
  await writer.add(batch(names(5, 'more')));
  expect(await stateOf(reader)).toEqual(before);
  expect(await stateOf(await open())).toEqual(await stateOf(writer));
  expect(await writer.count()).toBe(35);
});

test('one changes an index at a time; the next takes over what was changed', async () => {
  const first = await create(batch(['a', 'b']));
  const second = await open();
  await first.add(batch(['c']));
  await expect(second.add(batch(['d']))).rejects.toThrow(/lock: expected a folder that nobody else is using/);
  await expect(SavedIndex.create(folder, { ...made, overwrite: true })).rejects.toThrow(
    /nobody else is using/,
  );
  await first.close();
  expect(await second.count()).toBe(2);
  await expect(second.add(batch(['c']))).rejects.toThrow('"c", which is there already');
  expect(await second.count()).toBe(3);
  await second.add(batch(['d']));
  expect(await stateOf(await open())).toEqual(await stateOf(second));
  await second.close();
  expect(await readdir(folder)).not.toContain('lock');
});

test('the next also takes over rows that were written anew, but not another index', async () => {
  const old = await create(batch(['a', 'b', 'c']));
  const writer = await open();
  await writer.delete(['c']);
  await writer.compact();
  await writer.close();
  expect(await old.delete(['a', 'c'])).toBe(1);
  expect(await stateOf(old)).toEqual(await stateOf(await open()));
  await old.close();
  const replaced = await open();
  await SavedIndex.create(folder, { ...made, overwrite: true }, batch(['x'])).then(tracked);
  await expect(replaced.delete(['b'])).rejects.toThrow(/found another one, which replaced it. Open it again/);
  expect(await replaced.get(['b'])).toEqual([{ id: 'b', text: 'text 1 of b' }]);
});

test('an index opens while its rows are written anew', async () => {
  const writer = await create(batch(names(300)));
  const state = await stateOf(writer);
  let writing = true;
  const work = (async () => {
    for (let i = 0; i < 10; i++) await writer.compact();
    writing = false;
  })();
  for (let i = 0; writing; i++) {
    const reader = await SavedIndex.open(folder);
    if (i % 10 === 0) expect(await stateOf(reader)).toEqual(state);
    await reader.close();
  }
  await work;
  expect((await readManifest(folder)).data).toBe('data-11');
});

test('cut anywhere in the log, an index is as it was after the last whole change, and can be changed', async () => {
  const index = await create(batch(['a', 'b', 'c']));
  const states = [await stateOf(index)];
  const log = join(folder, 'data-1/commits.jsonl');
  const ends = [(await stat(log)).size];
  const record = async () => {
    states.push(await stateOf(index));
    ends.push((await stat(log)).size);
  };
  await index.add(batch(['d', 'e'], 2));
  await record();
  await index.delete(['b', 'd']);
  await record();
  await index.upsert(batch(['c', 'f'], 3));
  await record();
  await index.close();
  const [start, end] = [ends[0] as number, ends[3] as number];
  const anywhere = evenly(start, end, scaled(20, 500));
  const around = ends.flatMap((size) => [size - 1, size, size + 1]);
  for (const bytes of new Set([...anywhere, ...around].filter((at) => at >= start && at <= end))) {
    const copy = join(parent, `cut-${bytes}`);
    await cp(folder, copy, { recursive: true });
    await truncate(join(copy, 'data-1/commits.jsonl'), bytes);
    const cut = await open(copy);
    const last = ends.filter((size) => size <= bytes).length - 1;
    expect(await stateOf(cut)).toEqual(states[last]);
    await cut.add(batch(['z'], 4));
    expect(await stateOf(await open(copy))).toEqual(await stateOf(cut));
    await cut.close();
  }
  // Garbage after the last change, as a power failure may leave it.
  await writeFile(log, `${'\0'.repeat(40)}\n`, { flag: 'a' });
  await writeFile(join(folder, 'data-1/vectors.f32'), 'garbage', { flag: 'a' });
  expect(await stateOf(await open())).toEqual(states[3]);
});

test('rows are written anew when too many are dead, and searches stay the same', async () => {
  const index = await create(batch(names(1500)));
  await index.delete(names(1024));
  expect((await readManifest(folder)).data).toBe('data-1');
  const { documents, vectors } = batch(names(1500));
  await index.delete(['d1024']);
  expect((await readdir(folder)).sort()).toEqual(['data-2', 'lock', 'manifest.json']);
  const { rows, removed, files } = await describeIndex(folder);
  expect([rows, removed, files['vectors.f32']]).toEqual([475, 0, 475 * 12]);
  const fresh = await SavedIndex.create(join(parent, 'fresh'), made, {
    documents: documents.slice(1025),
    vectors: vectors.subarray(1025 * 3),
  });
  expect(await stateOf(index)).toEqual(await stateOf(tracked(fresh)));
  await index.upsert(batch(['d1400', 'x'], 3));
  expect(await index.count()).toBe(476);
  expect(await stateOf(await open())).toEqual(await stateOf(index));
});

test('what a killed compaction left is removed by the next change', async () => {
  await create(batch(['a', 'b']));
  const left = ['data-2', `.data-2.${2 ** 30}.0123abcd.tmp`];
  for (const name of left) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, 'vectors.f32'), 'anything');
  }
  const index = await open();
  expect(await index.count()).toBe(2);
  await index.delete(['a']);
  expect((await readdir(folder)).sort()).toEqual(['data-1', 'lock', 'manifest.json']);
  await index.compact();
  expect(await index.get(['a', 'b'])).toEqual([undefined, { id: 'b', text: 'text 1 of b' }]);
});

test('an addition writes as much as it adds', async () => {
  const index = await create(batch(names(2000)));
  const sizes = async () => {
    const { files } = await describeIndex(folder);
    const inFolder = await readdir(join(folder, 'data-1'));
    const found = await Promise.all(
      inFolder.map(async (name) => (await stat(join(folder, 'data-1', name))).size),
    );
    expect(found.reduce((sum, size) => sum + size)).toBe(
      Object.values(files).reduce((sum, size) => sum + size),
    );
    return files;
  };
  const before = await sizes();
  const manifest = await readFile(join(folder, 'manifest.json'));
  await index.add(batch(names(10, 'more'), 2));
  const after = await sizes();
  expect(after['vectors.f32'] - before['vectors.f32']).toBe(120);
  expect(after['documents.jsonl'] - before['documents.jsonl']).toBe(
    10 * '{"id":"more0","text":"text 2 of more0"}\n'.length,
  );
  expect(after['commits.jsonl'] - before['commits.jsonl']).toBeLessThan(300);
  expect(await readFile(join(folder, 'manifest.json'))).toEqual(manifest);
});
