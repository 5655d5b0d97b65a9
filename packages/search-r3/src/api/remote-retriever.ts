/** The retriever in its own thread, which keeps the caller's event loop free while the model works. */
import type { Embedding, EmbedOptions } from '../embed/index.js';
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
import { Thread } from './worker/thread.js';

export class RemoteRetriever implements Retriever {
  readonly dimension: number;
  readonly #thread: Thread;
  #disposal: Promise<void> | undefined;

  private constructor(thread: Thread, dimension: number) {
    this.#thread = thread;
    this.dimension = dimension;
  }

  /** Errors: as `LocalRetriever.load`. */
  static async load(folder: string, options: LoadOptions = {}): Promise<RemoteRetriever> {
    const thread = new Thread();
    try {
      const { dimension } = await thread.call('load', folder, options);
      return new RemoteRetriever(thread, dimension);
    } catch (error) {
      await thread.end(async () => {});
      throw error;
    }
  }

  embed(texts: readonly string[], { nameOf, ...options }: EmbedOptions = {}): Promise<Embedding[]> {
    const names = nameOf && { names: texts.map((_, index) => nameOf(index)) };
    return this.#thread.call('embed', { texts, ...names }, options);
  }

  index(documents: string | readonly DocumentInput[], options: IndexOptions): Promise<IndexSummary> {
    return this.#thread.call('index', documents, options);
  }

  async open(folder: string): Promise<SearchIndex> {
    const { number, size } = await this.#thread.call('open', folder);
    return new RemoteIndex(this.#thread, number, size);
  }

  async dispose(): Promise<void> {
    this.#disposal ??= this.#thread.end(() => this.#thread.call('dispose', undefined));
    await this.#disposal;
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
    return this.#thread.call('search', { number: this.#number, queries }, options);
  }

  async dispose(): Promise<void> {
    this.#disposal ??= this.#close();
    await this.#disposal;
  }

  async #close(): Promise<void> {
    try {
      if (!this.#thread.ended) await this.#thread.call('close', this.#number);
    } catch (error) {
      // If the thread has ended, or was told to end meanwhile, so has the index.
      if (!this.#thread.ended) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
