/** The worker's side of a `WorkerThread`. Calls run as they arrive, several at a time if they wait. */
import { parentPort, workerData } from 'node:worker_threads';
import { createBirpc } from 'birpc';
import { announceKernels } from 'onnx-grad/exit-guard';
import { type CarriedError, carry, revive } from './errors.js';
import {
  ABORT,
  type Answer,
  type CallerFunctions,
  END,
  type PackedRequest,
  type Parcel,
  type Request,
  transfersOf,
  unpack,
  type WorkerStart,
} from './messages.js';

/** The `data` that the starting thread gave to `new WorkerThread`. */
export function workerInput<Data>(): Data {
  return (workerData as WorkerStart).data as Data;
}

/**
 * Serves the functions of `api` to the thread that started this one.
 *
 * @param onEnd releases what the functions hold, after the last call.
 */
export function serveWorker<Api extends object>(api: Api, onEnd: () => Promise<void> = async () => {}): void {
  const port = parentPort;
  if (port === null) throw new Error('internal: started outside a worker');
  announceKernels((workerData as WorkerStart).kernels);
  port.on('messageerror', (error) => {
    throw error;
  });

  const signals = new Map<string, AbortController>();
  const unfinished = new Set<Promise<unknown>>();
  const tracked = ([name, work]: [string, (...given: unknown[]) => unknown]) => {
    const run = (...given: unknown[]): Promise<unknown> => {
      const result = (async () => work(...given))();
      unfinished.add(result);
      const finish = () => unfinished.delete(result);
      void result.then(finish, finish);
      return result;
    };
    return [name, run] as const;
  };
  const control = {
    [ABORT]: (id: string, reason: CarriedError) => signals.get(id)?.abort(revive(reason)),
    // The thread ends next. Ending inside a kernel would abort the whole process, so wait for all calls.
    [END]: async () => {
      for (const controller of signals.values()) controller.abort();
      await Promise.allSettled(unfinished);
      await onEnd();
    },
  };

  function outgoing(message: Request | Answer): Parcel {
    if (message.t === 'q') return { message, transfer: [] };
    const { i, r, e } = message;
    signals.delete(i);
    if (e === undefined) return { message, transfer: transfersOf([r]) };
    return { message: { t: 's', i, e: carry(e) }, transfer: [] };
  }

  function incoming(request: PackedRequest | Request): Request {
    const { i: id } = request;
    if (id === undefined || !('links' in request)) return request;
    const controller = new AbortController();
    if (request.aborted !== undefined) controller.abort(revive(request.aborted));
    signals.set(id, controller);
    const callback =
      (slot: number) =>
      (...values: readonly unknown[]) =>
        void rpc.callback.asEvent(id, slot, values);
    return { t: 'q', i: id, m: request.m, a: unpack(request, callback, controller.signal) };
  }

  const rpc = createBirpc<CallerFunctions>(
    { ...Object.fromEntries(Object.entries(api).map(tracked)), ...control },
    {
      on: (listener) => void port.on('message', listener),
      serialize: outgoing,
      post: ({ message, transfer }: Parcel) => port.postMessage(message, transfer),
      deserialize: incoming,
      timeout: -1,
      // A result that cannot be cloned is the error of its call, not of the thread.
      onGeneralError: (_error, name) => name !== undefined,
    },
  );
}
