/// <reference lib="esnext.disposable" preserve="true" />
/** What the package does for a program that uses it: the interfaces, whatever thread the work is done in. */
import type { Embedding, EmbedOptions } from '../embed/index.js';
import type { DocumentInput, IndexedDocument } from '../vectors/index.js';

/** Where the work is done. */
export interface ThreadOptions {
  /**
   * `worker` hosts the work in a thread of its own, so that the caller's event loop stays free; `current` does it in the
   * calling thread, which it occupies while kernels work. Default `worker`.
   */
  thread?: 'worker' | 'current';
}

export interface RetrieverOptions extends ThreadOptions {
  /** Threads inside one operator. Default: ONNX Runtime's choice (physical cores). */
  threads?: number;
  /** Called with each thing that is read differently from what the model's files say. */
  onNote?: (text: string) => void;
}

/** A model that embeds, indexes and searches. It holds memory outside of the JavaScript heap until it is disposed of. */
export interface Retriever extends AsyncDisposable {
  /** Length of the vectors. */
  readonly dimension: number;
  /**
   * Vectors of texts, in their order, with what they were made from. Errors: InputError for bad options, and with
   * `strict` for a text that does not fit; InterruptedError when aborted.
   */
  embed(texts: readonly string[], options?: EmbedOptions): Promise<Embedding[]>;
  /**
   * Embeds documents and writes them as the folder of an index, which appears whole or not at all and remembers this
   * model. Errors: InputError where the folder is occupied or the documents are wrong, both before the work;
   * InterruptedError when aborted.
   *
   * @param documents a BEIR folder, `atlas` for the built-in world, or the documents themselves; fields beside `id`,
   * `title` and `text`, anything JSON can express, are kept and come back from a search. `rank` and `score` are refused:
   * a search gives the document those of its own.
   */
  index(documents: string | readonly DocumentInput[], options: IndexOptions): Promise<IndexSummary>;
  /** Opens an index to search it. Errors: InputError where it is damaged, or another model made it. */
  open(folder: string): Promise<SearchIndex>;
  /** Releases the memory, that of opened indexes too, and ends the thread. A second call does nothing. */
  dispose(): Promise<void>;
}

/** An index opened by the model that made it. */
export interface SearchIndex extends AsyncDisposable {
  /** Documents in it. */
  readonly size: number;
  /**
   * The documents nearest to each query, in the order of the queries. Errors: InputError for bad options, and with
   * `strict` for a query that does not fit; InterruptedError when aborted.
   */
  search(queries: readonly string[], options?: SearchOptions): Promise<FoundDocuments[]>;
  dispose(): Promise<void>;
}

export interface IndexOptions {
  /** Folder of the index. */
  out: string;
  /** Replace an index that is there. Default false. */
  overwrite?: boolean;
  /** Write a proximity graph too: faster, approximate searches of large corpora. Default false. */
  ann?: boolean;
  /**
   * Longest document in tokens of its whole prompt; at most what the model can take. Default: what it was trained with,
   * 512 where it does not remember.
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
  /** Longest prompt of a document that was allowed, in tokens, and what the model could take. */
  maxLength: number;
  maxPositions: number;
}

/** How queries are embedded; unlike in `embed`, `reasoning` is true by default. */
export interface SearchOptions extends Omit<EmbedOptions, 'role' | 'nameOf'> {
  /** Documents per query. Default 10. */
  k?: number;
}

export interface FoundDocuments {
  query: string;
  /** The query was cut to fit. */
  truncated: boolean;
  /** What the model wrote before the embed token; null without reasoning. */
  reasoning: string | null;
  /** Whether the model ended its reasoning with the embed token by itself; null without reasoning. */
  completed: boolean | null;
  /** Best first. */
  results: FoundDocument[];
}

/** A document as it was indexed, with its place. */
export type FoundDocument = IndexedDocument & {
  /** From 1. */
  rank: number;
  /** Cosine of its vector and the query's. */
  score: number;
};
