/** The rows of an index, opened: the log on disk and its vectors in memory. */
import { join } from 'node:path';
import { readCheckedFile } from '../run/checked-files.js';
import { AnnIndex } from './ann.js';
import type { CheckedBatch } from './batches.js';
import { Catalog } from './catalog.js';
import { ExactIndex } from './exact.js';
import { GRAPH_FILE, type IndexManifest } from './manifest.js';
import { countRows, PIECE_BYTES, RowLog } from './row-log.js';
import type { SearchResult, VectorIndex } from './types.js';

export interface RowSearch {
  k: number;
  /** Only these, in ascending order: always an exact scan. */
  rows?: Int32Array | undefined;
  approximate: boolean;
}

export class OpenRows {
  readonly log: RowLog;
  readonly #exact: ExactIndex;
  /** The exact index, or the approximate one around it; changes go through this one. */
  readonly #index: VectorIndex;
  #catalog: Promise<Catalog> | undefined;

  private constructor(log: RowLog, exact: ExactIndex, index: VectorIndex) {
    this.log = log;
    this.#exact = exact;
    this.#index = index;
  }

  /** Reads and checks every byte. @throws InputError naming the file that is missing or damaged. */
  static async open(
    folder: string,
    { data, dimension, graph }: IndexManifest,
    pool: { threads?: number | undefined },
  ): Promise<OpenRows> {
    const at = join(folder, data);
    const threads = pool.threads === undefined ? {} : { threads: pool.threads };
    const capacity = Math.max(1, (await countRows(at)).rows);
    const log = await RowLog.open(at, dimension);
    const exact = await ExactIndex.create(dimension, { capacity, ...threads });
    try {
      await log.replay(exact);
      if (graph === undefined) return new OpenRows(log, exact, exact);
      return new OpenRows(log, exact, await openGraph(join(at, GRAPH_FILE), graph, exact, threads));
    } catch (error) {
      await Promise.all([log.close(), exact.dispose()]);
      throw error;
    }
  }

  /** Number of rows, including removed ones. */
  get size(): number {
    return this.#exact.size;
  }

  /** Number of documents. */
  get live(): number {
    return this.#exact.live;
  }

  /** The rows that are not removed, in order. */
  get liveRows(): number[] {
    return Array.from({ length: this.size }, (_, row) => row).filter((row) => this.#exact.has(row));
  }

  /** Read on first use. */
  catalog(): Promise<Catalog> {
    this.#catalog ??= Catalog.read(this.log, this.#exact);
    return this.#catalog;
  }

  search(queries: Float32Array, { k, rows, approximate }: RowSearch): Promise<SearchResult> {
    if (rows !== undefined || !approximate) return this.#exact.search(queries, k, rows);
    return this.#index.search(queries, k);
  }

  /** The vector of a row: a view that is valid until the next change. */
  vector(row: number): Float32Array {
    return this.#exact.vector(row);
  }

  /** Writes a change to the log; the next call applies it. */
  async write({ documents, vectors }: CheckedBatch, removed: readonly number[]): Promise<void> {
    await this.log.append(documents, vectors, removed);
  }

  /** Makes a change that was written visible. */
  async apply({ documents, vectors }: CheckedBatch, removed: readonly number[]): Promise<void> {
    const catalog = await this.catalog();
    for (const row of removed) {
      await this.#index.remove(row);
      catalog.remove(row);
    }
    const first = await this.#index.append(vectors);
    for (const [i, document] of documents.entries()) catalog.put(first + i, document);
  }

  async close(): Promise<void> {
    // The approximate index owns the exact one.
    await Promise.all([this.log.close(), this.#index.dispose()]);
  }
}

async function openGraph(
  path: string,
  { connectivity, buildWidth, rows, file: digest }: NonNullable<IndexManifest['graph']>,
  exact: ExactIndex,
  threads: { threads?: number },
): Promise<AnnIndex> {
  // usearch does not check what it reads.
  await readCheckedFile(path, digest, PIECE_BYTES, () => {});
  // A graph that is out of date is built again when the rows are rewritten, not in every process that searches.
  const options = { ...threads, connectivity, buildWidth, staleShare: 1 };
  return AnnIndex.over(exact, options, { path, rows });
}
