/**
 * A usearch graph in its own thread, so that building one (minutes for a million vectors) blocks nobody. The binding is
 * synchronous and cannot share a graph between threads, so the graph stays in the thread that built it, and searches
 * run there too. Requests are answered one at a time, in order.
 */
import { Worker } from 'node:worker_threads';

export interface GraphShape {
  dimension: number;
  /** Links per vector and level (M). */
  connectivity: number;
  /** Candidates considered when a vector is added (efConstruction). */
  buildWidth: number;
  /** Threads of an addition or a search. */
  threads: number;
}

/** Candidates of a batch of queries: query i has `counts[i]` rows, starting at i * wanted. */
export interface GraphMatches {
  rows: Int32Array<ArrayBuffer>;
  counts: Int32Array<ArrayBuffer>;
}

export type GraphRequest =
  | { readonly kind: 'add'; readonly rows: Int32Array; readonly vectors: Float32Array }
  | { readonly kind: 'search'; readonly queries: Float32Array; readonly wanted: number }
  | { readonly kind: 'save'; readonly path: string }
  | { readonly kind: 'load'; readonly path: string }
  | { readonly kind: 'end' };

/** Contents of a loaded graph; `complete` if its keys are exactly those below `size`. */
export interface GraphContents {
  dimension: number;
  size: number;
  complete: boolean;
}

export type GraphAnswer = GraphMatches | GraphContents | undefined;
export type GraphReply = { readonly answer: GraphAnswer } | { readonly error: string };

interface Call {
  resolve(answer: GraphAnswer): void;
  reject(reason: unknown): void;
}

/** Keeps the process alive only while a call is pending. */
export class GraphThread {
  readonly #worker: Worker;
  readonly #calls: Call[] = [];
  #closed: Error | undefined;
  readonly #exit: Promise<unknown>;

  /** Starts with an empty graph. If usearch has no binary for this machine, every call is rejected. */
  constructor(shape: GraphShape) {
    // Flags of the main program (--input-type, loaders) do not apply to this file, and some keep it from starting.
    const options = { execArgv: [], workerData: shape };
    this.#worker = new Worker(new URL('./graph-thread-entry.js', import.meta.url), options);
    this.#worker.unref();
    this.#worker.on('message', (reply: GraphReply) => this.#settle(reply));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#exit = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        this.#fail(new Error(`the graph's thread stopped with code ${code}`));
        resolve(code);
      });
    });
  }

  /** Adds new rows. The arrays are transferred and cannot be read afterwards. */
  async add(rows: Int32Array<ArrayBuffer>, vectors: Float32Array<ArrayBuffer>): Promise<void> {
    await this.#call({ kind: 'add', rows, vectors }, [rows.buffer, vectors.buffer]);
  }

  /** The `wanted` nearest rows of each query, from as many candidates. Takes at least one query. */
  async search(queries: Float32Array, wanted: number): Promise<GraphMatches> {
    const own = new Float32Array(queries);
    return (await this.#call({ kind: 'search', queries: own, wanted }, [own.buffer])) as GraphMatches;
  }

  async save(path: string): Promise<void> {
    await this.#call({ kind: 'save', path });
  }

  async load(path: string): Promise<GraphContents> {
    return (await this.#call({ kind: 'load', path })) as GraphContents;
  }

  /** Rejects all pending calls and ends the thread once the running one has returned. */
  async dispose(): Promise<void> {
    this.#fail(new Error('the graph was disposed of'));
    // Terminating the thread from outside may abort the process: the binding would throw in C++ with nobody to catch.
    this.#worker.ref();
    this.#worker.postMessage({ kind: 'end' } satisfies GraphRequest);
    await this.#exit;
  }

  #call(request: GraphRequest, transfer: readonly ArrayBuffer[] = []): Promise<GraphAnswer> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => {
      this.#calls.push({ resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage(request, transfer);
    });
  }

  #settle(reply: GraphReply): void {
    // The call was rejected by `dispose`, which is waiting for the thread to end.
    if (this.#closed !== undefined) return;
    const call = this.#calls.shift();
    if (this.#calls.length === 0) this.#worker.unref();
    if ('error' in reply) call?.reject(new Error(reply.error));
    else call?.resolve(reply.answer);
  }

  #fail(reason: Error): void {
    this.#closed ??= reason;
    for (const call of this.#calls.splice(0)) call.reject(this.#closed);
  }
}
