/// <reference lib="esnext.disposable" preserve="true" />
/** The public interfaces of the library, independent of the thread that does the work. */
import type { Embedding, EmbedOptions } from '../embed/index.js';
import type { DocumentInput, IndexedDocument } from '../vectors/index.js';

/** The thread that does the work. */
export interface ThreadOptions {
  /**
   * `worker`: in its own thread, which keeps the caller's event loop free. `current`: in the calling thread, which is
   * blocked while kernels run. Default `worker`.
   */
  thread?: 'worker' | 'current';
}

export interface RetrieverOptions extends ThreadOptions {
  /** Threads inside one operator. Default: ONNX Runtime's choice (physical cores). */
  threads?: number;
  /** Called with each thing that is read differently from what the model's files say. */
  onNote?: (text: string) => void;
}

/** A model that embeds, indexes and searches. It holds memory outside the JavaScript heap until it is disposed of. */
export interface Retriever extends AsyncDisposable {
  /** Length of the vectors. */
  readonly dimension: number;
  /**
   * Embeds texts: vectors in their order, with the reasoning they were computed from.
   * @throws InputError for bad options, and with `strict` for a text that does not fit; InterruptedError when aborted.
   */
  embed(texts: readonly string[], options?: EmbedOptions): Promise<Embedding[]>;
  /**
   * Embeds documents and writes them to an index folder, which is written atomically and records this model.
   *
   * @param documents a BEIR folder, `atlas` for the built-in world, or the documents themselves. Fields other than
   * `id`, `title` and `text` are kept, anything that JSON can express, and returned by searches. `rank` and `score` are
   * rejected, because search results have their own.
   * @throws InputError if the folder is occupied or the documents are invalid, both before any work; InterruptedError
   * when aborted.
   */
  index(documents: string | readonly DocumentInput[], options: IndexOptions): Promise<IndexSummary>;
  /** Opens an index for searching. @throws InputError if it is damaged or another model made it. */
  open(folder: string): Promise<SearchIndex>;
  /** Releases the memory, including that of open indexes, and ends the thread. A second call does nothing. */
  dispose(): Promise<void>;
}

/** An index opened by the model that made it. */
export interface SearchIndex extends AsyncDisposable {
  /** Number of documents. */
  readonly size: number;
  /**
   * The documents nearest to each query, in the order of the queries.
   * @throws InputError for bad options, and with `strict` for a query that does not fit; InterruptedError when aborted.
   */
  search(queries: readonly string[], options?: SearchOptions): Promise<FoundDocuments[]>;
  dispose(): Promise<void>;
}

export interface IndexOptions {
  /** Folder of the index. */
  out: string;
  /** Replace an existing index. Default false. */
  overwrite?: boolean;
  /** Also write a proximity graph, for faster, approximate searches of large corpora. Default false. */
  ann?: boolean;
  /**
   * Longest document in tokens of its whole prompt, at most the model's positions. Default: the length the model was
   * trained with, or 512 if it does not record one.
   */
  maxLength?: number;
  /** Refuse longer documents instead of cutting them. Default false. */
  strict?: boolean;
  signal?: AbortSignal;
  /** Called with the number of documents done. */
  onProgress?: (done: number, total: number) => void;
}

export interface IndexSummary {
  /** Folder of the index. */
  index: string;
  documents: number;
  dimension: number;
  /** Documents that were cut to fit. */
  truncated: number;
  /** Longest allowed prompt of a document, in tokens. */
  maxLength: number;
  /** Positions of the model. */
  maxPositions: number;
}

/** How queries are embedded; unlike in `embed`, `reasoning` is true by default. */
export interface SearchOptions extends Omit<EmbedOptions, 'role' | 'nameOf'> {
  /** Documents per query. Default 10. */
  k?: number;
}

export interface FoundDocuments {
  query: string;
  /** Whether the query was cut to fit. */
  truncated: boolean;
  /** What the model wrote before the embed token; null without reasoning. */
  reasoning: string | null;
  /** Whether the model itself ended its reasoning with the embed token; null without reasoning. */
  completed: boolean | null;
  /** Best first. */
  results: FoundDocument[];
}

/** A document as indexed, with its rank and score. */
export type FoundDocument = IndexedDocument & {
  /** From 1. */
  rank: number;
  /** Cosine of its vector and that of the query. */
  score: number;
};
