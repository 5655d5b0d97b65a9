/**
 * Runs emitted programs in their own thread, which keeps the calling thread's event loop free while kernels run.
 * Messages are few and typed, so there is no RPC library; what matters is which arrays are copied. Feeds are copied
 * once, results are transferred without a copy.
 */
import { Worker } from 'node:worker_threads';
import type { TensorData } from './dtypes.js';
import type { Program } from './emit.js';
import { awaitKernelsAtExit } from './exit-guard.js';
import { FeedError, type Feeds, type HostTensor } from './host.js';
import type { RunnableSession, RunOptions, SessionOptions } from './session.js';

/** Requests are answered one at a time, in order; the first is `create`. */
export type Request =
  | { readonly kind: 'create'; readonly program: Program; readonly options: SessionOptions }
  | { readonly kind: 'bind'; readonly tensors: Feeds }
  | { readonly kind: 'run'; readonly feeds: Feeds }
  | { readonly kind: 'dispose' };

export type Reply =
  | { readonly ok: true; readonly results: Record<string, HostTensor> }
  | { readonly ok: false; readonly error: CarriedError };

/** An error as sent between threads: structured cloning loses its class. */
export interface CarriedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
}

const ERROR_TYPE = new Map<string, new (message: string) => Error>([
  ['FeedError', FeedError],
  ['RangeError', RangeError],
  ['TypeError', TypeError],
]);

function revive({ name, message, stack }: CarriedError): Error {
  const error = new (ERROR_TYPE.get(name) ?? Error)(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}

interface Call {
  readonly request: Request;
  readonly transfer: readonly ArrayBuffer[];
  resolve(results: Record<string, HostTensor>): void;
  reject(reason: unknown): void;
}

/** A program that runs in a worker thread. It keeps the process alive only while a request is pending. */
export class WorkerSession implements RunnableSession {
  readonly program: Program;
  readonly #worker: Worker;
  readonly #atExit = awaitKernelsAtExit();
  readonly #waiting: Call[] = [];
  #running: Call | undefined;
  /** Why calls are rejected: the session was disposed of or the worker died. */
  #closed: Error | undefined;
  #disposal: Promise<void> | undefined;

  private constructor(program: Program) {
    this.program = program;
    // Flags of the main program (--input-type, loaders) do not apply to this file, and some keep it from starting.
    const options = { execArgv: [], workerData: this.#atExit.memory };
    this.#worker = new Worker(new URL('./worker-entry.js', import.meta.url), options);
    this.#worker.on('message', (reply: Reply) => this.#settle(reply));
    this.#worker.on('messageerror', (error) => this.#fail(error));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', (code) => {
      this.#atExit.release();
      this.#fail(new Error(`the worker stopped with code ${code}`));
    });
  }

  /** Starts a worker and creates the session there. Errors: as `Session.create`. */
  static async create(program: Program, options: SessionOptions = {}): Promise<WorkerSession> {
    if (program.inPlace) throw new FeedError('create: expected a program that is not emitted with inPlace');
    const session = new WorkerSession(program);
    try {
      await session.#call({ kind: 'create', program, options });
    } catch (error) {
      await session.#worker.terminate();
      throw error;
    }
    return session;
  }

  /** See `RunnableSession`. The tensors are copied: later changes to them need another `bind`. */
  async bind(tensors: Feeds): Promise<void> {
    const needed = Object.entries(tensors).filter(([name]) => this.program.inputs.has(name));
    const { copies, buffers } = copy(Object.fromEntries(needed));
    await this.#call({ kind: 'bind', tensors: copies }, buffers);
  }

  /**
   * See `RunnableSession`. Feeds are copied at the call. An abort rejects at once: a waiting run is not started, and
   * the result of a running one is dropped.
   */
  async run(feeds: Feeds, options: RunOptions = {}): Promise<Record<string, HostTensor>> {
    options.signal?.throwIfAborted();
    const { copies, buffers } = copy(feeds);
    return this.#call({ kind: 'run', feeds: copies }, buffers, options.signal);
  }

  /** Rejects pending runs, and resolves when the memory is released and the worker has ended. */
  async dispose(): Promise<void> {
    this.#disposal ??= this.#end();
    await this.#disposal;
  }

  async #end(): Promise<void> {
    if (this.#closed === undefined) {
      const reason = new Error('the session is disposed');
      for (const call of this.#waiting.splice(0)) call.reject(reason);
      this.#running?.reject(reason);
      const released = this.#call({ kind: 'dispose' });
      this.#closed = reason;
      await released;
    }
    await this.#worker.terminate();
  }

  #call(
    request: Request,
    transfer: readonly ArrayBuffer[] = [],
    signal?: AbortSignal,
  ): Promise<Record<string, HostTensor>> {
    if (this.#closed !== undefined) {
      return Promise.reject(new Error(`${request.kind}: ${this.#closed.message}`, { cause: this.#closed }));
    }
    const answer = new Promise<Record<string, HostTensor>>((resolve, reject) => {
      const forget = () => signal?.removeEventListener('abort', abort);
      const call: Call = {
        request,
        transfer,
        resolve: (results) => {
          forget();
          resolve(results);
        },
        reject: (reason) => {
          forget();
          reject(reason);
        },
      };
      const abort = () => {
        const at = this.#waiting.indexOf(call);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.push(call);
    });
    this.#next();
    return answer;
  }

  #next(): void {
    if (this.#running !== undefined) return;
    this.#running = this.#waiting.shift();
    if (this.#running === undefined) {
      this.#worker.unref();
      return;
    }
    this.#worker.ref();
    const { request, transfer, reject } = this.#running;
    try {
      this.#worker.postMessage(request, transfer);
    } catch (error) {
      // Something in it cannot be cloned.
      reject(error);
      this.#running = undefined;
      this.#next();
    }
  }

  #settle(reply: Reply): void {
    const call = this.#running;
    this.#running = undefined;
    if (reply.ok) call?.resolve(reply.results);
    else call?.reject(revive(reply.error));
    this.#next();
  }

  #fail(reason: Error): void {
    this.#closed ??= reason;
    this.#running?.reject(reason);
    this.#running = undefined;
    for (const call of this.#waiting.splice(0)) call.reject(reason);
  }
}

/** Copies of tensors that can be transferred; the copy of a view holds only the view. */
function copy(tensors: Feeds): { copies: Feeds; buffers: ArrayBuffer[] } {
  const buffers: ArrayBuffer[] = [];
  const copies = Object.entries(tensors).map(([name, tensor]) => {
    const data = copyOf(tensor.data);
    buffers.push(data.buffer);
    return [name, { dtype: tensor.dtype, shape: [...tensor.shape], data }] as const;
  });
  return { copies: Object.fromEntries(copies), buffers };
}

function copyOf(data: TensorData): TensorData & { buffer: ArrayBuffer } {
  if (data instanceof Float32Array) return new Float32Array(data);
  if (data instanceof BigInt64Array) return new BigInt64Array(data);
  if (data instanceof Int32Array) return new Int32Array(data);
  return new Uint8Array(data);
}
