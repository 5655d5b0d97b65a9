/**
 * How much memory this process may take: what its control groups allow (Linux, versions 1 and 2), or what the machine
 * has available, whichever is less.
 */
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { dirname, join } from 'node:path';

export interface AvailableMemory {
  /** Bytes, those included that the process takes already. */
  bytes: number;
  /** What sets the limit. */
  by: 'machine' | 'control group';
}

export interface MemoryOptions {
  /** Folder in which `proc` and `sys` are. Default `/`. */
  root?: string;
  /** Bytes that the process takes already. Default: what it does. */
  resident?: number;
}

/** A file of numbers or names, undefined where there is none. */
function readIfAny(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function numberIn(path: string): number | undefined {
  const value = Number(readIfAny(path)?.trim());
  return Number.isFinite(value) ? value : undefined;
}

/** The number after a name at the beginning of a line, as in `memory.stat`. */
function field(text: string | undefined, name: string): number | undefined {
  const found = text && new RegExp(`^${name}:?\\s+(\\d+)`, 'm').exec(text)?.[1];
  return found === undefined || found === '' ? undefined : Number(found);
}

/** The files of one version of control groups. */
interface GroupFiles {
  limit: string;
  usage: string;
  /** Fields of `memory.stat`: pages of files, which the kernel gives up where memory is short. */
  cache: readonly string[];
}

const VERSION_1: GroupFiles = {
  limit: 'memory.limit_in_bytes',
  usage: 'memory.usage_in_bytes',
  cache: ['total_inactive_file', 'total_active_file'],
};
const VERSION_2: GroupFiles = {
  limit: 'memory.max',
  usage: 'memory.current',
  cache: ['inactive_file', 'active_file'],
};

/** What a group leaves; undefined where it sets no limit. */
function leftIn(folder: string, { limit, usage, cache }: GroupFiles): number | undefined {
  const most = numberIn(join(folder, limit));
  const used = numberIn(join(folder, usage));
  if (most === undefined || used === undefined) return undefined;
  const stat = readIfAny(join(folder, 'memory.stat'));
  const files = cache.reduce((sum, name) => sum + (field(stat, name) ?? 0), 0);
  return Math.max(0, most - Math.max(0, used - files));
}

/** What the groups of the process leave, from its own to the outermost. */
function leftInGroups(root: string): number[] {
  const found: number[] = [];
  for (const line of (readIfAny(join(root, 'proc/self/cgroup')) ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    const first = controllers?.split(',').includes('memory');
    if (!first && controllers !== '') continue;
    const base = join(root, first ? 'sys/fs/cgroup/memory' : 'sys/fs/cgroup');
    // Inside a container the path may be that outside of it: only the outermost folder is there then.
    for (let group = path; ; group = dirname(group)) {
      const left = leftIn(join(base, group), first ? VERSION_1 : VERSION_2);
      if (left !== undefined) found.push(left);
      if (group === '/' || group === '.') break;
    }
  }
  return found;
}

export function availableMemory(options: MemoryOptions = {}): AvailableMemory {
  const { root = '/', resident = process.memoryUsage.rss() } = options;
  const kilobytes = field(readIfAny(join(root, 'proc/meminfo')), 'MemAvailable');
  const machine = kilobytes === undefined ? freemem() : 1024 * kilobytes;
  const group = Math.min(Number.POSITIVE_INFINITY, ...leftInGroups(root));
  return group < machine
    ? { bytes: group + resident, by: 'control group' }
    : { bytes: machine + resident, by: 'machine' };
}
