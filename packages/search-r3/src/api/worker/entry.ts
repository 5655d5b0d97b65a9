/** The thread behind a `RemoteRetriever` or a job. It may run several calls at a time. */
import { parentPort, workerData } from 'node:worker_threads';
import { announceKernels } from 'onnx-grad';
import { runJob } from '../jobs.js';
import { type LocalIndex, LocalRetriever } from '../local-retriever.js';
import { type Call, carry, type FromThread, type PortableOptions, type ToThread } from './messages.js';

const port = parentPort;
if (port === null) throw new Error('internal: started outside a worker');

announceKernels(workerData as SharedArrayBuffer);

const running = new Map<number, AbortController>();
/** Calls that have not been answered. */
const unanswered = new Map<number, Promise<void>>();
const indexes = new Map<number, LocalIndex>();
let retriever: LocalRetriever | undefined;

function loaded(): LocalRetriever {
  if (retriever === undefined) throw new Error('internal: no model');
  return retriever;
}

function opened(number: number): LocalIndex {
  const index = indexes.get(number);
  if (index === undefined) throw new Error('search: the index was disposed of');
  return index;
}

async function handle(call: Call, options: object): Promise<unknown> {
  switch (call.name) {
    case 'load':
      retriever = await LocalRetriever.load(call.argument, options);
      return { dimension: retriever.dimension };
    case 'embed': {
      const { texts, names } = call.argument;
      const named = names && { nameOf: (index: number) => names[index] as string };
      return loaded().embed(texts, { ...options, ...named });
    }
    case 'index':
      return loaded().index(call.argument, options as { out: string });
    case 'open': {
      const index = await loaded().open(call.argument);
      indexes.set(call.id, index);
      return { number: call.id, size: index.size };
    }
    case 'search':
      return opened(call.argument.number).search(call.argument.queries, options);
    case 'close':
      await opened(call.argument).dispose();
      indexes.delete(call.argument);
      return undefined;
    case 'job':
      return runJob(call.argument.name, call.argument.config, options);
    case 'dispose':
      // The thread ends next. Ending inside a kernel would abort the whole process, so wait for all calls.
      for (const controller of running.values()) controller.abort();
      await Promise.all([...unanswered].filter(([id]) => id !== call.id).map(([, work]) => work));
      await retriever?.dispose();
      return undefined;
    default:
      return call satisfies never;
  }
}

/**
 * Options with stand-ins for the caller's functions. There is always a signal: a call is also aborted when a callback
 * throws and when the thread must end.
 */
function inThisThread(id: number, { values, callbacks, aborted }: PortableOptions): object {
  const functions = callbacks.map((callback) => [
    callback,
    (...given: unknown[]) => send({ kind: 'event', id, callback, values: given }),
  ]);
  const controller = new AbortController();
  running.set(id, controller);
  if (aborted) controller.abort();
  return { ...values, ...Object.fromEntries(functions), signal: controller.signal };
}

async function answer(call: Call): Promise<void> {
  try {
    send({ kind: 'result', id: call.id, result: await handle(call, inThisThread(call.id, call.options)) });
  } catch (error) {
    send({ kind: 'error', id: call.id, error: carry(error) });
  } finally {
    running.delete(call.id);
    unanswered.delete(call.id);
  }
}

const send = (message: FromThread) => port.postMessage(message);

port.on('message', (message: ToThread) => {
  if (message.kind === 'abort') running.get(message.id)?.abort();
  else unanswered.set(message.id, answer(message));
});
