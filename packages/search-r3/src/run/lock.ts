/**
 * A lock file that keeps two processes, or two threads of one process, from writing to one folder. It names its holder,
 * so that the lock of a killed process or an ended thread is recognised and taken over.
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
  /** Start time of the process in kernel ticks; null if unknown. */
  started: string | null;
  /** Node's id of the thread; null in locks of earlier versions. */
  thread: number | null;
  /** The kernel's id of the thread; null if unknown. */
  task: string | null;
  token: string;
}

/** Tokens held by this thread; each thread loads this module separately and has its own set. */
const held = new Set<string>();

export interface Lock {
  /** Releases the lock; safe to call twice. */
  release(): Promise<void>;
}

/** Acquires the lock file `path`. @throws InputError while a running process holds it, in any thread. */
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
    // A hard link appears with its contents and fails if the name is taken.
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
  let released = false;
  return {
    release: async () => {
      if (released) return;
      released = true;
      try {
        if (tokenOf(await readHolder(path)) === token) await rm(path, { force: true });
      } finally {
        // Only now: a lock that looks stale while its file is still there could be taken over between check and
        // removal.
        held.delete(token);
      }
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

/** The contents of a lock file. */
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
  if (holder.host !== hostname()) return true; // Another machine's processes cannot be checked.
  const ownProcess = holder.pid === process.pid;
  // Node never reuses thread ids: a lock this thread does not know of belongs to an earlier process with the same id.
  if (ownProcess && (holder.thread ?? threadId) === threadId) return held.has(holder.token);
  if (!isAlive(holder.pid)) return false;
  // Process ids are reused, and soon in containers: the same id with a different start time is a different process.
  const started = await processStart(holder.pid);
  if (started !== null && holder.started !== null && started !== holder.started) return false;
  // A terminated thread released nothing. A thread that cannot be looked up may still be running.
  return !ownProcess || holder.task === null || isTask(holder.task);
}

/** The kernel's id of this thread (proc(5)); null elsewhere. */
function currentTask(): string | null {
  try {
    // Synchronous on purpose: the asynchronous call would run in a pool thread and return its id.
    return basename(readlinkSync('/proc/thread-self'));
  } catch {
    return null;
  }
}

/** Whether this process has a thread with that kernel id. */
async function isTask(task: string): Promise<boolean> {
  return (await stat(`/proc/self/task/${task}`).catch(() => undefined)) !== undefined;
}

/** Field 22 of /proc/<pid>/stat (proc(5)): clock ticks from boot to the start of the process; null elsewhere. */
async function processStart(pid: number): Promise<string | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    // Field 2, the command in parentheses, may contain spaces: count from its end.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

/**
 * Removes a stale lock. If two processes that found it both removed it, the second could remove the first one's new
 * lock. So the right to remove is itself a lock, named after the stale holder, and a stale right is removed the same
 * way.
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
    expected: 'a folder that nobody else is using',
    found: `process ${pid}${elsewhere}${own ? ` (this one), thread ${thread}` : ''}`,
    remedy: 'Wait for it or stop it; if it is no longer running, remove the lock file.',
  });
}
