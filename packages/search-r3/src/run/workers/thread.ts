/**
 * The caller's side of a worker thread. birpc matches answers to calls; this adds what threads of Node need: callbacks
 * and aborts, errors that keep their class, an end for the calls of a thread that died, and idle threads that do not
 * keep the process alive (docs/decisions/012-workers.md).
 */
import { Worker } from 'node:worker_threads';
import { type BirpcReturn, createBirpc, type ProxifiedRemoteFunctions } from 'birpc';
import { awaitKernelsAtExit } from 'onnx-grad/exit-guard';
import { type CarriedError, carry, revive } from './errors.js';
import {
  ABORT,
  type Answer,
  type Callback,
  type CallerFunctions,
  END,
  type Parcel,
  pack,
  type Request,
  transfersOf,
  type WorkerStart,
} from './messages.js';

/** The functions of a worker, as seen from another thread. */
export type Remote<Api extends object> = ProxifiedRemoteFunctions<Api>;

/** A call without an answer. */
interface Call {
  readonly callbacks: readonly Callback[];
  readonly forgetSignals: () => void;
  /** What a callback threw. */
  thrown?: { readonly error: unknown };
}

/**
 * A worker thread that runs the module `entry`, which calls `serveWorker`. `Api` are the functions served there.
 *
 * Functions and one `AbortSignal` may be among the arguments of a call and in their fields (options). Everything else is
 * cloned when the call is made, except what `transfer` marks. If a callback throws, the call is aborted and fails with
 * that error once the worker has stopped. The process stays alive only while calls are pending.
 */
export class WorkerThread<Api extends object> {
  readonly remote: Remote<Api>;
  readonly #rpc: BirpcReturn<Api, CallerFunctions>;
  readonly #worker: Worker;
  readonly #atExit = awaitKernelsAtExit();
  readonly #calls = new Map<string, Call>();
  /** Why calls are rejected: the thread was disposed of or died. */
  #closed: Error | undefined;
  #disposal: Promise<void> | undefined;

  /** @param data see `workerInput`. */
  constructor(entry: URL, data?: unknown) {
    const workerData = { kernels: this.#atExit.memory, data } satisfies WorkerStart;
    // Flags of the main program (--input-type, loaders) do not apply to this file, and some keep it from starting.
    this.#worker = new Worker(entry, { execArgv: [], workerData });
    const died = (error: Error) =>
      this.#fail(new Error(`the thread died: ${error.message}`, { cause: error }));
    this.#worker.on('messageerror', died);
    this.#worker.on('error', died);
    this.#worker.on('exit', (code) => {
      this.#atExit.release();
      this.#fail(new Error(`the thread stopped with code ${code}`));
    });
    this.#rpc = createBirpc<Api, CallerFunctions>(
      { callback: (id, slot, values) => this.#callback(id, slot, values) },
      {
        on: (listener) => void this.#worker.on('message', listener),
        serialize: (request: Request) => this.#outgoing(request),
        post: (parcel: Parcel) => this.#post(parcel),
        deserialize: (message: Request | Answer) => this.#incoming(message),
        timeout: -1,
      },
    );
    this.remote = this.#rpc;
    // Last, because a listener for messages counts as a reference.
    this.#worker.unref();
  }

  /** Whether the thread was disposed of or died. */
  get ended(): boolean {
    return this.#closed !== undefined;
  }

  /** Rejects pending calls, aborts them in the worker, waits until they have stopped, and ends the thread. */
  dispose(): Promise<void> {
    this.#disposal ??= this.#end();
    return this.#disposal;
  }

  async #end(): Promise<void> {
    if (this.#closed === undefined) {
      const reason = new Error('it was disposed of');
      this.#rejectAll(reason);
      const ended = this.#rpc.$callRaw({ method: END, args: [] });
      this.#closed = reason;
      // A thread that died has released everything.
      await ended.catch(() => {});
    }
    await this.#worker.terminate();
  }

  #outgoing(request: Request): Parcel {
    if (this.#closed !== undefined) {
      throw new Error(`${request.m}: ${this.#closed.message}`, { cause: this.#closed });
    }
    const { i: id } = request;
    if (id === undefined) return { message: request, transfer: [] };
    const { request: packed, callbacks, signals } = pack(request);
    const abort = ({ target }: Event) => this.#abort(id, (target as AbortSignal).reason);
    for (const signal of signals) signal.addEventListener('abort', abort, { once: true });
    const forgetSignals = () => {
      for (const signal of signals) signal.removeEventListener('abort', abort);
    };
    this.#calls.set(id, { callbacks, forgetSignals });
    return { message: packed, transfer: transfersOf(request.a) };
  }

  #post({ message, transfer }: Parcel): void {
    try {
      this.#worker.postMessage(message, transfer);
    } catch (error) {
      // Something in it cannot be cloned.
      if (message.i !== undefined) this.#forget(message.i);
      throw error;
    }
    if (this.#calls.size > 0) this.#worker.ref();
  }

  #incoming(message: Request | Answer): Request | Answer {
    if (message.t === 'q') return message;
    const { i, e } = message;
    const thrown = this.#calls.get(i)?.thrown;
    this.#forget(i);
    if (thrown !== undefined) return { t: 's', i, e: thrown.error };
    return e === undefined ? message : { t: 's', i, e: revive(e as CarriedError) };
  }

  #callback(id: string, slot: number, values: readonly unknown[]): void {
    const call = this.#calls.get(id);
    // Nobody waits for it any more, or an earlier callback has failed.
    if (call === undefined || call.thrown !== undefined) return;
    try {
      call.callbacks[slot]?.(...values);
    } catch (error) {
      call.thrown = { error };
      this.#abort(id, error);
    }
  }

  #abort(id: string, reason: unknown): void {
    void this.#rpc.$callRaw({ method: ABORT, args: [id, carry(reason)], event: true });
  }

  #forget(id: string): void {
    this.#calls.get(id)?.forgetSignals();
    this.#calls.delete(id);
    if (this.#calls.size === 0) this.#worker.unref();
  }

  #rejectAll(reason: Error): void {
    for (const id of [...this.#calls.keys()]) this.#forget(id);
    this.#rpc.$rejectPendingCalls(({ reject }) => reject(reason));
  }

  #fail(reason: Error): void {
    this.#closed ??= reason;
    this.#rejectAll(this.#closed);
  }
}
