/** Names of what is being written, and whether the process that was writing it still lives. */
import { randomUUID } from 'node:crypto';
import { basename, dirname, join } from 'node:path';

/** `.<name>.<pid>.<8 hex digits>.tmp` is being written; `.old` is what it replaces, for the moment between two renames. */
const TEMPORARY = /^\.(?<name>.+)\.(?<pid>\d+)\.[0-9a-f]{8}\.(?<kind>tmp|old)$/;

/** A fresh temporary name beside `path`, on the same file system, so that a rename is all it takes. */
export function temporaryPath(path: string, kind: 'tmp' | 'old' = 'tmp'): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.${randomUUID().slice(0, 8)}.${kind}`);
}

/** The parts of a temporary name; undefined for any other. */
export function parseTemporaryName(name: string): { name: string; pid: number; kind: string } | undefined {
  const groups = TEMPORARY.exec(name)?.groups;
  if (groups?.name === undefined || groups.kind === undefined) return undefined;
  return { name: groups.name, pid: Number(groups.pid), kind: groups.kind };
}

/** True for the names of unfinished files and folders, which listings should pass over. */
export function isTemporaryName(name: string): boolean {
  return TEMPORARY.test(name);
}

/** Whether a process with this id runs on this machine. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // It runs, as another user.
  }
}
