/** The retriever in its own thread, which keeps the caller's event loop free while the model works. */
import type { Embedding, EmbedOptions } from '../embed/index.js';
import { WorkerThread } from '../run/workers/index.js';
import type { DocumentInput } from '../vectors/index.js';
import type { LoadOptions } from './local-retriever.js';
import type {
  FoundDocuments,
  IndexOptions,
  IndexSummary,
  Retriever,
  SearchIndex,
  SearchOptions,
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

  private constructor(thread: Thread, dimension: number) {
    this.#thread = thread;
    this.dimension = dimension;
  }

  /** Errors: as `LocalRetriever.load`. */
  static async load(folder: string, options: LoadOptions = {}): Promise<RemoteRetriever> {
    const thread = startThread();
    try {
      const { dimension } = await thread.remote.load(folder, options);
      return new RemoteRetriever(thread, dimension);
    } catch (error) {
      await thread.dispose();
      throw error;
    }
  }

  embed(texts: readonly string[], { nameOf, ...options }: EmbedOptions = {}): Promise<Embedding[]> {
    const names = nameOf && texts.map((_, index) => nameOf(index));
    return this.#thread.remote.embed(texts, names, abortable(options));
  }

  index(documents: string | readonly DocumentInput[], options: IndexOptions): Promise<IndexSummary> {
    return this.#thread.remote.index(documents, abortable(options));
  }

  async open(folder: string): Promise<SearchIndex> {
    const { index, size } = await this.#thread.remote.open(folder);
    return new RemoteIndex(this.#thread, index, size);
  }

  dispose(): Promise<void> {
    return this.#thread.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

class RemoteIndex implements SearchIndex {
  readonly size: number;
  readonly #thread: Thread;
  readonly #number: number;
  #disposal: Promise<void> | undefined;

  constructor(thread: Thread, number: number, size: number) {
    this.#thread = thread;
    this.#number = number;
    this.size = size;
  }

  search(queries: readonly string[], options: SearchOptions = {}): Promise<FoundDocuments[]> {
    return this.#thread.remote.search(this.#number, queries, abortable(options));
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
