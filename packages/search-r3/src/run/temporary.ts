/** Temporary names of files and folders being written, and whether their writer is still running. */
import { randomUUID } from 'node:crypto';
import { basename, dirname, join } from 'node:path';

/** `.<name>.<pid>.<8 hex digits>.tmp` is being written; `.old` is what it replaces, between the two renames. */
const TEMPORARY = /^\.(?<name>.+)\.(?<pid>\d+)\.[0-9a-f]{8}\.(?<kind>tmp|old)$/;

/** A new temporary name next to `path`: on the same file system, so that it can be renamed to `path`. */
export function temporaryPath(path: string, kind: 'tmp' | 'old' = 'tmp'): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.${randomUUID().slice(0, 8)}.${kind}`);
}

/** The parts of a temporary name; undefined for other names. */
export function parseTemporaryName(name: string): { name: string; pid: number; kind: string } | undefined {
  const groups = TEMPORARY.exec(name)?.groups;
  if (groups?.name === undefined || groups.kind === undefined) return undefined;
  return { name: groups.name, pid: Number(groups.pid), kind: groups.kind };
}

/** Whether this names an unfinished file or folder, which listings should skip. */
export function isTemporaryName(name: string): boolean {
  return TEMPORARY.test(name);
}

/** Whether a process with this id runs on this machine. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // It runs under another user.
  }
}
