/** The thread behind a `WorkerSession`, which answers its requests one at a time. */
import { parentPort, workerData } from 'node:worker_threads';
import { announceKernels } from './exit-guard.js';
import type { HostTensor } from './host.js';
import { Session } from './session.js';
import type { CarriedError, Reply, Request } from './worker.js';

const port = parentPort;
if (port === null) throw new Error('internal: started outside a worker');

announceKernels(workerData as SharedArrayBuffer);

const carry = (error: unknown): CarriedError => {
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  return { name, message, stack };
};

async function answer(work: () => Promise<Record<string, HostTensor>>): Promise<void> {
  let reply: Reply;
  try {
    reply = { ok: true, results: await work() };
  } catch (error) {
    reply = { ok: false, error: carry(error) };
  }
  const results = reply.ok ? Object.values(reply.results) : [];
  port?.postMessage(
    reply,
    results.map(({ data }) => data.buffer as ArrayBuffer),
  );
}

let session: Session | undefined;

async function handle(request: Request): Promise<Record<string, HostTensor>> {
  if (request.kind === 'create') {
    session = await Session.create(request.program, request.options);
    return {};
  }
  if (session === undefined) throw new Error('internal: no session');
  switch (request.kind) {
    case 'bind':
      session.bind(request.tensors);
      return {};
    case 'run':
      return session.run(request.feeds);
    case 'dispose':
      await session.dispose();
      return {};
    default:
      return request satisfies never;
  }
}

port.on('message', (request: Request) => void answer(() => handle(request)));
