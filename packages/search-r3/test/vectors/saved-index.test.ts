import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError, randomStream } from 'search-r3/run';
import {
  assertCompatible,
  type IndexContents,
  type IndexedDocument,
  openIndex,
  readManifest,
  type SaveIndexOptions,
  saveIndex,
} from 'search-r3/vectors';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { dot, ordered, rowOf, unitMatrix } from './brute-force.js';

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
const fingerprint = { checkpoint: 'c0ffee', prompts: 'beef' };
const contents = (changes: Partial<IndexContents> = {}): IndexContents => ({
  vectors: unitMatrix(randomStream(1), 4, 3),
  dimension: 3,
  documents,
  fingerprint,
  ...changes,
});

const thrownBy = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error);
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('round trip', () => {
  test('documents, scores and the manifest', async () => {
    const saved = contents();
    const before = Date.now();
    await saveIndex(folder, saved);
    expect(await readdir(parent)).toEqual(['saved']);
    expect((await readdir(folder)).sort()).toEqual(['documents.jsonl', 'manifest.json', 'vectors.f32']);
    const [vectorBytes, documentBytes] = await Promise.all(
      ['vectors.f32', 'documents.jsonl'].map((name) => readFile(join(folder, name))),
    );
    expect(vectorBytes?.readFloatLE(7 * 4)).toBe(saved.vectors[7]);
    const opened = await openIndex(folder);
    const { created, ...manifest } = opened.manifest;
    expect(manifest).toEqual({
      format: 'search-r3-index',
      version: 1,
      count: 4,
      dimension: 3,
      dtype: 'f32',
      fingerprint,
      files: {
        'vectors.f32': { bytes: 4 * 3 * 4, sha256: sha256(vectorBytes as Buffer) },
        'documents.jsonl': { bytes: documentBytes?.length, sha256: sha256(documentBytes as Buffer) },
      },
    });
    expect(Date.parse(created)).toBeGreaterThanOrEqual(before);
    expect(Date.parse(created)).toBeLessThanOrEqual(Date.now());
    for (const [row, document] of documents.entries()) expect(await opened.document(row)).toEqual(document);
    await expect(opened.document(4)).rejects.toThrow('document: expected a row below 4, found 4');

    const queries = unitMatrix(randomStream(2), 2, 3);
    const found = await opened.search(queries, 3);
    for (const query of [0, 1]) {
      const scores = documents.map((_, row) => dot(rowOf(queries, query, 3), rowOf(saved.vectors, row, 3)));
      const wanted = ordered(scores).slice(0, 3);
      expect(found[query]?.map(({ document }) => document)).toEqual(wanted.map((row) => documents[row]));
      for (const [i, row] of wanted.entries())
        expect(found[query]?.[i]?.score).toBeCloseTo(scores[row] as number, 6);
    }
    expect((await opened.search(queries, 9)).map((own) => own.length)).toEqual([4, 4]);
    await opened.dispose();
  });

  test('files larger than the pieces that are read', async () => {
    const dimension = 1031;
    const rows = 4100;
    // Every vector has a different direction: the position and sign of its one nonzero number.
    const vectors = new Float32Array(rows * dimension);
    for (let row = 0; row < rows; row++) vectors[row * dimension + (row % dimension)] = row < 2000 ? 1 : -1;
    const large = Array.from({ length: rows }, (_, row) => ({
      id: `d${row}`,
      text: row % 1300 === 1299 ? `${row} ${'long \u20ac '.repeat(800_000)}` : `${row}`,
    }));
    await saveIndex(folder, { vectors, dimension, documents: large, fingerprint });
    const opened = await openIndex(folder);
    expect(opened.manifest.files['vectors.f32'].bytes).toBeGreaterThan(2 ** 24);
    expect(opened.manifest.files['documents.jsonl'].bytes).toBeGreaterThan(2 ** 24);
    for (const row of [0, 1298, 1299, 1300, 2599, 4067, 4068, 4099]) {
      expect((await opened.document(row)).id).toBe(`d${row}`);
      expect((await opened.document(row)).text.length).toBe(large[row]?.text.length);
    }
    // Rows with the number at 17: 17, 1048 (+1), 2079, 3110 (-1).
    const query = new Float32Array(dimension);
    query[17] = -1;
    const [found] = await opened.search(query, 2);
    expect(found?.map(({ document, score }) => [document.id, score])).toEqual([
      ['d2079', 1],
      ['d3110', 1],
    ]);
    await opened.dispose();
  });
});

test.runIf(process.platform === 'linux')('an index opened with threads searches with as many', async () => {
  await saveIndex(folder, contents());
  const running = () => readdirSync('/proc/self/task').length;
  const added: number[] = [];
  for (const threads of [1, 3]) {
    // The first read starts threads that stay.
    await (await openIndex(folder, { threads })).dispose();
    const before = running();
    const opened = await openIndex(folder, { threads });
    added.push(running() - before);
    await opened.dispose();
  }
  // The calling thread is one of them.
  expect(added).toEqual([0, 2]);
});

describe('whole or not at all', () => {
  /** Fails when its line is to be written, after the vectors: when it was checked it was in order. */
  const failing = () => {
    let asked = 0;
    const toJSON = () => {
      if (asked++ > 0) throw new Error('no more');
      return 1;
    };
    return contents({ documents: [...documents.slice(0, 3), { id: 'd', text: '', field: { toJSON } }] });
  };

  test('a write that fails leaves nothing', async () => {
    await expect(saveIndex(folder, failing())).rejects.toThrow('no more');
    expect(await readdir(parent)).toEqual([]);
  });

  test('a write that fails keeps the index it should replace', async () => {
    await saveIndex(folder, contents());
    const before = await readManifest(folder);
    await expect(saveIndex(folder, failing(), { overwrite: true })).rejects.toThrow('no more');
    expect(await readdir(parent)).toEqual(['saved']);
    expect(await readManifest(folder)).toEqual(before);
  });

  test('killed in the middle: no index, and the next save removes the leftovers', async () => {
    const fixture = join(import.meta.dirname, 'fixtures/killed.mjs');
    const { signal, stderr } = spawnSync(process.execPath, [fixture, folder], { encoding: 'utf8' });
    expect([signal, stderr]).toEqual(['SIGKILL', '']);
    const left = await readdir(parent);
    expect(left).toEqual([expect.stringMatching(/^\.saved\.\d+\..*\.tmp$/)]);
    expect(await readdir(join(parent, left[0] as string))).toContain('vectors.f32');
    await expect(openIndex(folder)).rejects.toThrow(InputError);
    await saveIndex(folder, contents());
    expect(await readdir(parent)).toEqual(['saved']);
  });

  test('only an index is replaced, in any state, and only on request', async () => {
    await mkdir(folder);
    await writeFile(join(folder, 'manifest.json'), '{"name":"a web page"}');
    for (const overwrite of [false, true]) {
      const foreign = await thrownBy(saveIndex(folder, contents(), { overwrite }));
      expect((foreign as InputError).problem.found).toBe('a folder that is not empty, and not an index');
    }
    expect(await readdir(folder)).toEqual(['manifest.json']);
    for (const manifest of ['{"format":"search-r3-index","version":9}', '{"format":"search']) {
      await writeFile(join(folder, 'manifest.json'), manifest);
      await writeFile(join(folder, 'vectors.f32'), 'anything');
      await writeFile(join(folder, 'documents.jsonl'), '');
      await saveIndex(folder, contents(), { overwrite: true });
    }
    const other = contents({ fingerprint: { checkpoint: 'new', prompts: 'beef' } });
    expect(await thrownBy(saveIndex(folder, other))).toBeInstanceOf(InputError);
    expect((await readManifest(folder)).fingerprint.checkpoint).toBe('c0ffee');
    await saveIndex(folder, other, { overwrite: true });
    expect((await readManifest(folder)).fingerprint.checkpoint).toBe('new');
    expect(await readdir(parent)).toEqual(['saved']);
  });
});

describe('refuses to save, with nothing written', () => {
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
  test.each<[string, Partial<IndexContents>, RegExp]>([
    ['no documents', { documents: [], vectors: new Float32Array(0) }, /documents: expected at least one/],
    ['an id twice', { documents: withDocument({ id: 'b', text: '' }) }, /\[3\]: id: .*"b" again.*\[1\]/],
    ['an empty id', { documents: withDocument({ id: '', text: '' }) }, /documents\[3\]: id: /],
    ['no text', { documents: withDocument({ id: 'd' }) }, /\[3\]: text: expected string, found nothing/],
    ['a BigInt', { documents: withDocument({ id: 'd', text: '', n: [1n] }) }, /\[3\]: n: .* BigInt\.$/],
    ['a BigInt as its id', { documents: withDocument({ id: 1n, text: '' }) }, /\[3\]: id: .*found 1n\.$/],
    ['a circle', { documents: withDocument(circular()) }, /\[3\]: me: .*JSON can hold.* circular .*JSON\.$/],
    ['a vector too few', { vectors: vectors.subarray(3) }, /4 rows of dimension 3, found 9 numbers/],
    ['a dimension that is none', { dimension: 1.5 }, /vectors: expected 4 rows of dimension 1.5/],
    ['a vector of zeros', { vectors: withRow(2, 0, 0, 0) }, /vectors\[2\]: .*length 1, found length 0/],
    ['a vector too long', { vectors: withRow(3, 0.8, 0.8, 0) }, /vectors\[3\]: .*found length 1\.13/],
    ['NaN', { vectors: withRow(1, Number.NaN) }, /vectors\[1\]: .*found length NaN/],
    ['no fingerprint', { fingerprint: { checkpoint: '', prompts: 'p' } }, /fingerprint: checkpoint: /],
  ])('%s', async (_name, changes, message) => {
    const error = await thrownBy(saveIndex(folder, contents(changes)));
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
    expect(await readdir(parent)).toEqual([]);
  });

  test('unknown options of saving and opening', async () => {
    const unknown = { replace: true } as SaveIndexOptions;
    await expect(saveIndex(folder, contents(), unknown)).rejects.toThrow(/unknown key "replace"/);
    expect(await readdir(parent)).toEqual([]);
    await saveIndex(folder, contents());
    await expect(openIndex(folder, { threads: 0 })).rejects.toThrow(/openIndex options: threads: /);
  });
});

describe('damaged folders are refused with the name of the file', () => {
  const edit = async (name: string, change: (bytes: Buffer) => Uint8Array | string) => {
    const path = join(folder, name);
    await writeFile(path, change(await readFile(path)));
  };
  type Fields = Record<string, unknown>;
  const editManifest = (change: (manifest: Fields) => Fields) =>
    edit('manifest.json', (bytes) => JSON.stringify(change(JSON.parse(bytes.toString()) as Fields)));
  /** Changes a file and makes the manifest agree with it. */
  const forge = async (name: string, change: (bytes: Buffer) => Uint8Array) => {
    await edit(name, change);
    const bytes = await readFile(join(folder, name));
    await editManifest((manifest) => ({
      ...manifest,
      files: { ...(manifest.files as Fields), [name]: { bytes: bytes.length, sha256: sha256(bytes) } },
    }));
  };
  const flip = (at: number) => (bytes: Buffer) => {
    bytes[at] = (bytes[at] as number) ^ 1;
    return bytes;
  };

  test.each<[string, () => Promise<unknown>, RegExp]>([
    ['no folder', () => rm(folder, { recursive: true }), /manifest\.json: .*found nothing there/],
    [
      'a folder with something else',
      async () => {
        await rm(folder, { recursive: true });
        await mkdir(folder);
        await writeFile(join(folder, 'manifest.json'), '{"step":3,"files":{}}');
      },
      /manifest\.json: format: expected "search-r3-index", found nothing/,
    ],
    [
      'a truncated manifest',
      () => edit('manifest.json', (b) => b.subarray(0, 40)),
      /manifest\.json: expected valid JSON/,
    ],
    [
      'a later version',
      () => editManifest((m) => ({ ...m, version: 2, quantised: true })),
      /manifest\.json: version: expected 1, found 2/,
    ],
    ['an unknown key', () => editManifest((m) => ({ ...m, counts: 4 })), /manifest\.json: counts: .*"count"/],
    [
      'another dtype',
      () => editManifest((m) => ({ ...m, dtype: 'f16' })),
      /dtype: expected "f32", found "f16"/,
    ],
    [
      'a count of another size',
      () => editManifest((m) => ({ ...m, count: 5 })),
      /bytes: expected 60, for 5 vectors of dimension 3, found 48/,
    ],
    [
      'a count that fits by chance',
      () => editManifest((m) => ({ ...m, count: 3, dimension: 4 })),
      /vectors\.f32: vectors\[0\]: expected a vector of length 1/,
    ],
    ['a dimension of 0', () => editManifest((m) => ({ ...m, dimension: 0 })), /manifest\.json: dimension: /],
    [
      'an invalid checksum',
      () =>
        editManifest((m) => ({
          ...m,
          files: { ...(m.files as Fields), 'vectors.f32': { bytes: 48, sha256: 'no' } },
        })),
      /sha256: expected 64 hex digits, found "no"/,
    ],
    [
      'no vectors',
      () => rm(join(folder, 'vectors.f32')),
      /vectors\.f32: expected 48 bytes.*found nothing there/,
    ],
    [
      'truncated vectors',
      () => edit('vectors.f32', (b) => b.subarray(0, 44)),
      /vectors\.f32: expected 48 bytes.*found 44 bytes/,
    ],
    [
      'a flipped bit of a vector',
      () => edit('vectors.f32', flip(12)),
      /vectors\.f32: SHA-256: expected \w{64}, found \w{64}/,
    ],
    [
      'invalid vectors',
      () => forge('vectors.f32', (b) => b.fill(0, 24, 36)),
      /vectors\.f32: vectors\[2\]: .*found length 0/,
    ],
    ['no documents', () => rm(join(folder, 'documents.jsonl')), /documents\.jsonl: .*found nothing there/],
    [
      'truncated documents',
      () => edit('documents.jsonl', (b) => b.subarray(0, -1)),
      /documents\.jsonl: expected \d+ bytes/,
    ],
    ['a letter of a document', () => edit('documents.jsonl', flip(20)), /documents\.jsonl: SHA-256: /],
    [
      'a document too few',
      () => forge('documents.jsonl', (b) => b.subarray(b.indexOf(10) + 1)),
      /documents\.jsonl: lines: expected 4.*found 3/,
    ],
    [
      'a document too many',
      () => forge('documents.jsonl', (b) => Buffer.concat([b, Buffer.from('{}\n')])),
      /documents\.jsonl: lines: expected 4.*found 5/,
    ],
    [
      'half a document too many',
      () => forge('documents.jsonl', (b) => Buffer.concat([b, Buffer.from('{')])),
      /documents\.jsonl: lines: expected 4.*found more after the last/,
    ],
  ])('%s', async (_name, damage, message) => {
    await saveIndex(folder, contents());
    await damage();
    const error = await thrownBy(openIndex(folder));
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
  });

  test.each([
    [
      '{"id":"d", "text"',
      /documents\.jsonl:4: expected valid JSON, found "\{\\"id\\":\\"d\\", \\"text\\""\.$/,
    ],
    ['{"id":"d","text":3}', /documents\.jsonl:4: text: expected string, found 3/],
  ])('the line %s, which the checksum vouches for, when it is read', async (line, message) => {
    await saveIndex(folder, contents());
    await forge('documents.jsonl', (b) => Buffer.from(b.toString().replace(/.*\n$/, `${line}\n`)));
    const opened = await openIndex(folder);
    expect(await opened.document(0)).toEqual(documents[0]);
    const error = await thrownBy(opened.document(3));
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
    await opened.dispose();
  });
});

describe('assertCompatible', () => {
  test.each([
    [{}, undefined],
    [{ checkpoint: 'other' }, /my\/index: fingerprint\.checkpoint: expected other, .*found c0ffee\. .*again/],
    [{ prompts: 'pork' }, /my\/index: fingerprint\.prompts: expected pork, .*found beef\./],
    [{ dimension: 4 }, /my\/index: dimension: expected 4, .*found 3\./],
  ])('a model that differs in %j', async (changes, message) => {
    await saveIndex(folder, contents());
    const manifest = await readManifest(folder);
    const check = () => assertCompatible(manifest, { ...fingerprint, dimension: 3, ...changes }, 'my/index');
    if (message === undefined) {
      expect(check).not.toThrow();
      return;
    }
    const error = await thrownBy(Promise.resolve().then(check));
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
  });
});
