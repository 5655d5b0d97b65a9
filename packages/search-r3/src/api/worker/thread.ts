/**
 * The caller's side of a worker thread: calls that are answered in any order, callbacks on the way, aborts. Messages are
 * few and typed, so they are written out here instead of taking an RPC library: what matters is that errors keep their
 * types, that a callback's failure reaches the caller, and that an idle thread does not keep the process alive.
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
  /** Why calls are refused: disposed of, or the thread has died. */
  #closed: Error | undefined;

  constructor() {
    // Flags of the main program (--input-type, loaders) are not meant for this file, and some keep it from starting.
    const options = { execArgv: [], workerData: this.#atExit.memory };
    this.#worker = new Worker(new URL('./entry.js', import.meta.url), options);
    this.#worker.unref();
    this.#worker.on('message', (message: FromThread) => this.#receive(message));
    this.#worker.on('messageerror', (error) => this.#fail(error));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', (code) => {
      this.#atExit.release();
      this.#fail(new Error(`the thread has stopped with code ${code}`));
    });
  }

  /** Disposed of, or dead. */
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
        // Something in the options can not be cloned.
        this.#pending.get(id)?.reject(error);
        return;
      }
      this.#worker.ref();
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** Rejects calls that are not finished, and ends the thread after `last` has been done in it. */
  async end(last: () => Promise<unknown>): Promise<void> {
    if (this.#closed === undefined) {
      const reason = new Error('it has been disposed of');
      for (const [id, call] of this.#pending) {
        this.#post({ kind: 'abort', id });
        call.reject(reason);
      }
      const released = last();
      this.#closed = reason;
      // A thread that has died has released everything.
      await released.catch(() => {});
    }
    await this.#worker.terminate();
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromThread): void {
    // A call may have been given up.
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
          // As without a thread: what a callback throws ends the work.
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
