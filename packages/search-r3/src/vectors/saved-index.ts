/**
 * The store that needs no database: a folder with a manifest, the rows (`RowLog`) and optionally a proximity graph. An
 * open index has its vectors in memory and searches them by an exact scan or with the graph; the documents stay on
 * disk. Whoever changes an index locks it, from the first change until it is closed; everyone else keeps seeing it as it
 * was when they opened it.
 */
import { readdir, rm } from 'node:fs/promises';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { Mutex } from 'async-mutex';
import { z } from 'zod';
import { InputError, InterruptedError } from '../run/errors.js';
import { cleanTemporaries } from '../run/files.js';
import { acquireLock, type Lock } from '../run/lock.js';
import { validate } from '../run/validate.js';
import { type CheckedBatch, eachBatch } from './batches.js';
import type { IndexedDocument } from './documents.js';
import { type Filter, parseFilter } from './filter.js';
import { Gate } from './gate.js';
import {
  type CreateIndexOptions,
  knownId,
  LOCK_FILE,
  publishIndex,
  rewriteRows,
  vectorsOf,
} from './index-files.js';
import { DATA_FOLDER, type IndexManifest, readManifest } from './manifest.js';
import { OpenRows } from './open-rows.js';
import {
  type Batches,
  type Fingerprint,
  type FoundDocument,
  type Hit,
  type StoreCallOptions,
  type StoredBatch,
  type StoreScanOptions,
  type StoreSearchOptions,
  storeCallSchema,
  storeScanSchema,
  storeSearchSchema,
  type VectorStore,
} from './store.js';

const openSchema = z.strictObject({
  /** Threads of one search. Default: ONNX Runtime's choice (physical cores). */
  threads: z.int().positive().optional(),
});

export type OpenIndexOptions = z.input<typeof openSchema>;

const idsSchema = z.array(z.string());

/** Removed rows, or rows that are not in the graph, of which an index may have so many, or half as many as others. */
const TOLERATED_ROWS = 1024;
const TOLERATED_SHARE = 0.5;
/** Commits after which the log is written anew: opening it takes two checksums for each. */
const TOLERATED_COMMITS = 4096;

/** Rows found for each query, best first. */
type FoundRows = readonly { row: number; score: number }[][];

/** See `VectorStore`. For equal scores, the document that was written first comes first. */
export class SavedIndex implements VectorStore {
  readonly #folder: string;
  readonly #options: OpenIndexOptions;
  #manifest: IndexManifest;
  #rows: OpenRows;
  /** Changes of what is in memory; the files are changed before, while others read. */
  readonly #gate = new Gate();
  /** Changes are made one after the other. */
  readonly #changes = new Mutex();
  #lock: Lock | undefined;
  #closing: Promise<void> | undefined;

  private constructor(folder: string, options: OpenIndexOptions, manifest: IndexManifest, rows: OpenRows) {
    this.#folder = folder;
    this.#options = options;
    this.#manifest = manifest;
    this.#rows = rows;
  }

  /**
   * Writes the folder of a new index, atomically and with its first documents, and opens it.
   * @param batches documents with distinct ids. Default none.
   * @throws InputError if the folder holds something else, or an index and `overwrite` is not set, and for invalid
   *   documents, vectors or options; InterruptedError if the caller aborts. Then nothing is left.
   */
  static async create(
    folder: string,
    options: CreateIndexOptions,
    batches: Batches = [],
  ): Promise<SavedIndex> {
    requireLittleEndian();
    await publishIndex(folder, options, batches);
    return SavedIndex.open(folder);
  }

  /**
   * Opens an index, reading and checking every byte. Before searching it with a model, compare `fingerprint`.
   * @throws InputError naming the file that is missing, damaged or of another version.
   */
  static async open(folder: string, options: OpenIndexOptions = {}): Promise<SavedIndex> {
    const resolved = validate(openSchema, options, 'SavedIndex.open options');
    requireLittleEndian();
    const manifest = await readManifest(folder);
    try {
      return new SavedIndex(folder, resolved, manifest, await OpenRows.open(folder, manifest, resolved));
    } catch (error) {
      // Whoever changes it may have written the rows anew and removed those that the manifest named.
      const { data, created } = await readManifest(folder);
      if (data === manifest.data && created === manifest.created) throw error;
      return SavedIndex.open(folder, options);
    }
  }

  get dimension(): number {
    return this.#manifest.dimension;
  }

  get fingerprint(): Fingerprint {
    return this.#manifest.fingerprint;
  }

  async count(filter?: Filter): Promise<number> {
    return this.#read(async (rows) => (await accepted(rows, filter))?.length ?? rows.live);
  }

  /**
   * Takes the right to change the index now, as the first change does, and takes over what others have changed since it
   * was opened. @throws InputError if somebody else has that right, or if the folder holds another index now.
   */
  async lock(): Promise<void> {
    await this.#change(async () => {});
  }

  add(batches: Batches, options: StoreCallOptions = {}): Promise<number> {
    return this.#write('add', batches, options);
  }

  upsert(batches: Batches, options: StoreCallOptions = {}): Promise<number> {
    return this.#write('upsert', batches, options);
  }

  async delete(which: readonly string[] | Filter): Promise<number> {
    return this.#change(async () => {
      const catalog = await this.#rows.catalog();
      const removed = isIds(which)
        ? new Set(validate(idsSchema, which, 'delete ids').flatMap((id) => catalog.row(id) ?? []))
        : new Set(catalog.matching(parseFilter(which, 'delete filter')));
      if (removed.size > 0) {
        await this.#commit({ documents: [], vectors: new Float32Array(0) }, [...removed]);
      }
      return removed.size;
    });
  }

  async get(ids: readonly string[]): Promise<(IndexedDocument | undefined)[]> {
    validate(idsSchema, ids, 'get ids');
    return this.#read(async (rows) => {
      const catalog = await rows.catalog();
      const found = ids.map((id) => catalog.row(id));
      const documents = await documentsOf(
        rows,
        found.filter((row) => row !== undefined),
      );
      return found.map((row) => (row === undefined ? undefined : documents.get(row)));
    });
  }

  /** A search with a filter is exact: it scans the vectors of the documents that the filter accepts. */
  async search(vectors: Float32Array, options: StoreSearchOptions = {}): Promise<FoundDocument[][]> {
    return this.#read(async (rows) => {
      const found = await this.#find(rows, vectors, options);
      const documents = await documentsOf(
        rows,
        found.flatMap((own) => own.map(({ row }) => row)),
      );
      return found.map((own) =>
        own.map(({ row, score }) => {
          const document = documents.get(row) as IndexedDocument;
          return { id: document.id, score, document };
        }),
      );
    });
  }

  async nearest(vectors: Float32Array, options: StoreSearchOptions = {}): Promise<Hit[][]> {
    return this.#read(async (rows) => {
      const found = await this.#find(rows, vectors, options);
      const catalog = await rows.catalog();
      return found.map((own) => own.map(({ row, score }) => ({ id: catalog.id(row), score })));
    });
  }

  async *scan(options: StoreScanOptions = {}): AsyncGenerator<StoredBatch> {
    const { filter, size, signal } = validate(storeScanSchema, options, 'scan options');
    const ids = await this.#read(async (rows) => {
      const [catalog, own] = [await rows.catalog(), await accepted(rows, filter)];
      return own === undefined ? catalog.ids : Array.from(own, (row) => catalog.id(row));
    });
    for (let start = 0; start < ids.length; start += size) {
      refuseAborted(signal, 'scan');
      // By id, because a change may have given the document another row, or deleted it.
      const batch = await this.#read(async (rows) => {
        const catalog = await rows.catalog();
        const own = ids.slice(start, start + size).flatMap((id) => catalog.row(id) ?? []);
        return { documents: await rows.log.documents(own), vectors: vectorsOf(rows, own, this.dimension) };
      });
      if (batch.documents.length > 0) yield batch;
    }
  }

  /** Writes the rows anew, without deleted documents and with an up-to-date graph. Changes do so when it is due. */
  async compact(): Promise<void> {
    await this.#change(() => this.#compact());
  }

  async close(): Promise<void> {
    this.#closing ??= this.#changes
      .runExclusive(() => this.#gate.write(() => this.#rows.close()))
      .finally(() => this.#lock?.release());
    await this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #write(call: 'add' | 'upsert', batches: Batches, options: StoreCallOptions): Promise<number> {
    const { signal } = validate(storeCallSchema, options, `${call} options`);
    let count = 0;
    for await (const batch of eachBatch(batches, { dimension: this.dimension, source: call, signal })) {
      await this.#change(async () => {
        const catalog = await this.#rows.catalog();
        const known = batch.documents.filter(({ id }) => catalog.row(id) !== undefined);
        if (call === 'add' && known[0] !== undefined) throw knownId(known[0].id, call);
        await this.#commit(
          batch,
          known.map(({ id }) => catalog.row(id) as number),
        );
      });
      count += batch.documents.length;
    }
    return count;
  }

  async #commit(batch: CheckedBatch, removed: readonly number[]): Promise<void> {
    await this.#rows.write(batch, removed);
    await this.#gate.write(() => this.#rows.apply(batch, removed));
    if (this.#isCompactionDue()) await this.#compact();
  }

  #isCompactionDue(): boolean {
    const { size, live, log } = this.#rows;
    const tooMany = (rows: number, others: number) =>
      rows > Math.max(TOLERATED_ROWS, TOLERATED_SHARE * others);
    const { ann, graph } = this.#manifest;
    const inGraph = graph?.rows ?? 0;
    return (
      tooMany(size - live, live) ||
      (ann && tooMany(size - inGraph, inGraph)) ||
      log.commits > TOLERATED_COMMITS
    );
  }

  async #compact(): Promise<void> {
    const { data } = this.#manifest;
    await this.#exchange(await rewriteRows(this.#folder, this.#manifest, this.#rows));
    await rm(join(this.#folder, data), { recursive: true });
  }

  /** Goes over to the rows that a manifest names, as they are now. */
  async #exchange(manifest: IndexManifest): Promise<void> {
    const rows = await OpenRows.open(this.#folder, manifest, this.#options);
    await this.#gate.write(async () => {
      const old = this.#rows;
      this.#manifest = manifest;
      this.#rows = rows;
      await old.close();
    });
  }

  async #find(rows: OpenRows, vectors: Float32Array, options: StoreSearchOptions): Promise<FoundRows> {
    const { k, filter, approximate, signal } = validate(storeSearchSchema, options, 'search options');
    refuseAborted(signal, 'search');
    const queries = vectors.length / this.dimension;
    if (!Number.isInteger(queries) || !vectors.every(Number.isFinite)) {
      const expected = `finite numbers, ${this.dimension} for each query`;
      throw new InputError({ source: 'search', field: 'vectors', expected, found: `${vectors.length}` });
    }
    const found = await rows.search(vectors, { k, approximate, rows: await accepted(rows, filter) });
    return Array.from({ length: queries }, (_, query) =>
      Array.from({ length: found.k }, (_, i) => ({
        row: found.rows[query * found.k + i] as number,
        score: found.scores[query * found.k + i] as number,
      })),
    );
  }

  async #read<T>(work: (rows: OpenRows) => Promise<T>): Promise<T> {
    this.#refuseClosed();
    return this.#gate.read(() => work(this.#rows));
  }

  async #change<T>(work: () => Promise<T>): Promise<T> {
    this.#refuseClosed();
    return this.#changes.runExclusive(async () => {
      await this.#takeLock();
      return work();
    });
  }

  async #takeLock(): Promise<void> {
    if (this.#lock !== undefined) return;
    const lock = await acquireLock(join(this.#folder, LOCK_FILE));
    try {
      const manifest = await readManifest(this.#folder);
      if (manifest.created !== this.#manifest.created) {
        const [expected, found] = ['the index that was opened', 'another one, which replaced it'];
        throw new InputError({ source: this.#folder, expected, found, remedy: 'Open it again.' });
      }
      const isCurrent = manifest.data === this.#manifest.data && (await this.#rows.log.isCurrent());
      if (!isCurrent) await this.#exchange(manifest);
      await removeLeftovers(this.#folder, manifest);
    } catch (error) {
      await lock.release();
      throw error;
    }
    this.#lock = lock;
  }

  #refuseClosed(): void {
    if (this.#closing !== undefined) throw new Error('the index was closed');
  }
}

/** Removes what others left in the folder of an index when they were killed. */
async function removeLeftovers(folder: string, { data }: IndexManifest): Promise<void> {
  await cleanTemporaries(folder);
  for (const name of await readdir(folder)) {
    if (DATA_FOLDER.test(name) && name !== data) await rm(join(folder, name), { recursive: true });
  }
}

const isIds = (which: readonly string[] | Filter): which is readonly string[] => Array.isArray(which);

/** The rows that a filter accepts; undefined without one. */
async function accepted(rows: OpenRows, filter: Filter | undefined): Promise<Int32Array | undefined> {
  return filter === undefined ? undefined : (await rows.catalog()).matching(parseFilter(filter));
}

/** Documents by row; each is read once. */
async function documentsOf(
  rows: OpenRows,
  numbers: readonly number[],
): Promise<Map<number, IndexedDocument>> {
  const distinct = [...new Set(numbers)].sort((a, b) => a - b);
  const documents = await rows.log.documents(distinct);
  return new Map(distinct.map((row, i) => [row, documents[i] as IndexedDocument]));
}

function refuseAborted(signal: AbortSignal | undefined, call: string): void {
  if (signal?.aborted) throw new InterruptedError(`${call}: stopped by the caller`);
}

function requireLittleEndian(): void {
  if (endianness() !== 'LE') throw new Error('saved indexes need a little-endian machine');
}
