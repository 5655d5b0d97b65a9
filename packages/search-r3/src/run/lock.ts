/**
 * A lock file against two writers of one folder, be they processes or threads of one process. It names its holder, so
 * the lock of a killed process and of a thread that has ended is recognised and taken over.
 */
import { randomUUID } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { link, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { threadId } from 'node:worker_threads';
import { InputError } from './errors.js';
import { isAlive, temporaryPath } from './temporary.js';

interface Holder {
  pid: number;
  host: string;
  /** When the process started, in the kernel's count; null where the system does not say. */
  started: string | null;
  /** The thread, as Node counts those of a process; null in a lock of earlier versions. */
  thread: number | null;
  /** The thread, as the kernel counts them; null where the system does not say. */
  task: string | null;
  token: string;
}

/** Of this thread: others have modules, and so a set, of their own. */
const held = new Set<string>();

export interface Lock {
  /** Gives the lock back; safe to call twice. */
  release(): Promise<void>;
}

/** Takes the lock file `path`. @throws InputError while a living process holds it, in whatever thread. */
export async function acquireLock(path: string): Promise<Lock> {
  const token = randomUUID();
  const mine: Holder = {
    pid: process.pid,
    host: hostname(),
    started: await processStart(process.pid),
    thread: threadId,
    task: currentTask(),
    token,
  };
  const prepared = temporaryPath(path);
  await writeFile(prepared, JSON.stringify(mine), { flag: 'wx' });
  held.add(token);
  try {
    // A link appears with its contents, and fails where the name is taken.
    while (!(await tryLink(prepared, path))) {
      const holder = await readHolder(path);
      if (holder === 'gone') continue;
      if (holder !== 'unreadable' && (await holdsStill(holder))) throw busy(path, holder);
      await removeStale(path, holder, prepared);
    }
  } catch (error) {
    held.delete(token);
    throw error;
  } finally {
    await rm(prepared, { force: true });
  }
  return {
    release: async () => {
      if (!held.delete(token)) return;
      if (tokenOf(await readHolder(path)) === token) await rm(path, { force: true });
    },
  };
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** What a lock file says. */
type Found = Holder | 'gone' | 'unreadable';

const tokenOf = (found: Found): string => (typeof found === 'string' ? found : found.token);

async function readHolder(path: string): Promise<Found> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return 'gone';
  try {
    const { pid, host, token, started, thread, task } = JSON.parse(text) as Partial<Holder>;
    if (typeof pid !== 'number' || typeof host !== 'string' || typeof token !== 'string') return 'unreadable';
    return {
      pid,
      host,
      token,
      started: typeof started === 'string' ? started : null,
      thread: typeof thread === 'number' ? thread : null,
      task: typeof task === 'string' ? task : null,
    };
  } catch {
    return 'unreadable';
  }
}

async function holdsStill(holder: Holder): Promise<boolean> {
  if (holder.host !== hostname()) return true; // Cannot be seen from here.
  const ownProcess = holder.pid === process.pid;
  // Threads are not numbered anew: what this one does not know it holds is of an earlier process with the same id.
  if (ownProcess && (holder.thread ?? threadId) === threadId) return held.has(holder.token);
  if (!isAlive(holder.pid)) return false;
  // Ids are given again, in containers soon: the same id with another start is another process.
  const started = await processStart(holder.pid);
  if (started !== null && holder.started !== null && started !== holder.started) return false;
  // A thread that was terminated has given nothing back. One that can not be looked up may live.
  return !ownProcess || holder.task === null || isTask(holder.task);
}

/** The kernel's id of this thread (proc(5)); null elsewhere. */
function currentTask(): string | null {
  try {
    // Synchronously: the asynchronous call is made by a thread of the pool, and would name that one.
    return basename(readlinkSync('/proc/thread-self'));
  } catch {
    return null;
  }
}

/** Whether a thread of this process has that id. */
async function isTask(task: string): Promise<boolean> {
  return (await stat(`/proc/self/task/${task}`).catch(() => undefined)) !== undefined;
}

/** Field 22 of /proc/<pid>/stat (proc(5)): clock ticks from boot to the start of the process; null elsewhere. */
async function processStart(pid: number): Promise<string | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    // Field 2, the command in brackets, may hold spaces: count from its end, which is before field 3.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

/**
 * Removes a stale lock. Two processes that found the same one must not both: the second would remove the lock that the
 * first has taken by then. So the right to remove it is a lock itself, named after the stale holder, and a stale right
 * is removed in the same way. A lock that is gone is not removed: the next one may be there a moment later.
 */
async function removeStale(path: string, stale: Holder | 'unreadable', prepared: string): Promise<void> {
  const claim = `${path}.after-${tokenOf(stale)}`;
  if (!(await tryLink(prepared, claim))) {
    const claimant = await readHolder(claim);
    if (typeof claimant !== 'string' && !(await holdsStill(claimant)))
      await removeStale(claim, claimant, prepared);
    else await setTimeout(1);
    return;
  }
  try {
    if (tokenOf(await readHolder(path)) === tokenOf(stale)) await rm(path, { force: true });
  } finally {
    await rm(claim, { force: true });
  }
}

function busy(path: string, { pid, host, thread }: Holder): InputError {
  const elsewhere = host === hostname() ? '' : ` on ${host}`;
  const own = elsewhere === '' && pid === process.pid;
  return new InputError({
    source: path,
    expected: 'nothing else at work in this folder',
    found: `process ${pid}${elsewhere}${own ? `, which is this one, in its thread ${thread}` : ''}`,
    remedy: 'Wait for it or stop it; if it does not run any more, remove the lock file.',
  });
}
