/** `index --update` and `search --filter`, against an index that was made at once. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { cli, cliJson, type Row, tinyCollection, writeCollection, writeModel } from './tiny.js';

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-update-'));
  await writeModel(join(cwd, 'model'));
});
afterAll(() => rm(cwd, { recursive: true }));
beforeEach(() => rm(join(cwd, 'index'), { recursive: true, force: true }));

/** The collection with a year for each document. */
const corpus: readonly (Row & { year: number })[] = tinyCollection().corpus.map((row, i) => ({
  ...row,
  year: 2000 + i,
}));
/** The third is gone, the fifth has another text, the seventh another year, and there is a new one. */
const changed: Row[] = [
  ...corpus
    .filter((_, i) => i !== 2)
    .map((row) => {
      if (row._id === 'd4') return { ...row, text: `${row.text} bread` };
      return row._id === 'd6' ? { ...row, year: 1900 } : row;
    }),
  { _id: 'new', text: 'drums and flutes of elmo' },
];

const MODEL = ['--model', 'model', '--data', 'data'];
const index = (out: string, ...argv: string[]) =>
  cliJson<Record<string, unknown>>(['index', ...MODEL, '--out', out, ...argv], cwd);
interface Found {
  results: { id: string; score: number; year?: number; text: string }[];
}
const search = async (at: string, ...argv: string[]) => {
  const common = ['search', '--model', 'model', '--index', at, '-k', '30', '--no-reasoning'];
  const [found] = await cliJson<Found[]>([...common, 'food in elmo', ...argv], cwd);
  return found?.results ?? [];
};
const inOrder = (results: Found['results']) =>
  [...results].sort((a, b) => a.id.localeCompare(b.id)).map(({ score, ...rest }) => rest);

test('an update finds what changed; with --prune, the index equals a new one', async () => {
  await writeCollection(join(cwd, 'data'), { corpus: [...corpus] });
  // There is nothing to update yet.
  expect(await index('index', '--update')).toMatchObject({ documents: 24, dimension: 32 });
  const unchanged = { added: 0, changed: 0, unchanged: 24, removed: 0, kept: 0 };
  expect(await index('index', '--update')).toMatchObject({ documents: 24, ...unchanged });
  const log = join(cwd, 'index/data-1/commits.jsonl');
  const before = await readFile(log);

  await writeCollection(join(cwd, 'data'), { corpus: changed });
  const counts = { added: 1, changed: 2, unchanged: 21 };
  const updated = await index('index', '--update');
  expect(updated).toMatchObject({ index: 'index', documents: 25, ...counts, removed: 0, kept: 1 });
  expect((await readFile(log)).subarray(0, before.length)).toEqual(before);
  expect((await search('index')).map(({ id }) => id)).toContain('d2');
  const pruned = await index('index', '--update', '--prune');
  expect(pruned).toMatchObject({ documents: 24, added: 0, changed: 0, unchanged: 24, removed: 1, kept: 0 });

  await index('fresh', '--overwrite');
  const [found, fresh] = [await search('index'), await search('fresh')];
  expect(inOrder(found)).toEqual(inOrder(fresh));
  for (const { id, score } of fresh) {
    expect(found.find((one) => one.id === id)?.score).toBeCloseTo(score, 6);
  }
  expect(found.find(({ id }) => id === 'd6')?.year).toBe(1900);
  const { stdout } = await cli(['inspect', 'index'], { cwd });
  expect(stdout).toMatch(/documents +24\ndeleted or replaced +3\n/);
});

test('for people', async () => {
  await writeCollection(join(cwd, 'data'), { corpus: [...corpus] });
  await index('index');
  await writeCollection(join(cwd, 'data'), { corpus: changed });
  const { stdout } = await cli(['index', ...MODEL, '--out', 'index', '--update'], { cwd });
  expect(stdout).toBe(
    'index: 25 documents: 1 added, 2 changed, 21 unchanged, 0 deleted, ' +
      '1 not in the collection (--prune deletes them); 0 cut to fit\n',
  );
});

test('an update keeps a graph, but does not add one', async () => {
  await writeCollection(join(cwd, 'data'), { corpus: [...corpus] });
  await index('index');
  const { status, stderr } = await cli(['index', ...MODEL, '-o', 'index', '--update', '--ann'], { cwd });
  expect(status).toBe(2);
  expect(stderr).toMatch(
    /^error: index: expected an index with a graph, .*found one without\. Create it again/,
  );
  await index('index', '--overwrite', '--ann');
  for (const ann of [['--ann'], []])
    expect(await index('index', '--update', ...ann)).toMatchObject({ unchanged: 24 });
});

test('a filter restricts a search', async () => {
  await writeCollection(join(cwd, 'data'), { corpus: [...corpus] });
  await index('index');
  const all = await search('index');
  const filtered = await search('index', '--filter', '{"year":{"$gte":2020}}');
  expect(filtered.map(({ id }) => id)).toEqual(
    all.filter(({ year = 0 }) => year >= 2020).map(({ id }) => id),
  );
  expect(filtered).toHaveLength(4);
});

test.each([
  [['index', ...MODEL, '-o', 'index', '--prune'], /^error: --prune: expected --update, found nothing/],
  [
    ['index', ...MODEL, '-o', 'index', '--update', '--overwrite'],
    /--update.*cannot be used with.*--overwrite/,
  ],
  [['index', ...MODEL, '-o', 'data', '--update'], /data: expected a new or empty folder/],
  [
    ['search', '-m', 'model', '-i', 'index', '--filter', '{year', 'soup'],
    /^error: --filter: expected valid JSON/,
  ],
  [
    ['search', '-m', 'model', '-i', 'index', '--filter', '{"year":{"$over":1}}', 'soup'],
    /^error: --filter: year\.\$over: expected one of the keys \$eq, .*unknown key "\$over"/,
  ],
])('%j is refused', async (argv, message) => {
  await writeCollection(join(cwd, 'data'), { corpus: [...corpus] });
  const { status, stdout, stderr } = await cli(argv, { cwd });
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  expect(stderr).toMatch(message);
});
