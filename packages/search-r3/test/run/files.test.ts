import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import {
  acquireLock,
  assertReplaceable,
  cleanTemporaries,
  exists,
  type FolderKind,
  InputError,
  publishFolder,
  readIfThere,
  readJson,
  removeFolder,
  writeFileAtomic,
  writeJsonAtomic,
  writeLinesAtomic,
} from 'search-r3/run';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'files-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** The id of a process that has ended. */
const deadPid = () => spawnSync(process.execPath, ['-e', '']).pid;

test('an existing file is read, a missing one is undefined, a failed read is an error', async () => {
  const path = join(folder, 'a.json');
  expect(await exists(path)).toBe(false);
  expect(await readIfThere(path, readJson)).toBeUndefined();
  await writeFile(path, '[1]');
  expect(await exists(path)).toBe(true);
  expect(await exists(folder)).toBe(true);
  expect(await readIfThere(path, readJson)).toEqual([1]);
  await writeFile(path, '[1');
  await expect(readIfThere(path, readJson)).rejects.toThrow(InputError);
});

describe('writeFileAtomic', () => {
  test('writes, replaces, creates folders and leaves no temporary files', async () => {
    const path = join(folder, 'a/b/c.txt');
    await writeFileAtomic(path, 'first');
    await writeFileAtomic(path, new Uint8Array([104, 105]));
    expect(await readFile(path, 'utf8')).toBe('hi');
    await writeFileAtomic(path, async (file) => {
      await file.writeFile('one ');
      await file.writeFile('two');
    });
    expect(await readFile(path, 'utf8')).toBe('one two');
    expect(await readdir(join(folder, 'a/b'))).toEqual(['c.txt']);
  });

  test('the old file stays until the new one is complete, and when writing fails', async () => {
    const path = join(folder, 'x.json');
    await writeJsonAtomic(path, { old: true });
    const failing = writeFileAtomic(path, async (file) => {
      await file.writeFile('{"half":');
      expect(await readFile(path, 'utf8')).toBe('{\n  "old": true\n}\n');
      throw new Error('disk full');
    });
    await expect(failing).rejects.toThrow('disk full');
    expect(await readJson(path)).toEqual({ old: true });
    expect(await readdir(folder)).toEqual(['x.json']);
  });
});

describe('writeLinesAtomic', () => {
  test('every line once and in order, across the pieces that are written', async () => {
    const path = join(folder, 'lines.txt');
    // 2.4 million characters of two bytes each, in lines of uneven lengths; pieces are of a million.
    const lines = Array.from({ length: 1500 }, (_, i) => 'é'.repeat(1 + ((i * 7919) % 3200)) + i);
    await writeLinesAtomic(path, lines);
    expect(await readFile(path, 'utf8')).toBe(lines.map((line) => `${line}\n`).join(''));
    await writeLinesAtomic(path, []);
    expect(await readFile(path, 'utf8')).toBe('');
  });

  test('a failure while lines are produced leaves the old file', async () => {
    const path = join(folder, 'lines.txt');
    await writeLinesAtomic(path, ['old']);
    function* failing() {
      yield 'x'.repeat(2 ** 21);
      throw new Error('no line');
    }
    await expect(writeLinesAtomic(path, failing())).rejects.toThrow('no line');
    expect(await readFile(path, 'utf8')).toBe('old\n');
    expect(await readdir(folder)).toEqual(['lines.txt']);
  });
});

describe('publishFolder', () => {
  const put = (name: string) => (temporary: string) => writeFile(join(temporary, name), name);

  test('nothing is at the final name until the folder is complete', async () => {
    const path = join(folder, 'index');
    await publishFolder(path, async (temporary) => {
      await put('part')(temporary);
      expect((await readdir(folder)).includes('index')).toBe(false);
      await mkdir(join(temporary, 'sub'));
      await put('deep')(join(temporary, 'sub'));
    });
    expect((await readdir(path, { recursive: true })).sort()).toEqual(['part', 'sub', 'sub/deep']);
    expect(await readdir(folder)).toEqual(['index']);
  });

  test('a failure leaves nothing, or the old folder', async () => {
    const path = join(folder, 'index');
    const fail = async (temporary: string) => {
      await put('half')(temporary);
      throw new Error('stop');
    };
    await expect(publishFolder(path, fail)).rejects.toThrow('stop');
    expect(await readdir(folder)).toEqual([]);
    await publishFolder(path, put('old'));
    await expect(publishFolder(path, fail, { replace: true })).rejects.toThrow('stop');
    expect(await readdir(path)).toEqual(['old']);
    expect(await readdir(folder)).toEqual(['index']);
  });

  test('refuses a folder that is not empty unless told to replace it', async () => {
    const path = join(folder, 'index');
    await mkdir(path);
    await publishFolder(path, put('old'));
    await expect(publishFolder(path, put('new'))).rejects.toThrow(InputError);
    expect(await readdir(path)).toEqual(['old']);
    await publishFolder(path, put('new'), { replace: true });
    expect(await readdir(path)).toEqual(['new']);
    expect(await readdir(folder)).toEqual(['index']);
  });

  const notes: FolderKind = { name: 'a folder of notes', is: (path) => exists(join(path, 'notes')) };

  test('with a kind, only folders of that kind are replaced', async () => {
    const path = join(folder, 'index');
    await publishFolder(path, put('other'));
    for (const replace of [false, true]) {
      const options = { replace, kind: notes };
      const message =
        'expected a new or empty folder, found a folder that is not empty, and not a folder of notes. ' +
        'Only a folder of notes is ever replaced: choose another folder.';
      await expect(publishFolder(path, put('notes'), options)).rejects.toThrow(message);
      await expect(assertReplaceable(path, options)).rejects.toThrow(message);
    }
    const mine = join(folder, 'mine');
    await publishFolder(mine, put('notes'), { kind: notes });
    await expect(assertReplaceable(mine, { kind: notes }, '--again')).rejects.toThrow(
      'found a folder of notes. Set --again to replace it.',
    );
    await publishFolder(mine, put('notes'), { kind: notes, replace: true });
    expect((await readdir(folder)).sort()).toEqual(['index', 'mine']);
    expect(await readdir(path)).toEqual(['other']);
  });

  test('a folder that appeared during the filling is noticed', async () => {
    const path = join(folder, 'index');
    const fill = async (temporary: string) => {
      await put('notes')(temporary);
      await mkdir(path);
      await writeFile(join(path, 'precious'), '');
    };
    await expect(publishFolder(path, fill, { kind: notes, replace: true })).rejects.toThrow(InputError);
    expect(await readdir(path)).toEqual(['precious']);
    expect(await readdir(folder)).toEqual(['index']);
  });

  test('a folder from an interrupted replacement is restored before the check', async () => {
    const path = join(folder, 'index');
    await mkdir(join(folder, `.index.${deadPid()}.0123abcd.old`));
    await writeFile(join(folder, (await readdir(folder))[0] as string, 'notes'), '');
    await expect(assertReplaceable(path, { kind: notes })).rejects.toThrow('found a folder of notes');
    expect(await readdir(path)).toEqual(['notes']);
  });

  test('removes what a killed process left for the same folder', async () => {
    await mkdir(join(folder, `.index.${deadPid()}.0123abcd.tmp`));
    await mkdir(join(folder, `.other.${deadPid()}.0123abcd.tmp`));
    await publishFolder(join(folder, 'index'), put('a'));
    expect((await readdir(folder)).map((name) => name.replace(/\d+/, 'PID')).sort()).toEqual([
      '.other.PID.0123abcd.tmp',
      'index',
    ]);
  });
});

test('removeFolder leaves nothing behind', async () => {
  await publishFolder(join(folder, 'a'), (temporary) => writeFile(join(temporary, 'x'), ''));
  await removeFolder(join(folder, 'a'));
  expect(await readdir(folder)).toEqual([]);
});

describe('cleanTemporaries', () => {
  test('removes only what no running process is writing', async () => {
    const dead = deadPid();
    const young = `.young.${process.pid}.00000001.tmp`;
    const old = `.old.${process.pid}.00000002.tmp`;
    const others = `.others.${process.ppid}.00000003.tmp`;
    const abandoned = `.abandoned.${dead}.00000004.tmp`;
    for (const name of [young, old, others, abandoned, '.hidden', 'a.tmp'])
      await writeFile(join(folder, name), '');
    const before = new Date(Date.now() - process.uptime() * 1000 - 60_000);
    await utimes(join(folder, old), before, before);
    expect(await cleanTemporaries(folder)).toEqual([abandoned, old]);
    expect((await readdir(folder)).sort()).toEqual(['.hidden', 'a.tmp', others, young].sort());
  });

  test('restores a folder whose replacement stopped between the two renames', async () => {
    const dead = deadPid();
    await mkdir(join(folder, `.index.${dead}.00000001.old`));
    await writeFile(join(folder, `.index.${dead}.00000001.old`, 'content'), '');
    await mkdir(join(folder, `.index.${dead}.00000001.tmp`));
    await mkdir(join(folder, 'done'));
    await mkdir(join(folder, `.done.${dead}.00000002.old`));
    await cleanTemporaries(folder);
    expect((await readdir(folder, { recursive: true })).sort()).toEqual(['done', 'index', 'index/content']);
  });
});

describe('readJson', () => {
  test.each([
    ['{"a": 1,}', /bad\.json: expected valid JSON, found "\{\\"a\\": 1,\}"\.$/],
    [
      `["${'x'.repeat(90)}", 1,]`,
      /bad\.json: expected valid JSON, found "\[\\"x{58}\.\.\." \(Unexpected token '\]'.*\)\.$/,
    ],
    ['', /bad\.json: expected valid JSON, found an empty file\. Fetch it again\.$/],
    ['{"a": ["b", "c', /found "\{\\"a\\": \[\\"b\\", \\"c"\. The file ends too early: fetch it again\.$/],
  ])('%j is refused with the place', async (text, message) => {
    const path = join(folder, 'bad.json');
    await writeFile(path, text);
    const error = await readJson(path).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
  });

  test('a missing file and a folder are named', async () => {
    await expect(readJson(join(folder, 'none'))).rejects.toThrow(
      /none: expected a readable file, found nothing there/,
    );
    await expect(readJson(folder)).rejects.toThrow(/found a folder/);
  });
});

describe('acquireLock', () => {
  const lockOf = (holder: object) => writeFile(join(folder, '.lock'), JSON.stringify(holder));

  test('is exclusive within the process until it is released', async () => {
    const path = join(folder, '.lock');
    const lock = await acquireLock(path);
    await expect(acquireLock(path)).rejects.toThrow(`found process ${process.pid}`);
    await lock.release();
    await lock.release();
    expect(await readdir(folder)).toEqual([]);
    await (await acquireLock(path)).release();
  });

  test('exactly one of many concurrent callers gets it', async () => {
    const path = join(folder, '.lock');
    await lockOf({ pid: deadPid(), host: hostname(), token: 'gone', started: null });
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => acquireLock(path)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await readdir(folder)).toEqual(['.lock']);
  });

  test('a lock released while it is being checked does not cost the next holder its lock', async () => {
    const path = join(folder, '.lock');
    for (let round = 0; round < scaled(100, 3000); round++) {
      // Released while others read it: they find nothing there, and one of them links its own.
      const first = await acquireLock(path);
      // Settled from the start: some are refused before the release is done.
      const others = Promise.allSettled(Array.from({ length: 8 }, () => acquireLock(path)));
      await first.release();
      const results = await others;
      const held = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      expect(held.length).toBeLessThanOrEqual(1);
      for (const lock of held) await lock.release();
      expect(await readdir(folder)).toEqual([]);
    }
  });

  test.each([
    ['an ended process', () => ({ pid: deadPid(), host: hostname(), token: 'x', started: null })],
    ['this id before a restart', () => ({ pid: process.pid, host: hostname(), token: 'x', started: null })],
    ['nobody: cut short', () => ({ pid: 1 })],
  ])('takes over the lock of %s', async (_name, holder) => {
    await lockOf(holder());
    await (await acquireLock(join(folder, '.lock'))).release();
    expect(await readdir(folder)).toEqual([]);
  });

  test.runIf(process.platform === 'linux')('an id given again to a later process holds nothing', async () => {
    const stat = await readFile(`/proc/${process.ppid}/stat`, 'utf8');
    const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    const holder = { pid: process.ppid, host: hostname(), token: 'x' };
    await lockOf({ ...holder, started });
    await expect(acquireLock(join(folder, '.lock'))).rejects.toThrow(`found process ${process.ppid}`);
    await lockOf({ ...holder, started: `${Number(started) - 1}` });
    await (await acquireLock(join(folder, '.lock'))).release();
  });

  describe('between threads of one process', () => {
    const path = () => join(folder, '.lock');
    const taking = async (): Promise<{ thread: Worker; id: number; said: string }> => {
      const thread = new Worker(join(import.meta.dirname, 'fixtures/locker.mjs'), { workerData: path() });
      // Node forgets it when the thread ends.
      const id = thread.threadId;
      const [said] = (await once(thread, 'message')) as [string];
      return { thread, id, said };
    };

    test('a lock of one thread is held against the others, and the error names the thread', async () => {
      const lock = await acquireLock(path());
      const refused = await taking();
      expect(refused.said).toContain(`found process ${process.pid} (this one), thread 0.`);
      await refused.thread.terminate();
      await lock.release();

      const taken = await taking();
      expect(taken.said).toBe('taken');
      await expect(acquireLock(path())).rejects.toThrow(`(this one), thread ${taken.id}.`);
      taken.thread.postMessage('release');
      await once(taken.thread, 'exit');
      expect(await readdir(folder)).toEqual([]);
    });

    test.runIf(process.platform === 'linux')(
      'what an ended thread and an earlier process have left is taken over',
      async () => {
        const { thread } = await taking();
        const left = JSON.parse(await readFile(path(), 'utf8')) as { thread: number; started: string };
        await thread.terminate();
        await (await acquireLock(path())).release();
        // A running thread, but of an earlier process with this id.
        const earlier = { ...left, task: String(process.pid), started: `${Number(left.started) - 1}` };
        await lockOf({ ...earlier, started: left.started });
        await expect(acquireLock(path())).rejects.toThrow(`(this one), thread ${left.thread}.`);
        await lockOf(earlier);
        await (await acquireLock(path())).release();
        expect(await readdir(folder)).toEqual([]);
      },
    );
  });

  test('a lock of another machine is respected', async () => {
    await lockOf({ pid: deadPid(), host: 'elsewhere', token: 'x', started: null });
    await expect(acquireLock(join(folder, '.lock'))).rejects.toThrow(/on elsewhere/);
  });
});
