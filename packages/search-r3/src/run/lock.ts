/**
 * A lock file against two processes writing one folder. It names its holder, so the lock of a killed process is
 * recognised and taken over.
 */
import { randomUUID } from 'node:crypto';
import { link, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { InputError } from './errors.js';
import { isAlive, temporaryPath } from './temporary.js';

interface Holder {
  pid: number;
  host: string;
  /** When the process started, in the kernel's count; null where the system does not say. */
  started: string | null;
  token: string;
}

const held = new Set<string>();

export interface Lock {
  /** Gives the lock back; safe to call twice. */
  release(): Promise<void>;
}

/** Takes the lock file `path`. @throws InputError while another living process (or this one) holds it. */
export async function acquireLock(path: string): Promise<Lock> {
  const token = randomUUID();
  const mine: Holder = {
    pid: process.pid,
    host: hostname(),
    started: await processStart(process.pid),
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
    const { pid, host, token, started } = JSON.parse(text) as Partial<Holder>;
    if (typeof pid !== 'number' || typeof host !== 'string' || typeof token !== 'string') return 'unreadable';
    return { pid, host, token, started: typeof started === 'string' ? started : null };
  } catch {
    return 'unreadable';
  }
}

async function holdsStill(holder: Holder): Promise<boolean> {
  if (holder.host !== hostname()) return true; // Cannot be seen from here.
  if (holder.pid === process.pid) return held.has(holder.token);
  if (!isAlive(holder.pid)) return false;
  // Ids are given again, in containers soon: the same id with another start is another process.
  const started = await processStart(holder.pid);
  return started === null || holder.started === null || started === holder.started;
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

function busy(path: string, holder: Holder): InputError {
  const elsewhere = holder.host === hostname() ? '' : ` on ${holder.host}`;
  return new InputError({
    source: path,
    expected: 'no other process at work in this folder',
    found: `process ${holder.pid}${elsewhere}`,
    remedy: 'Wait for it or stop it; if it does not run any more, remove the lock file.',
  });
}
