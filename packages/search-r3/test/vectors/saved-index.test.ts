import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { InputError, InterruptedError, randomStream } from 'search-r3/run';
import {
  type Batch,
  type CreateIndexOptions,
  describeIndex,
  type IndexedDocument,
  readManifest,
  SavedIndex,
} from 'search-r3/vectors';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { unitMatrix } from './brute-force.js';

let parent: string;
let folder: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'index-'));
  folder = join(parent, 'saved');
});
afterEach(() => rm(parent, { recursive: true }));

const documents: IndexedDocument[] = [
  { id: 'a', title: 'Bread', text: 'of Lyon' },
  { id: 'b', text: '', year: 1999, tags: ['x', { deep: null }] },
  { id: 'c\u2028\n"', title: '', text: 'line\u2028separators, \r\n ends, \u{1f980} and "quotes"' },
  { id: 'd', text: 'last' },
];
const fingerprint = { weights: 'c0ffee', documentPrompt: 'beef' };
const made = { dimension: 3, fingerprint };
const contents = (changes: Partial<Batch> = {}): Batch => ({
  vectors: unitMatrix(randomStream(1), 4, 3),
  documents,
  ...changes,
});
/** Creates the index and closes it again. */
const save = async (batch = contents(), options: Partial<CreateIndexOptions> = {}) =>
  (await SavedIndex.create(folder, { ...made, ...options }, batch)).close();

const thrownBy = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error);
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('the files', () => {
  test('of a new index', async () => {
    const before = Date.now();
    await save();
    expect(await readdir(parent)).toEqual(['saved']);
    expect((await readdir(folder)).sort()).toEqual(['data-1', 'manifest.json']);
    const names = ['vectors.f32', 'documents.jsonl', 'commits.jsonl'];
    expect((await readdir(join(folder, 'data-1'))).sort()).toEqual([...names].sort());
    const [vectors, lines, commits] = await Promise.all(
      names.map(async (name) => readFile(join(folder, 'data-1', name))),
    );
    expect(vectors?.readFloatLE(7 * 4)).toBe(contents().vectors[7]);
    expect(String(lines)).toBe(documents.map((document) => `${JSON.stringify(document)}\n`).join(''));
    const digest = (bytes = Buffer.alloc(0)) => ({ bytes: bytes.length, sha256: sha256(bytes) });
    const commit = JSON.stringify({ added: { rows: 4, vectors: digest(vectors), documents: digest(lines) } });
    expect(String(commits)).toBe(`${crc32(commit).toString(16).padStart(8, '0')} ${commit}\n`);
    const { created, ...manifest } = await readManifest(folder);
    expect(manifest).toEqual({
      format: 'search-r3-index',
      version: 2,
      dimension: 3,
      dtype: 'f32',
      fingerprint,
      data: 'data-1',
      ann: false,
    });
    expect(Date.parse(created)).toBeGreaterThanOrEqual(before);
    expect(Date.parse(created)).toBeLessThanOrEqual(Date.now());
  });

  test('larger than the pieces that are read', async () => {
    const dimension = 1031;
    const rows = 4100;
    // Every vector has a different direction: the position and sign of its one nonzero number.
    const vectors = new Float32Array(rows * dimension);
    for (let row = 0; row < rows; row++) vectors[row * dimension + (row % dimension)] = row < 2000 ? 1 : -1;
    const large = Array.from({ length: rows }, (_, row) => ({
      id: `d${row}`,
      text: row % 1300 === 1299 ? `${row} ${'long \u20ac '.repeat(800_000)}` : `${row}`,
    }));
    await save({ vectors, documents: large }, { dimension });
    const { files } = await describeIndex(folder);
    expect(files['vectors.f32']).toBeGreaterThan(2 ** 24);
    expect(files['documents.jsonl']).toBeGreaterThan(2 ** 24);
    const opened = await SavedIndex.open(folder);
    const some = [0, 1298, 1299, 1300, 2599, 4067, 4068, 4099].map((row) => large[row]);
    expect(await opened.get(some.map((document) => document?.id as string))).toEqual(some);
    // Rows with the number at 17: 17, 1048 (+1), 2079, 3110 (-1).
    const query = new Float32Array(dimension);
    query[17] = -1;
    expect(await opened.nearest(query, { k: 2 })).toEqual([
      [
        { id: 'd2079', score: 1 },
        { id: 'd3110', score: 1 },
      ],
    ]);
    await opened.close();
  });
});

test.runIf(process.platform === 'linux')('an index opened with threads searches with as many', async () => {
  await save();
  const running = () => readdirSync('/proc/self/task').length;
  const added: number[] = [];
  for (const threads of [1, 3]) {
    // The first read starts threads that stay.
    await (await SavedIndex.open(folder, { threads })).close();
    const before = running();
    const opened = await SavedIndex.open(folder, { threads });
    added.push(running() - before);
    await opened.close();
  }
  // The calling thread is one of them.
  expect(added).toEqual([0, 2]);
});

describe('whole or not at all', () => {
  function* failing(): Generator<Batch> {
    yield contents();
    throw new Error('no more');
  }
  const failed = (options: Partial<CreateIndexOptions> = {}) =>
    SavedIndex.create(folder, { ...made, ...options }, failing());

  test('a write that fails leaves nothing', async () => {
    await expect(failed()).rejects.toThrow('no more');
    expect(await readdir(parent)).toEqual([]);
  });

  test('an abort leaves nothing', async () => {
    const controller = new AbortController();
    function* aborting(): Generator<Batch> {
      yield contents();
      controller.abort();
      yield contents();
    }
    const { signal } = controller;
    await expect(SavedIndex.create(folder, { ...made, signal }, aborting())).rejects.toThrow(
      InterruptedError,
    );
    expect(await readdir(parent)).toEqual([]);
  });

  test('a write that fails keeps the index it should replace', async () => {
    await save();
    const before = await readManifest(folder);
    await expect(failed({ overwrite: true })).rejects.toThrow('no more');
    expect(await readdir(parent)).toEqual(['saved']);
    expect(await readManifest(folder)).toEqual(before);
  });

  test('killed in the middle: no index, and the next save removes the leftovers', async () => {
    const fixture = join(import.meta.dirname, 'fixtures/killed.mjs');
    const { signal, stderr } = spawnSync(process.execPath, [fixture, folder], { encoding: 'utf8' });
    expect([signal, stderr]).toEqual(['SIGKILL', '']);
    const left = await readdir(parent);
    expect(left).toEqual([expect.stringMatching(/^\.saved\.\d+\..*\.tmp$/)]);
    await expect(SavedIndex.open(folder)).rejects.toThrow(InputError);
    await save();
    expect(await readdir(parent)).toEqual(['saved']);
  });

  test('only an index is replaced, in any state, and only on request', async () => {
    await mkdir(folder);
    await writeFile(join(folder, 'manifest.json'), '{"name":"a web page"}');
    for (const overwrite of [false, true]) {
      const foreign = await thrownBy(save(contents(), { overwrite }));
      expect((foreign as InputError).problem.found).toBe('a folder that is not empty, and not an index');
    }
    expect(await readdir(folder)).toEqual(['manifest.json']);
    for (const manifest of ['{"format":"search-r3-index","version":1}', '{"format":"search']) {
      await writeFile(join(folder, 'manifest.json'), manifest);
      await writeFile(join(folder, 'vectors.f32'), 'anything');
      await save(contents(), { overwrite: true });
    }
    await writeFile(join(folder, 'manifest.json'), '{"format":"search');
    const other = { fingerprint: { weights: 'new' } };
    await save(contents(), { ...other, overwrite: true });
    expect(await thrownBy(save())).toBeInstanceOf(InputError);
    expect((await readManifest(folder)).fingerprint.weights).toBe('new');
    expect(await readdir(parent)).toEqual(['saved']);
  });
});

describe('refuses to create, with nothing written', () => {
  const { vectors } = contents();
  const withRow = (row: number, ...numbers: number[]) => {
    const copy = vectors.slice();
    copy.set(numbers, row * 3);
    return copy;
  };
  const circular = () => {
    const document: Record<string, unknown> = { id: 'd', text: '' };
    document.me = document;
    return document;
  };
  const withDocument = (document: object) => [...documents.slice(0, 3), document as IndexedDocument];
  test.each<[string, Partial<Batch>, RegExp]>([
    ['an id twice', { documents: withDocument({ id: 'b', text: '' }) }, /\[3\]: id: .*"b" again.*\[1\]/],
    ['an empty id', { documents: withDocument({ id: '', text: '' }) }, /documents\[3\]: id: /],
    ['no text', { documents: withDocument({ id: 'd' }) }, /\[3\]: text: expected string, found nothing/],
    ['a BigInt', { documents: withDocument({ id: 'd', text: '', n: [1n] }) }, /\[3\]: n: .* BigInt\.$/],
    ['a BigInt as its id', { documents: withDocument({ id: 1n, text: '' }) }, /\[3\]: id: .*found 1n\.$/],
    ['a circle', { documents: withDocument(circular()) }, /\[3\]: me: .*JSON can hold.* circular .*JSON\.$/],
    ['a vector too few', { vectors: vectors.subarray(3) }, /4 rows of dimension 3, found 9 numbers/],
    ['a vector of zeros', { vectors: withRow(2, 0, 0, 0) }, /vectors\[2\]: .*length 1, found length 0/],
    ['a vector too long', { vectors: withRow(3, 0.8, 0.8, 0) }, /vectors\[3\]: .*found length 1\.13/],
    ['NaN', { vectors: withRow(1, Number.NaN) }, /vectors\[1\]: .*found length NaN/],
  ])('%s', async (_name, changes, message) => {
    const error = await thrownBy(save(contents(changes)));
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
    expect(await readdir(parent)).toEqual([]);
  });

  test('an id of an earlier batch', async () => {
    const { vectors: one } = contents();
    const again = { documents: [{ id: 'b', text: '' }], vectors: one.subarray(0, 3) };
    await expect(SavedIndex.create(folder, made, [contents(), again])).rejects.toThrow(/"b", which is there/);
    expect(await readdir(parent)).toEqual([]);
  });

  test('bad options', async () => {
    for (const [bad, message] of [
      [{ replace: true }, /unknown key "replace"/],
      [{ dimension: 1.5 }, /dimension: /],
      [{ fingerprint: { weights: '' } }, /fingerprint\.weights: /],
    ] as [Partial<CreateIndexOptions>, RegExp][]) {
      await expect(save(contents(), bad)).rejects.toThrow(message);
    }
    expect(await readdir(parent)).toEqual([]);
    await save();
    await expect(SavedIndex.open(folder, { threads: 0 })).rejects.toThrow(
      /SavedIndex.open options: threads: /,
    );
  });
});
