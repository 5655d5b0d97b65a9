import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError, randomStream } from 'search-r3/run';
import { AnnIndex, openIndex, readManifest, saveIndex } from 'search-r3/vectors';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { dot, ordered, rowOf, unitMatrix } from './brute-force.js';

let parent: string;
let folder: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'index-'));
  folder = join(parent, 'saved');
});
afterEach(() => rm(parent, { recursive: true }));

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

function contents(rows: number, dimension: number) {
  return {
    vectors: unitMatrix(randomStream(1, rows), rows, dimension),
    dimension,
    documents: Array.from({ length: rows }, (_, row) => ({ id: `d${row}`, text: `${row}` })),
    fingerprint: { checkpoint: 'c0ffee', prompts: 'beef' },
  };
}

test('an index saved with its graph opens as an approximate one that searches it at once', async () => {
  const saved = contents(400, 8);
  await saveIndex(folder, saved, { ann: true });
  expect((await readdir(folder)).sort()).toEqual([
    'documents.jsonl',
    'graph.usearch',
    'manifest.json',
    'vectors.f32',
  ]);
  const manifest = await readManifest(folder);
  const bytes = await readFile(join(folder, 'graph.usearch'));
  expect(manifest.graph).toEqual({ format: 'usearch-2', connectivity: 16, buildWidth: 128 });
  expect(manifest.files['graph.usearch']).toEqual({ bytes: bytes.length, sha256: sha256(bytes) });
  const opened = await openIndex(folder);
  try {
    const { vectors } = opened;
    if (!(vectors instanceof AnnIndex)) throw new Error('expected an approximate index');
    const queries = unitMatrix(randomStream(2), 20, 8);
    const found = await opened.search(queries, 10);
    expect(vectors.graph).toMatchObject({ rows: 400, changed: 0, builds: 1, building: false });
    let hits = 0;
    for (const [query, own] of found.entries()) {
      const scores = saved.documents.map((_, row) =>
        dot(rowOf(queries, query, 8), rowOf(saved.vectors, row, 8)),
      );
      const wanted = ordered(scores)
        .slice(0, 10)
        .map((row) => `d${row}`);
      hits += own.filter(({ document }) => wanted.includes(document.id)).length;
    }
    expect(hits).toBeGreaterThanOrEqual(0.97 * 200);
  } finally {
    await opened.dispose();
  }
});

test('without the option there is no graph', async () => {
  await saveIndex(folder, contents(5, 3));
  expect((await readManifest(folder)).graph).toBeUndefined();
  const opened = await openIndex(folder);
  expect(opened.vectors).not.toBeInstanceOf(AnnIndex);
  await opened.dispose();
});

test('a save that fails after the vectors leaves nothing', async () => {
  const broken = contents(3, 3);
  const documents = [...broken.documents.slice(0, 2), { id: 'd2', text: '', big: 1n }];
  await expect(saveIndex(folder, { ...broken, documents }, { ann: true })).rejects.toThrow(/BigInt/);
  expect(await readdir(parent)).toEqual([]);
});

describe('damaged graphs are refused with the name of the file', () => {
  type Fields = Record<string, unknown>;
  const editManifest = async (change: (manifest: Fields) => Fields) => {
    const path = join(folder, 'manifest.json');
    await writeFile(path, JSON.stringify(change(JSON.parse(await readFile(path, 'utf8')) as Fields)));
  };
  /** Replaces the file and updates the manifest to match. */
  const forge = async (bytes: Buffer) => {
    await writeFile(join(folder, 'graph.usearch'), bytes);
    const digest = { bytes: bytes.length, sha256: sha256(bytes) };
    await editManifest((m) => ({ ...m, files: { ...(m.files as Fields), 'graph.usearch': digest } }));
  };
  const graphOf = async (rows: number, dimension: number) => {
    const other = join(parent, 'other');
    await saveIndex(other, contents(rows, dimension), { ann: true });
    return readFile(join(other, 'graph.usearch'));
  };

  test.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'none',
      () => rm(join(folder, 'graph.usearch')),
      /graph\.usearch: expected \d+ bytes.*found nothing there/,
    ],
    [
      'a bit',
      async () => {
        const bytes = await readFile(join(folder, 'graph.usearch'));
        bytes[100] = (bytes[100] as number) ^ 1;
        await writeFile(join(folder, 'graph.usearch'), bytes);
      },
      /graph\.usearch: SHA-256: /,
    ],
    [
      'of fewer vectors',
      async () => forge(await graphOf(49, 8)),
      /graph of 60 vectors of dimension 8, found one of 49 of dimension 8/,
    ],
    [
      'of another dimension',
      async () => forge(await graphOf(60, 7)),
      /graph of 60 vectors of dimension 8, found one of 60 of dimension 7/,
    ],
    ['a manifest without it', () => editManifest(({ graph: _, ...m }) => m), /manifest\.json: graph: /],
    [
      'of another format',
      () => editManifest((m) => ({ ...m, graph: { ...(m.graph as Fields), format: 'usearch-3' } })),
      /manifest\.json: graph\.format: expected "usearch-2", found "usearch-3"/,
    ],
  ])('%s', async (_name, damage, message) => {
    await saveIndex(folder, contents(60, 8), { ann: true });
    await damage();
    const error = await openIndex(folder).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
  });
});
