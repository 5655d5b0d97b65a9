/**
 * The caller's side of a worker thread: calls, which may be answered in any order, callbacks and aborts. Messages are
 * few and typed, so there is no RPC library. What matters is that errors keep their types, that a failing callback
 * reaches the caller, and that an idle thread does not keep the process alive.
 */
import { Worker } from 'node:worker_threads';
import { awaitKernelsAtExit } from 'onnx-grad';
import type { FromThread, OperationName, Operations, ToThread } from './messages.js';
import { portable, revive } from './messages.js';

interface Pending {
  options: Record<string, unknown>;
  resolve(result: unknown): void;
  reject(reason: unknown): void;
}

export class Thread {
  readonly #worker: Worker;
  readonly #atExit = awaitKernelsAtExit();
  readonly #pending = new Map<number, Pending>();
  #last = 0;
  /** Why calls are rejected: the thread was disposed of or died. */
  #closed: Error | undefined;

  constructor() {
    // Flags of the main program (--input-type, loaders) do not apply to this file, and some keep it from starting.
    const options = { execArgv: [], workerData: this.#atExit.memory };
    this.#worker = new Worker(new URL('./entry.js', import.meta.url), options);
    this.#worker.unref();
    this.#worker.on('message', (message: FromThread) => this.#receive(message));
    this.#worker.on('messageerror', (error) => this.#fail(error));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', (code) => {
      this.#atExit.release();
      this.#fail(new Error(`the thread stopped with code ${code}`));
    });
  }

  /** Whether the thread was disposed of or died. */
  get ended(): boolean {
    return this.#closed !== undefined;
  }

  call<Name extends OperationName>(
    name: Name,
    argument: Operations[Name]['argument'],
    options: Operations[Name]['options'] = {},
  ): Promise<Operations[Name]['result']> {
    if (this.#closed !== undefined) {
      return Promise.reject(new Error(`${name}: ${this.#closed.message}`, { cause: this.#closed }));
    }
    const id = ++this.#last;
    const { signal } = options as { signal?: AbortSignal };
    const abort = () => this.#post({ kind: 'abort', id });
    return new Promise<Operations[Name]['result']>((resolve, reject) => {
      const end = () => {
        signal?.removeEventListener('abort', abort);
        this.#pending.delete(id);
        if (this.#pending.size === 0) this.#worker.unref();
      };
      this.#pending.set(id, {
        options: options as Record<string, unknown>,
        resolve: (result) => {
          end();
          resolve(result as Operations[Name]['result']);
        },
        reject: (reason) => {
          end();
          reject(reason);
        },
      });
      try {
        this.#post({ kind: 'call', id, name, argument, options: portable(options) } as ToThread);
      } catch (error) {
        // Something in the options cannot be cloned.
        this.#pending.get(id)?.reject(error);
        return;
      }
      this.#worker.ref();
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** Rejects pending calls and ends the thread after `last`. */
  async end(last: () => Promise<unknown>): Promise<void> {
    if (this.#closed === undefined) {
      const reason = new Error('it was disposed of');
      for (const [id, call] of this.#pending) {
        this.#post({ kind: 'abort', id });
        call.reject(reason);
      }
      const released = last();
      this.#closed = reason;
      // A thread that died has released everything.
      await released.catch(() => {});
    }
    await this.#worker.terminate();
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromThread): void {
    // The call may have been rejected already.
    const call = this.#pending.get(message.id);
    if (call === undefined) return;
    switch (message.kind) {
      case 'result':
        call.resolve(message.result);
        return;
      case 'error':
        call.reject(revive(message.error));
        return;
      case 'event':
        try {
          (call.options[message.callback] as (...values: readonly unknown[]) => void)(...message.values);
        } catch (error) {
          // As without a thread, an error in a callback ends the work.
          this.#post({ kind: 'abort', id: message.id });
          call.reject(error);
        }
        return;
      default:
        message satisfies never;
    }
  }

  #fail(reason: Error): void {
    this.#closed ??= reason;
    for (const call of [...this.#pending.values()]) call.reject(reason);
  }
}
