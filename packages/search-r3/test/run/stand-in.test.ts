import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadBeirQrels, loadCorpus, loadQueries } from 'search-r3/dataset';
import { lfsPointer, readJson, readText, standIn } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stand-in-'));
});
afterAll(() => rm(folder, { recursive: true }));

// As "git lfs pointer --file=..." prints it.
const POINTER = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0f'.repeat(32)}\nsize 12345678\n`;
const FOUND =
  'found a Git LFS pointer to a file of 12,345,678 bytes. Fetch the file itself: run "git lfs install" and "git lfs pull" in its folder.';

async function fileWith(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

describe('a Git LFS pointer is called that', () => {
  test.each<[string, (path: string) => Promise<unknown>]>([
    ['tokenizer.json', readJson],
    ['chat_template.jinja', readText],
    ['corpus.jsonl', loadCorpus],
    ['queries.jsonl', loadQueries],
    ['test.tsv', loadBeirQrels],
  ])('%s', async (name, read) => {
    const path = await fileWith(name, POINTER);
    await expect(read(path)).rejects.toThrow(`${path}: expected the file itself, ${FOUND}`);
  });

  test('of the first version, with extensions, with Windows line ends', () => {
    const found = 'a Git LFS pointer to a file of 12,345,678 bytes';
    const head = 'version https://hawser.github.com/spec/v1\next-0-foo sha256:00\nsize 12345678\n';
    expect(lfsPointer(head)?.found).toBe(found);
    expect(lfsPointer(POINTER.replaceAll('\n', '\r\n'))?.found).toBe(found);
    expect(lfsPointer('version https://git-lfs.github.com/spec/v1\n')?.found).toBe('a Git LFS pointer');
  });

  test('text that only speaks of one is text', async () => {
    const path = await fileWith('corpus.jsonl', `${JSON.stringify({ _id: 'd', text: POINTER })}\n`);
    expect(await loadCorpus(path)).toEqual([{ id: 'd', text: POINTER }]);
    expect(lfsPointer('version 1')).toBeUndefined();
    expect(standIn(' version https://git-lfs.github.com/spec/v1')).toBeUndefined();
  });
});

test('JSON as Python writes it, or Windows', async () => {
  const path = await fileWith('config.json', '\ufeff{"a":NaN,"b":"NaN \\" Infinity","c":[-Infinity,1]}');
  expect(await readJson(path)).toEqual({ a: null, b: 'NaN " Infinity', c: [null, 1] });
});

test.each([
  '<!DOCTYPE html>\n<html lang="en">',
  '\n  <html><head>',
  '<!doctype HTML PUBLIC "-//W3C//DTD HTML 4.01//EN">',
])('an HTML page in place of JSON: %j', async (text) => {
  const expected =
    'expected valid JSON, found an HTML page. A download saved an error or login page in its place';
  await expect(readJson(await fileWith('config.json', text))).rejects.toThrow(expected);
  const lines = await fileWith('corpus.jsonl', text.trim());
  await expect(loadCorpus(lines)).rejects.toThrow(`${lines}:1: ${expected}`);
});
