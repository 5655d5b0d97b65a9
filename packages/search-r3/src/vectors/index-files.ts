/** Writes the files of an index: a new one, and its rows anew. Both appear completely or not at all. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { exists, publishFolder, writeJsonAtomic } from '../run/files.js';
import { acquireLock } from '../run/lock.js';
import { validate } from '../run/validate.js';
import { eachBatch } from './batches.js';
import { ExactIndex } from './exact.js';
import type { VectorSource } from './graph.js';
import { GRAPH_SETTINGS, writeGraph } from './graph-file.js';
import {
  fingerprintSchema,
  GRAPH_FILE,
  INDEX_FOLDER,
  type IndexManifest,
  MANIFEST_FILE,
  newManifest,
  nextData,
} from './manifest.js';
import type { OpenRows } from './open-rows.js';
import { RowLog } from './row-log.js';
import type { Batches } from './store.js';

/** Held by whoever changes the index. */
export const LOCK_FILE = 'lock';

const createSchema = z.strictObject({
  /** Length of the vectors. */
  dimension: z.int().positive(),
  /** What makes the vectors, by part; see `Fingerprint`. */
  fingerprint: fingerprintSchema,
  /** Replace an existing index (and nothing else), which stays until the new one is complete. Default false. */
  overwrite: z.boolean().default(false),
  /** Keep a proximity graph: searches are approximate unless asked otherwise. Default false. */
  ann: z.boolean().default(false),
  /** Aborting it ends the call with an `InterruptedError`; then there is no new index. */
  signal: z.instanceof(AbortSignal).optional(),
});

export type CreateIndexOptions = z.input<typeof createSchema>;

/** Writes the folder of a new index with these documents. Errors: see `SavedIndex.create`. */
export async function publishIndex(
  folder: string,
  options: CreateIndexOptions,
  batches: Batches,
): Promise<void> {
  const source = 'SavedIndex.create';
  const { overwrite, ...how } = validate(createSchema, options, `${source} options`);
  const data = 'data-1';
  const fill = async (at: string): Promise<void> => {
    const rows = join(at, data);
    await mkdir(rows);
    const log = await RowLog.create(rows, how.dimension);
    let graph: IndexManifest['graph'];
    try {
      await writeBatches(log, eachBatch(batches, { ...how, source }));
      if (how.ann && log.rows > 0) graph = await graphOfLog(rows, how.dimension);
    } finally {
      await log.close();
    }
    const { dimension, fingerprint, ann } = how;
    const created = new Date().toISOString();
    const manifest = newManifest({ dimension, fingerprint, created, data, ann, ...(graph && { graph }) });
    await writeJsonAtomic(join(at, MANIFEST_FILE), manifest);
  };
  const publish = () => publishFolder(folder, fill, { replace: overwrite, kind: INDEX_FOLDER });
  if (!overwrite || !(await exists(folder)) || !(await INDEX_FOLDER.is(folder))) return publish();
  // Nobody may be changing the index that is replaced.
  const lock = await acquireLock(join(folder, LOCK_FILE));
  return publish().finally(() => lock.release());
}

async function writeBatches(log: RowLog, batches: ReturnType<typeof eachBatch>): Promise<void> {
  const known = new Set<string>();
  for await (const { documents, vectors } of batches) {
    for (const { id } of documents) {
      if (known.has(id)) throw knownId(id, 'SavedIndex.create');
      known.add(id);
    }
    await log.append(documents, vectors, []);
  }
}

export function knownId(id: string, source: string): InputError {
  const found = `"${id}", which is there already`;
  return new InputError({ source, field: 'id', expected: 'a new id', found });
}

async function graphOfLog(folder: string, dimension: number): Promise<IndexManifest['graph']> {
  const log = await RowLog.open(folder, dimension);
  const exact = await ExactIndex.create(dimension);
  try {
    await log.replay(exact);
    return await graphOf(folder, exact, dimension);
  } finally {
    await Promise.all([log.close(), exact.dispose()]);
  }
}

async function graphOf(
  folder: string,
  source: VectorSource,
  dimension: number,
): Promise<NonNullable<IndexManifest['graph']>> {
  const file = await writeGraph(join(folder, GRAPH_FILE), source, dimension);
  return { ...GRAPH_SETTINGS, rows: source.size, file };
}

/** Rows written at a time. */
const PIECE_ROWS = 10_000;

/**
 * Writes the rows of an index anew, without those removed and with a new graph if it has one. The new manifest makes
 * them count; the old rows stay for the caller to remove.
 */
export async function rewriteRows(
  folder: string,
  { graph: _, ...old }: IndexManifest,
  rows: OpenRows,
): Promise<IndexManifest> {
  const { dimension, ann } = old;
  const data = nextData(old.data);
  const live = rows.liveRows;
  let graph: IndexManifest['graph'];
  const fill = async (at: string): Promise<void> => {
    const log = await RowLog.create(at, dimension);
    try {
      for (let start = 0; start < live.length; start += PIECE_ROWS) {
        const piece = live.slice(start, start + PIECE_ROWS);
        await log.append(await rows.log.documents(piece), vectorsOf(rows, piece, dimension), []);
      }
    } finally {
      await log.close();
    }
    if (!ann || live.length === 0) return;
    const vector = (row: number) => rows.vector(live[row] as number);
    graph = await graphOf(at, { size: live.length, has: () => true, vector }, dimension);
  };
  // An attempt that was interrupted may have left one.
  await publishFolder(join(folder, data), fill, { replace: true });
  const manifest = newManifest({ ...old, data, ...(graph && { graph }) });
  await writeJsonAtomic(join(folder, MANIFEST_FILE), manifest);
  return manifest;
}

/** The vectors of rows, [rows * dimension]. */
export function vectorsOf(rows: OpenRows, numbers: readonly number[], dimension: number): Float32Array {
  const vectors = new Float32Array(numbers.length * dimension);
  for (const [i, row] of numbers.entries()) vectors.set(rows.vector(row), i * dimension);
  return vectors;
}
