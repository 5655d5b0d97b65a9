/// <reference lib="esnext.disposable" preserve="true" />
/** The public interfaces of the library, independent of the thread that does the work. */
import type { EmbeddingFormatInput } from '../checkpoint/index.js';
import type { Embedding, EmbedOptions, EmbedRequest, EmbedResult, ProbeRequest } from '../embed/index.js';
import type { PrecisionChoice } from '../model/index.js';
import type { DocumentInput, Filter, IndexedDocument } from '../vectors/index.js';

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
  /**
   * How the model embeds: a preset (`search-r3`, `qwen3-embedding`, `topics`), the path of a JSON or YAML file with
   * prompts, or the fields of such a file. Default: as the model's folder says, else `topics`.
   */
  prompts?: string | EmbeddingFormatInput;
  /**
   * How the model computes. Default `auto`: int8 for 50 million parameters or more if the CPU computes it exactly and the
   * vectors stay close to those of `f32`, else `f32`. Quantised weights are kept beside the model, or in the user's cache.
   */
  precision?: PrecisionChoice;
  /** Refuse a model that cannot reason, before its weights are read. Default false. */
  reasoning?: boolean;
  /** Called with what is good to know: how a model that does not record it embeds, and what was read differently. */
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
   * Embeds one text beside whatever else is being served: requests at the same time share the model's runs, each with
   * settings of its own. With equal settings the vector is that of `embed`, to rounding (1e-5).
   * @throws InputError for a request that the model cannot serve; InterruptedError when aborted.
   */
  submit(request: EmbedRequest): Promise<EmbedResult>;
  /**
   * The vector that a query would have if its reasoning ended after what is written, for curves over the length of the
   * reasoning. With the `maxNewTokens` of the request that wrote it, a long text is cut in the same place. Errors: as
   * `submit`.
   */
  probe(request: ProbeRequest): Promise<Float32Array>;
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
  /**
   * Opens an index for searching. Differences that make results worse but not wrong are told to `onNote`.
   * @throws InputError if it is damaged or another model made it.
   */
  open(folder: string): Promise<SearchIndex>;
  /** Releases the memory, including that of open indexes, and ends the thread. A second call does nothing. */
  dispose(): Promise<void>;
}

/** An index opened by the model that made it. */
export interface SearchIndex extends AsyncDisposable {
  /** Number of documents, or of those that the filter accepts. */
  count(filter?: Filter): Promise<number>;
  /**
   * The documents nearest to each query, in the order of the queries.
   * @throws InputError for bad options, and with `strict` for a query that does not fit; InterruptedError when aborted.
   */
  search(queries: readonly string[], options?: SearchOptions): Promise<FoundDocuments[]>;
  /**
   * Embeds documents and adds them; see `Retriever.index` for what they may be. They are written in pieces of about a
   * thousand as they are embedded: those written stay when the call fails or is aborted. The first change locks the
   * index until it is disposed of; whoever opened it before does not see changes.
   * @throws InputError if the index holds a document with one of the ids, if somebody else is changing it, or if the
   * documents are invalid; InterruptedError when aborted.
   */
  add(documents: string | readonly DocumentInput[], options?: DocumentOptions): Promise<WriteSummary>;
  /** As `add`, but replaces the documents with the same ids. */
  upsert(documents: string | readonly DocumentInput[], options?: DocumentOptions): Promise<WriteSummary>;
  /**
   * Brings the index up to date with a corpus: embeds new documents and those whose text changed, and replaces those
   * of which only other fields changed. Errors: as `add`.
   */
  update(documents: string | readonly DocumentInput[], options?: UpdateOptions): Promise<UpdateSummary>;
  /** Deletes documents by id (unknown ids are ignored) or by filter; returns how many there were. */
  delete(which: readonly string[] | Filter): Promise<number>;
  dispose(): Promise<void>;
}

/** How documents are embedded. */
export interface DocumentOptions {
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

export interface IndexOptions extends DocumentOptions {
  /** Folder of the index. */
  out: string;
  /**
   * Length of the vectors: their first numbers, scaled to length 1. Searches of the index cut their queries alike.
   * Default and most: that of the model's vectors; of a model that was trained for some shorter lengths, one of them.
   */
  dimensions?: number;
  /** Replace an existing index. Default false. */
  overwrite?: boolean;
  /** Also keep a proximity graph, for faster, approximate searches of large corpora. Default false. */
  ann?: boolean;
}

export interface UpdateOptions extends DocumentOptions {
  /** Delete documents that are not in the corpus. Default false. */
  prune?: boolean;
}

export interface EncodingSummary {
  /** Documents that were cut to fit. */
  truncated: number;
  /** Longest allowed prompt of a document, in tokens. */
  maxLength: number;
  /** Positions of the model. */
  maxPositions: number;
}

export interface WriteSummary extends EncodingSummary {
  /** Documents written. */
  documents: number;
}

export interface IndexSummary extends WriteSummary {
  /** Folder of the index. */
  index: string;
  dimension: number;
}

export interface UpdateSummary extends EncodingSummary {
  /** Documents in the index now. */
  documents: number;
  /** Documents that were not there. */
  added: number;
  /** Documents that were replaced. */
  changed: number;
  unchanged: number;
  /** Documents that are not in the corpus and were deleted. */
  removed: number;
  /** Documents that are not in the corpus and stayed. */
  kept: number;
}

/**
 * How queries are embedded; unlike in `embed`, `reasoning` is by default true if the model has a prompt for it, and the
 * vectors are as long as those of the index.
 */
export interface SearchOptions extends Omit<EmbedOptions, 'role' | 'nameOf' | 'dimensions'> {
  /** Documents per query. Default 10. */
  k?: number;
  /** Search only the documents that it accepts; such a search is exact. */
  filter?: Filter;
}

export interface FoundDocuments {
  query: string;
  /** Whether the query was cut to fit. */
  truncated: boolean;
  /** What the model wrote before the embed token, in the first sample; null without reasoning. */
  reasoning: string | null;
  /** What it wrote in each sample. Only with several. */
  reasonings?: string[];
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
