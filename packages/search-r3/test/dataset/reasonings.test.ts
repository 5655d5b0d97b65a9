/** Reasoning that the user brings. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadReasonings } from 'search-r3/dataset';
import { afterAll, beforeAll, expect, test } from 'vitest';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'reasonings-'));
});
afterAll(() => rm(folder, { recursive: true }));

const KNOWN = new Set(['1', 'q2', '3']);
async function load(...lines: string[]) {
  const path = join(folder, 'own.jsonl');
  await writeFile(path, `${lines.join('\n')}\n`);
  return loadReasonings(path, KNOWN);
}

test('texts by query id, which may be a number; other fields and blank lines do not matter', async () => {
  const found = await load(
    '{"query": 1, "reasoning": "cheese, bread"}',
    '',
    '{"model": "x", "query": "q2", "reasoning": "ships\\nof copper"}',
  );
  expect([...found]).toEqual([
    ['1', 'cheese, bread'],
    ['q2', 'ships\nof copper'],
  ]);
});

test.each([
  [['{"query": "4", "reasoning": "x"}'], /own\.jsonl:1: query: expected a query of the collection, found 4/],
  [
    ['{"query": "3", "reasoning": "x"}', '{"query": "3", "reasoning": "y"}'],
    /own\.jsonl:2: query: expected each query once, found 3/,
  ],
  [['{"query": "3", "reasoning": ""}'], /own\.jsonl:1: reasoning: expected a string that is not empty/],
  [['{"reasoning": "x"}'], /own\.jsonl:1: query: expected a string that is not empty/],
  [[''], /own\.jsonl: expected at least one reasoning, found none/],
])('refused: %j', async (lines, message) => {
  await expect(load(...lines)).rejects.toThrow(message);
});
