/** The retriever in its own thread, which keeps the caller's event loop free while the model works. */
import type { Embedding, EmbedOptions, EmbedRequest, EmbedResult, ProbeRequest } from '../embed/index.js';
import { WorkerThread } from '../run/workers/index.js';
import type { DocumentInput, Filter } from '../vectors/index.js';
import type { LoadOptions } from './local-retriever.js';
import type {
  DocumentOptions,
  FoundDocuments,
  IndexOptions,
  IndexSummary,
  Retriever,
  SearchIndex,
  SearchOptions,
  UpdateOptions,
  UpdateSummary,
  WriteSummary,
} from './types.js';
import type { RetrieverWorker } from './worker.js';

type Thread = WorkerThread<RetrieverWorker>;

/** A thread for a retriever or a job. */
export const startThread = (): Thread => new WorkerThread(new URL('./worker.js', import.meta.url));

/** The options with a signal in any case, so that work stops when a callback throws and when the thread must end. */
export function abortable<Options extends { signal?: AbortSignal | undefined }>(
  options: Options,
): Options & { signal: AbortSignal } {
  return { ...options, signal: options?.signal ?? new AbortController().signal };
}

export class RemoteRetriever implements Retriever {
  readonly dimension: number;
  readonly #thread: Thread;
  readonly #notes: Pick<LoadOptions, 'onNote'>;

  private constructor(thread: Thread, dimension: number, { onNote }: LoadOptions) {
    this.#thread = thread;
    this.dimension = dimension;
    // Callbacks belong to a call, so each call that has notes gets it.
    this.#notes = onNote === undefined ? {} : { onNote };
  }

  /** Errors: as `LocalRetriever.load`. */
  static async load(folder: string, options: LoadOptions = {}): Promise<RemoteRetriever> {
    const thread = startThread();
    try {
      const { dimension } = await thread.remote.load(folder, options);
      return new RemoteRetriever(thread, dimension, options);
    } catch (error) {
      await thread.dispose();
      throw error;
    }
  }

  embed(texts: readonly string[], { nameOf, ...options }: EmbedOptions = {}): Promise<Embedding[]> {
    const names = nameOf && texts.map((_, index) => nameOf(index));
    return this.#thread.remote.embed(texts, names, abortable(options));
  }

  submit(request: EmbedRequest): Promise<EmbedResult> {
    return this.#thread.remote.submit(abortable(request));
  }

  probe(request: ProbeRequest): Promise<Float32Array> {
    return this.#thread.remote.probe(abortable(request));
  }

  index(documents: string | readonly DocumentInput[], options: IndexOptions): Promise<IndexSummary> {
    return this.#thread.remote.index(documents, abortable(options));
  }

  async open(folder: string): Promise<SearchIndex> {
    return new RemoteIndex(this.#thread, await this.#thread.remote.open(folder, this.#notes));
  }

  dispose(): Promise<void> {
    return this.#thread.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

class RemoteIndex implements SearchIndex {
  readonly #thread: Thread;
  readonly #number: number;
  #disposal: Promise<void> | undefined;

  constructor(thread: Thread, number: number) {
    this.#thread = thread;
    this.#number = number;
  }

  count(filter?: Filter): Promise<number> {
    return this.#thread.remote.count(this.#number, filter);
  }

  search(queries: readonly string[], options: SearchOptions = {}): Promise<FoundDocuments[]> {
    return this.#thread.remote.search(this.#number, queries, abortable(options));
  }

  add(documents: string | readonly DocumentInput[], options: DocumentOptions = {}): Promise<WriteSummary> {
    return this.#thread.remote.add(this.#number, documents, abortable(options));
  }

  upsert(documents: string | readonly DocumentInput[], options: DocumentOptions = {}): Promise<WriteSummary> {
    return this.#thread.remote.upsert(this.#number, documents, abortable(options));
  }

  update(documents: string | readonly DocumentInput[], options: UpdateOptions = {}): Promise<UpdateSummary> {
    return this.#thread.remote.update(this.#number, documents, abortable(options));
  }

  delete(which: readonly string[] | Filter): Promise<number> {
    return this.#thread.remote.delete(this.#number, which);
  }

  async dispose(): Promise<void> {
    this.#disposal ??= this.#close();
    await this.#disposal;
  }

  async #close(): Promise<void> {
    try {
      if (!this.#thread.ended) await this.#thread.remote.close(this.#number);
    } catch (error) {
      // If the thread has ended, or was told to end meanwhile, so has the index.
      if (!this.#thread.ended) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
