/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The interface of vector stores: documents with their embeddings, changed by id, searched by vector and filtered by
 * field. `SavedIndex` implements it with files alone; databases implement it in packages of their own. The tests that
 * every implementation must pass are in `test/support/store-contract.ts`.
 */
import { z } from 'zod';
import type { DocumentInput, IndexedDocument } from './documents.js';
import { type Filter, filterSchema } from './filter.js';

/** What made the vectors of a store, by part (such as weights or prompts). The store keeps it and never reads it. */
export type Fingerprint = Readonly<Record<string, string>>;

/** Documents and their vectors. */
export interface Batch {
  /** Distinct ids. */
  readonly documents: readonly DocumentInput[];
  /** [documents * dimension]: the vectors in the order of the documents, each of length 1. */
  readonly vectors: Float32Array;
}

/** One batch, or batches that are read one after the other, so that a large corpus never has to be in memory. */
export type Batches = Batch | Iterable<Batch> | AsyncIterable<Batch>;

/** A batch as it comes out of a store. */
export interface StoredBatch extends Batch {
  readonly documents: readonly IndexedDocument[];
}

const signal = z.instanceof(AbortSignal).optional();

export const storeCallSchema = z.strictObject({
  /** Aborting it ends the call with an `InterruptedError`. */
  signal,
});

export const storeSearchSchema = z.strictObject({
  /** Documents per query. Default 10. */
  k: z.int().positive().default(10),
  /** Search only the documents that it accepts. */
  filter: filterSchema.optional(),
  /**
   * Whether the search may miss some of the nearest documents to be faster, in a store that can. False: the result is
   * exact. Default true.
   */
  approximate: z.boolean().default(true),
  signal,
});

export const storeScanSchema = z.strictObject({
  /** Only the documents that it accepts. */
  filter: filterSchema.optional(),
  /** Most documents in a batch. Default 1,000. */
  size: z.int().positive().default(1000),
  signal,
});

/** Options of changes. */
export type StoreCallOptions = z.input<typeof storeCallSchema>;
export type StoreSearchOptions = z.input<typeof storeSearchSchema>;
export type StoreScanOptions = z.input<typeof storeScanSchema>;

export interface Hit {
  id: string;
  /** The dot product, which is the cosine. */
  score: number;
}

export interface FoundDocument extends Hit {
  document: IndexedDocument;
}

/**
 * Documents by id, with vectors of length 1. Invalid documents, vectors, filters and options are InputErrors. A change
 * is on disk when its call returns, and every later call sees it. Calls may run at the same time; changes are then made
 * in any order, batch by batch, and a search sees whole batches.
 */
export interface VectorStore extends AsyncDisposable {
  /** Length of the vectors. */
  readonly dimension: number;
  readonly fingerprint: Fingerprint;
  /** Number of documents, or of those that the filter accepts. */
  count(filter?: Filter): Promise<number>;
  /**
   * Adds new documents and returns their number. Each batch is written, completely or not at all, before the next is
   * read; those before a batch that fails stay. @throws InputError for an id that is there already, or twice in a batch.
   */
  add(batches: Batches, options?: StoreCallOptions): Promise<number>;
  /** As `add`, but replaces documents whose ids are there: their fields and vectors as a whole. */
  upsert(batches: Batches, options?: StoreCallOptions): Promise<number>;
  /** Deletes documents, all or none, by id (unknown ids are ignored) or by filter. Returns how many there were. */
  delete(which: readonly string[] | Filter): Promise<number>;
  /** The documents with these ids, in their order; undefined for unknown ids. */
  get(ids: readonly string[]): Promise<(IndexedDocument | undefined)[]>;
  /**
   * The documents nearest to each of the vectors [queries * dimension], best first: as many as asked for, or all that
   * the filter accepts. The order of equal scores is the store's own.
   */
  search(vectors: Float32Array, options?: StoreSearchOptions): Promise<FoundDocument[][]>;
  /** As `search`, without reading the documents. */
  nearest(vectors: Float32Array, options?: StoreSearchOptions): Promise<Hit[][]>;
  /** All documents with their vectors, in batches, in no particular order. Changes during a scan may show or not. */
  scan(options?: StoreScanOptions): AsyncIterable<StoredBatch>;
  /** Releases what the store holds; a second call does nothing, other calls afterwards are errors. */
  close(): Promise<void>;
}
