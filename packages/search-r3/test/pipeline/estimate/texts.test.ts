/** Samples of collections: small ones are read whole, large ones in places. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sampleTexts } from 'search-r3/pipeline';
import { InputError } from 'search-r3/run';
import { afterEach, beforeEach, expect, test } from 'vitest';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'texts-'));
});
afterEach(() => rm(folder, { recursive: true }));

const write = (name: string, rows: readonly object[]) =>
  writeFile(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

test('a small collection is counted exactly, titles before texts', async () => {
  await write('corpus.jsonl', [
    { _id: 'a', title: 'Ships', text: 'They float.' },
    { _id: 'b', text: 'No title.' },
  ]);
  await write('queries.jsonl', [{ _id: 'q', text: 'what floats' }]);
  const { documents, queries, count, atlas } = await sampleTexts(folder);
  expect(documents).toEqual(['Ships They float.', 'No title.']);
  expect(queries).toEqual(['what floats']);
  expect(count).toEqual({ documents: 2, queries: 1 });
  expect(atlas).toBe(false);
});

test('a large one is estimated from lines all over its file', async () => {
  // Lines grow from 40 to 440 characters: its beginning alone would say that there are many more.
  const total = 12_345;
  const rows = Array.from({ length: total }, (_, i) => ({
    _id: `d${i}`,
    text: 'x'.repeat(20 + Math.floor((400 * i) / total)),
  }));
  await write('corpus.jsonl', rows);
  await write('queries.jsonl', [{ _id: 'q', text: 'query' }]);
  const { documents, count, bytes } = await sampleTexts(folder);
  expect(Math.abs(count.documents / total - 1)).toBeLessThan(0.15);
  expect(documents).toHaveLength(256);
  const mean = documents.reduce((sum, { length }) => sum + length, 0) / documents.length;
  expect(Math.abs(mean / 220 - 1)).toBeLessThan(0.25);
  expect(bytes).toBeGreaterThan(total * 220);
});

test('the built-in world is there without files', async () => {
  const { count, documents, atlas } = await sampleTexts('atlas');
  expect(atlas).toBe(true);
  expect(count.documents).toBe(600);
  expect(documents).toHaveLength(256);
});

test('a folder without a corpus is refused as loading it would be', async () => {
  await expect(sampleTexts(folder)).rejects.toThrow(InputError);
});
