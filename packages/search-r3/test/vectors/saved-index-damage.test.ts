import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { InputError, randomStream } from 'search-r3/run';
import { describeIndex, SavedIndex } from 'search-r3/vectors';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { unitMatrix } from './brute-force.js';

let parent: string;
let folder: string;
/** Four documents, then a fifth, then the second is deleted. */
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'index-'));
  folder = join(parent, 'saved');
  const vectors = unitMatrix(randomStream(1), 5, 3);
  const documents = ['a', 'b', 'c', 'd', 'e'].map((id) => ({ id, text: `text of ${id}` }));
  const batch = (from: number, to: number) => ({
    documents: documents.slice(from, to),
    vectors: vectors.subarray(from * 3, to * 3),
  });
  const made = { dimension: 3, fingerprint: { checkpoint: 'c0ffee' } };
  const index = await SavedIndex.create(folder, made, batch(0, 4));
  await index.add(batch(4, 5));
  await index.delete(['b']);
  await index.close();
});
afterEach(() => rm(parent, { recursive: true }));

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const edit = async (name: string, change: (bytes: Buffer) => Uint8Array | string) => {
  const path = join(folder, name);
  await writeFile(path, change(await readFile(path)));
};
type Fields = Record<string, unknown>;
const editManifest = (change: (manifest: Fields) => Fields) =>
  edit('manifest.json', (bytes) => JSON.stringify(change(JSON.parse(bytes.toString()) as Fields)));
const VECTORS = 'data-1/vectors.f32';
const DOCUMENTS = 'data-1/documents.jsonl';
const COMMITS = 'data-1/commits.jsonl';

interface Commit {
  added?: { rows: number } & Record<'vectors' | 'documents', { bytes: number; sha256: string }>;
  removed?: number[];
}
/** Changes one of the commits, with a new checksum. */
const editCommit = (number: number, change: (commit: Commit) => object) =>
  edit(COMMITS, (bytes) => {
    const lines = bytes.toString().trimEnd().split('\n');
    const text = JSON.stringify(change(JSON.parse((lines[number] as string).slice(9)) as Commit));
    lines[number] = `${crc32(text).toString(16).padStart(8, '0')} ${text}`;
    return `${lines.join('\n')}\n`;
  });
/** Changes the part of a file that the first commit wrote, and makes the commit agree with it. */
const forge = async (part: 'vectors' | 'documents', change: (bytes: Buffer) => Buffer) => {
  const commits = (await readFile(join(folder, COMMITS))).toString().split('\n');
  const length = (JSON.parse((commits[0] as string).slice(9)) as Commit).added?.[part].bytes as number;
  let own: Buffer = Buffer.alloc(0);
  await edit(part === 'vectors' ? VECTORS : DOCUMENTS, (bytes) => {
    own = change(Buffer.from(bytes.subarray(0, length)));
    return Buffer.concat([own, bytes.subarray(length)]);
  });
  await editCommit(0, (commit) => ({
    ...commit,
    added: { ...commit.added, [part]: { bytes: own.length, sha256: sha256(own) } },
  }));
};
const flip = (at: number) => (bytes: Buffer) => {
  bytes[at] = (bytes[at] as number) ^ 1;
  return bytes;
};

test('undamaged, it opens', async () => {
  const index = await SavedIndex.open(folder);
  expect(await index.count()).toBe(4);
  await index.close();
  const { rows, removed, commits } = await describeIndex(folder);
  expect({ rows, removed, commits }).toEqual({ rows: 5, removed: 1, commits: 3 });
});

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
    /json: expected valid JSON/,
  ],
  [
    'the first version',
    () => editManifest((m) => ({ ...m, version: 1, count: 4 })),
    /manifest\.json: version: expected 2, found 1\. Index the corpus again/,
  ],
  ['a later version', () => editManifest((m) => ({ ...m, version: 3 })), /version: expected 2, found 3/],
  [
    'an unknown key',
    () => editManifest((m) => ({ ...m, dimensions: 4 })),
    /manifest\.json: dimensions: .*"dimension"/,
  ],
  [
    'another dtype',
    () => editManifest((m) => ({ ...m, dtype: 'f16' })),
    /dtype: expected "f32", found "f16"/,
  ],
  ['a dimension of 0', () => editManifest((m) => ({ ...m, dimension: 0 })), /manifest\.json: dimension: /],
  [
    'another dimension',
    () => editManifest((m) => ({ ...m, dimension: 4 })),
    /vectors\.f32: expected 64 bytes for 4 vectors of dimension 4, found 48/,
  ],
  [
    'a folder of rows outside',
    () => editManifest((m) => ({ ...m, data: '../data-1' })),
    /manifest\.json: data: expected a name like data-1, found "\.\.\/data-1"/,
  ],
  [
    'a folder of rows that is missing',
    () => rename(join(folder, 'data-1'), join(folder, 'data-2')),
    /data-1\/commits\.jsonl: .*found nothing there/,
  ],
  [
    'no vectors',
    () => rm(join(folder, VECTORS)),
    /vectors\.f32: expected a readable file, found nothing there/,
  ],
  [
    'truncated vectors',
    () => edit(VECTORS, (b) => b.subarray(0, 44)),
    /vectors\.f32: expected 48 bytes at 0/,
  ],
  [
    'vectors that the last commit wrote, truncated',
    () => edit(VECTORS, (b) => b.subarray(0, 58)),
    /vectors\.f32: expected 12 bytes at 48, found its end at byte 58/,
  ],
  [
    'a flipped bit of a vector',
    () => edit(VECTORS, flip(12)),
    /vectors\.f32: SHA-256: expected \w{64}, found \w{64}/,
  ],
  [
    'invalid vectors',
    () => forge('vectors', (b) => b.fill(0, 24, 36)),
    /vectors\.f32: vectors\[2\]: .*found length 0/,
  ],
  ['no documents', () => rm(join(folder, DOCUMENTS)), /documents\.jsonl: .*found nothing there/],
  [
    'truncated documents',
    () => edit(DOCUMENTS, (b) => b.subarray(0, -1)),
    /documents\.jsonl: expected \d+ bytes/,
  ],
  ['a letter of a document', () => edit(DOCUMENTS, flip(20)), /documents\.jsonl: SHA-256: /],
  [
    'a document too few',
    () => forge('documents', (b) => b.fill('_', b.indexOf(10), b.indexOf(10) + 1)),
    /documents\.jsonl: lines: expected 4 in a commit, found 3/,
  ],
  [
    'a document too many',
    () => forge('documents', (b) => b.fill('\n', 5, 6)),
    /documents\.jsonl: lines: expected 4 in a commit, found 5/,
  ],
  [
    'half a document too many',
    () => forge('documents', (b) => b.fill('}', b.length - 1)),
    /documents\.jsonl: lines: expected 4 in a commit, found 3/,
  ],
  ['no commits', () => rm(join(folder, COMMITS)), /commits\.jsonl: .*found nothing there/],
  [
    'a letter of a commit',
    () => edit(COMMITS, flip(30)),
    /commits\.jsonl:1: expected a line that matches its checksum/,
  ],
  [
    'a commit of something else',
    () => editCommit(2, (commit) => ({ ...commit, renamed: [1] })),
    /commits\.jsonl:3: renamed: .*unknown key/,
  ],
  [
    'a row that is removed twice',
    () => editCommit(2, () => ({ removed: [1, 1] })),
    /commits\.jsonl: expected rows that are there to be removed, found the row 1/,
  ],
  ['a row that is not there', () => editCommit(2, () => ({ removed: [5] })), /found the row 5/],
])('%s is refused, with the name of the file', async (_name, damage, message) => {
  await damage();
  const error = await SavedIndex.open(folder).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(InputError);
  expect((error as InputError).message).toMatch(message);
});

test.each([
  ['{"id":"d", "text"', /documents\.jsonl:4: expected valid JSON/],
  ['{"id":"d","text":3}', /documents\.jsonl:4: text: expected string, found 3/],
])('the line %s, which the checksum vouches for, when it is read', async (line, message) => {
  await forge('documents', (b) => Buffer.from(b.toString().replace(/.*\n$/, `${line}\n`)));
  const index = await SavedIndex.open(folder);
  const error = await index.search(new Float32Array(3), { k: 9 }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(InputError);
  expect((error as InputError).message).toMatch(message);
  await index.close();
});

test('describing an index does not read it, but sees that a file is missing or too short', async () => {
  await edit(DOCUMENTS, flip(20));
  const { files } = await describeIndex(folder);
  expect(files['vectors.f32']).toBe(60);
  await edit(VECTORS, (b) => b.subarray(0, 59));
  await expect(describeIndex(folder)).rejects.toThrow(/vectors\.f32: expected 60 bytes, found 59/);
  expect(await readdir(folder)).toContain('data-1');
});
