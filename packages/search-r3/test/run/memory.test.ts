/** The memory that a process may take, read from files as Linux has them. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { availableMemory } from 'search-r3/run';
import { afterEach, beforeEach, expect, test } from 'vitest';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'memory-'));
});
afterEach(() => rm(root, { recursive: true }));

async function files(contents: Record<string, string>): Promise<void> {
  for (const [path, text] of Object.entries(contents)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
}

const MEMINFO = 'MemTotal:       24684188 kB\nMemFree:         1000000 kB\nMemAvailable:   16000000 kB\n';
const GB = 1e9;

test('without a group, it is what the machine has available, and what the process takes already', async () => {
  await files({ 'proc/meminfo': MEMINFO, 'proc/self/cgroup': '0::/\n' });
  expect(availableMemory({ root, resident: 100 })).toEqual({ bytes: 16_000_000 * 1024 + 100, by: 'machine' });
});

test('a group of version 2 counts without the pages of files, which it gives up', async () => {
  await files({
    'proc/meminfo': MEMINFO,
    'proc/self/cgroup': '0::/app.slice/job\n',
    'sys/fs/cgroup/app.slice/job/memory.max': `${4 * GB}\n`,
    'sys/fs/cgroup/app.slice/job/memory.current': `${3 * GB}\n`,
    'sys/fs/cgroup/app.slice/job/memory.stat': `anon ${GB}\nfile ${2 * GB}\ninactive_file ${1.5 * GB}\nactive_file ${0.25 * GB}\n`,
  });
  expect(availableMemory({ root, resident: GB })).toEqual({ bytes: 3.75 * GB, by: 'control group' });
});

test('the narrowest of the groups around a process counts', async () => {
  await files({
    'proc/meminfo': MEMINFO,
    'proc/self/cgroup': '0::/outer/inner\n',
    'sys/fs/cgroup/outer/inner/memory.max': 'max\n',
    'sys/fs/cgroup/outer/inner/memory.current': '1000\n',
    'sys/fs/cgroup/outer/memory.max': `${2 * GB}\n`,
    'sys/fs/cgroup/outer/memory.current': `${0.5 * GB}\n`,
  });
  expect(availableMemory({ root, resident: 0 })).toEqual({ bytes: 1.5 * GB, by: 'control group' });
});

test('a group of version 1 is read too, and a limit beyond the machine is none', async () => {
  const group = {
    'proc/meminfo': MEMINFO,
    'proc/self/cgroup': '12:cpu,cpuacct:/docker/abc\n9:memory:/docker/abc\n0::/docker/abc\n',
    // In a container, its own folder is the outermost.
    'sys/fs/cgroup/memory/memory.usage_in_bytes': `${GB}\n`,
    'sys/fs/cgroup/memory/memory.stat': `total_inactive_file ${0.5 * GB}\ninactive_file 7\n`,
  };
  await files({ ...group, 'sys/fs/cgroup/memory/memory.limit_in_bytes': `${3 * GB}\n` });
  expect(availableMemory({ root, resident: 0 })).toEqual({ bytes: 2.5 * GB, by: 'control group' });
  await files({ 'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n' });
  expect(availableMemory({ root, resident: 0 }).by).toBe('machine');
});

test('this process is somewhere', () => {
  expect(availableMemory().bytes).toBeGreaterThan(process.memoryUsage.rss());
});
