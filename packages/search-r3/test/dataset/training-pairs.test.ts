import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadTriples, titlePairs } from 'search-r3/dataset';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

let path: string;
beforeEach(async () => {
  path = join(await mkdtemp(join(tmpdir(), 'triples-')), 'triples.jsonl');
});
afterEach(() => rm(join(path, '..'), { recursive: true }));

const corpus = [
  { id: 'd1', title: 'Bridges', text: 'Stone and steel.' },
  { id: 'd2', text: 'No title here.' },
  { id: 'd3', title: 'Only a title', text: '' },
  { id: 'd4', title: 'Canals', text: 'Water.' },
];
const queries = new Map([['q1', { id: 'q1', text: 'how are bridges built' }]]);

test('titlePairs takes the documents that have a title and a text', () => {
  expect(titlePairs(corpus)).toEqual([
    { query: 'Bridges', positive: 'd1', text: 'Stone and steel.' },
    { query: 'Canals', positive: 'd4', text: 'Water.' },
  ]);
});

describe('loadTriples', () => {
  test('reads texts and ids, mixed', async () => {
    await writeFile(
      path,
      '{"query":"a","positive":"b","negative":"c"}\n{"query_id":"q1","positive_id":"d1","negative":"e"}\n',
    );
    expect(await loadTriples(path, { collection: { corpus, queries } })).toEqual([
      { query: { text: 'a' }, positive: { text: 'b' }, negative: { text: 'c' } },
      {
        query: { id: 'q1', text: 'how are bridges built' },
        positive: { id: 'd1', text: 'Bridges Stone and steel.' },
        negative: { text: 'e' },
      },
    ]);
  });

  test.each([
    ['{"query":"a","positive":"b"}', ':2: negative: expected a string that is not empty, found nothing'],
    [
      '{"query":"a","positive":"","negative":"c"}',
      ':2: positive: expected a string that is not empty, found ""',
    ],
    [
      '{"query":"a","positive_id":"d9","negative":"c"}',
      ':2: positive_id: expected an id of the given collection, found "d9"',
    ],
    [
      '{"query_id":"d1","positive":"b","negative":"c"}',
      ':2: query_id: expected an id of the given collection',
    ],
    [
      '{"query":"a","query_id":"q1","positive":"b","negative":"c"}',
      ':2: query: expected either query or query_id, found both',
    ],
  ])('row %s', async (row, message) => {
    await writeFile(path, `{"query":"a","positive":"b","negative":"c"}\n${row}\n`);
    await expect(loadTriples(path, { collection: { corpus, queries } })).rejects.toThrow(`${path}${message}`);
  });

  test('ids need a collection, and a file needs rows', async () => {
    await writeFile(path, '{"query_id":"q1","positive":"b","negative":"c"}\n');
    await expect(loadTriples(path)).rejects.toThrow('query_id: expected an id of the given collection');
    await writeFile(path, '\n');
    await expect(loadTriples(path)).rejects.toThrow('expected at least one triple, found none');
  });
});
