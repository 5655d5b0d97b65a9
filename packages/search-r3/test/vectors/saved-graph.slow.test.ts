import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError, randomStream } from 'search-r3/run';
import { type Batch, readManifest, SavedIndex } from 'search-r3/vectors';
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

function contents(rows: number, dimension: number, prefix = 'd'): Batch {
  return {
    vectors: unitMatrix(randomStream(1, rows), rows, dimension),
    documents: Array.from({ length: rows }, (_, row) => ({ id: `${prefix}${row}`, text: `${row}`, row })),
  };
}
const create = (at: string, dimension: number, ...batches: Batch[]) =>
  SavedIndex.create(at, { dimension, fingerprint: { checkpoint: 'c0ffee' }, ann: true }, batches);

/** Share of the ten nearest of 20 queries, by definition, that a search finds. */
async function recallOf(index: SavedIndex, batches: readonly Batch[], gone: readonly string[] = []) {
  const { dimension } = index;
  const latest = new Map(
    batches.flatMap(({ documents, vectors }) =>
      documents.map(({ id }, row) => [id, rowOf(vectors, row, dimension)] as const),
    ),
  );
  for (const id of gone) latest.delete(id);
  const ids = [...latest.keys()];
  const queries = unitMatrix(randomStream(2), 20, dimension);
  const found = await index.nearest(queries, { k: 10 });
  let hits = 0;
  for (const [query, own] of found.entries()) {
    expect(own).toHaveLength(10);
    const scores = ids.map((id) => dot(rowOf(queries, query, dimension), latest.get(id) as Float32Array));
    const wanted = ordered(scores)
      .slice(0, 10)
      .map((row) => ids[row]);
    hits += own.filter(({ id }) => wanted.includes(id)).length;
  }
  return hits / 200;
}

test('an index with a graph searches it, and new, replaced and deleted documents at once', async () => {
  const saved = contents(2000, 8);
  const index = await create(folder, 8, saved);
  expect((await readdir(join(folder, 'data-1'))).sort()).toEqual([
    'commits.jsonl',
    'documents.jsonl',
    'graph.usearch',
    'vectors.f32',
  ]);
  const manifest = await readManifest(folder);
  const bytes = await readFile(join(folder, 'data-1/graph.usearch'));
  expect(manifest.graph).toEqual({
    format: 'usearch-2',
    connectivity: 16,
    buildWidth: 128,
    rows: 2000,
    file: { bytes: bytes.length, sha256: sha256(bytes) },
  });
  expect(await recallOf(index, [saved])).toBeGreaterThanOrEqual(0.97);
  const more = contents(300, 8, 'more');
  const replaced = { ...contents(200, 8), vectors: unitMatrix(randomStream(5), 200, 8) };
  const gone = Array.from({ length: 100 }, (_, i) => `d${1000 + i}`);
  await index.add(more);
  await index.upsert(replaced);
  await index.delete(gone);
  expect(await recallOf(index, [saved, more, replaced], gone)).toBeGreaterThanOrEqual(0.97);
  await index.close();
  // Opened again, the graph holds the first rows only, some of which are gone.
  const again = await SavedIndex.open(folder);
  expect((await readManifest(folder)).graph?.rows).toBe(2000);
  expect(await recallOf(again, [saved, more, replaced], gone)).toBeGreaterThanOrEqual(0.97);
  await again.compact();
  expect((await readManifest(folder)).graph?.rows).toBe(2200);
  expect(await recallOf(again, [saved, more, replaced], gone)).toBeGreaterThanOrEqual(0.97);
  await again.close();
});

test('filtered and exact searches miss nothing', async () => {
  const saved = contents(1500, 8);
  const index = await create(folder, 8, saved);
  const queries = unitMatrix(randomStream(2), 20, 8);
  for (const [options, accepts] of [
    [{ approximate: false }, () => true],
    [{ filter: { row: { $lt: 700 } } }, (row: number) => row < 700],
    [{ filter: { row: { $in: [3, 90, 1400] } } }, (row: number) => [3, 90, 1400].includes(row)],
  ] as const) {
    const found = await index.nearest(queries, { ...options, k: 50 });
    for (const [query, own] of found.entries()) {
      const scores = saved.documents.map((_, row) =>
        accepts(row) ? dot(rowOf(queries, query, 8), rowOf(saved.vectors, row, 8)) : undefined,
      );
      const wanted = ordered(scores)
        .slice(0, 50)
        .map((row) => `d${row}`);
      expect(own.map(({ id }) => id)).toEqual(wanted);
    }
  }
  await index.close();
});

test('an index that grows gets a graph, and a new one when half as many rows are outside', async () => {
  const index = await create(folder, 4);
  const graphRows = async () => (await readManifest(folder)).graph?.rows;
  await index.add(contents(1024, 4, 'a'));
  expect(await graphRows()).toBeUndefined();
  await index.add(contents(1, 4, 'b'));
  expect(await graphRows()).toBe(1025);
  await index.add(contents(1024, 4, 'c'));
  expect(await graphRows()).toBe(1025);
  await index.add(contents(951, 4, 'd'));
  expect(await graphRows()).toBe(3000);
  await index.add(contents(1500, 4, 'e'));
  expect(await graphRows()).toBe(3000);
  await index.add(contents(1, 4, 'f'));
  expect(await graphRows()).toBe(4501);
  await index.close();
});

test('without the option there is no graph', async () => {
  const made = { dimension: 3, fingerprint: { checkpoint: 'c0ffee' } };
  await (await SavedIndex.create(folder, made, contents(5, 3))).close();
  expect((await readManifest(folder)).graph).toBeUndefined();
});

describe('damaged graphs are refused with the name of the file', () => {
  type Fields = Record<string, unknown>;
  const editManifest = async (change: (manifest: Fields) => Fields) => {
    const path = join(folder, 'manifest.json');
    await writeFile(path, JSON.stringify(change(JSON.parse(await readFile(path, 'utf8')) as Fields)));
  };
  /** Replaces the file and updates the manifest to match. */
  const forge = async (bytes: Buffer) => {
    await writeFile(join(folder, 'data-1/graph.usearch'), bytes);
    const file = { bytes: bytes.length, sha256: sha256(bytes) };
    await editManifest((m) => ({ ...m, graph: { ...(m.graph as Fields), file } }));
  };
  const graphOf = async (rows: number, dimension: number) => {
    const other = join(parent, 'other');
    await (await create(other, dimension, contents(rows, dimension))).close();
    return readFile(join(other, 'data-1/graph.usearch'));
  };

  test.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'none',
      () => rm(join(folder, 'data-1/graph.usearch')),
      /graph\.usearch: expected a readable file, found nothing there/,
    ],
    [
      'a bit',
      async () => {
        const bytes = await readFile(join(folder, 'data-1/graph.usearch'));
        bytes[100] = (bytes[100] as number) ^ 1;
        await writeFile(join(folder, 'data-1/graph.usearch'), bytes);
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
    [
      'of another format',
      () => editManifest((m) => ({ ...m, graph: { ...(m.graph as Fields), format: 'usearch-3' } })),
      /manifest\.json: graph\.format: expected "usearch-2", found "usearch-3"/,
    ],
  ])('%s', async (_name, damage, message) => {
    await (await create(folder, 8, contents(60, 8))).close();
    await damage();
    const error = await SavedIndex.open(folder).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
  });
});
