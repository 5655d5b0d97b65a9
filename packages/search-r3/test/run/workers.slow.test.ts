/** Worker threads: what crosses them, in which order, and how calls and threads end. */
import { execFile } from 'node:child_process';
import { getEventListeners } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DivergenceError, InputError, InterruptedError } from 'search-r3/run';
import { transfer, WorkerThread } from 'search-r3/run/workers';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';

const ENTRY = new URL('./fixtures/worker.mjs', import.meta.url);

interface Options {
  signal?: AbortSignal;
  onStep?: ((step: number, steps: number) => void) | undefined;
  every?: number;
}

/** What `fixtures/worker.mjs` serves. */
interface Fixture {
  add(a: number, b: number): number;
  input(): unknown;
  wait(milliseconds: number, name: string): Promise<string>;
  fail(kind: string): void;
  read(path: string): Promise<string>;
  count(to: number, options: Options, onEnd: (count: number) => void): Promise<number>;
  untilAborted(options: Options): Promise<void>;
  double(numbers: Float32Array): Float32Array;
  kept(): Float32Array;
  uncloneable(): unknown;
  exit(code: number): void;
  crash(): Promise<void>;
  slowStop(signal: AbortSignal): Promise<void>;
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'workers-'));
});
afterAll(() => rm(folder, { recursive: true }));

const open: WorkerThread<Fixture>[] = [];
function start(data?: unknown): WorkerThread<Fixture> {
  const thread = new WorkerThread<Fixture>(ENTRY, data);
  open.push(thread);
  return thread;
}
afterEach(async () => {
  for (const thread of open.splice(0)) await thread.dispose();
});

const thrown = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'no error',
    (error) => error,
  );

test('calls give what the functions give, each to its caller, in the order in which they finish', async () => {
  const { remote } = start({ size: 3 });
  expect(await remote.input()).toEqual({ size: 3 });
  const sums = Array.from({ length: 200 }, (_, i) => remote.add(i, 1000 * i));
  expect(await Promise.all(sums)).toEqual(Array.from({ length: 200 }, (_, i) => 1001 * i));
  const finished: string[] = [];
  const waits = [remote.wait(200, 'slow'), remote.wait(0, 'quick')];
  await Promise.all(waits.map((wait) => wait.then((name) => finished.push(name))));
  expect(finished).toEqual(['quick', 'slow']);
});

describe('errors', () => {
  test('keep class, fields, cause and stack', async () => {
    const { remote } = start();
    const input = (await thrown(remote.fail('input'))) as InputError;
    expect(input).toBeInstanceOf(InputError);
    expect(input.problem).toEqual({
      source: 'a.txt',
      field: 'line 3',
      expected: 'a number',
      found: '"x"',
      remedy: 'Mend it.',
    });
    expect(input.message).toBe('a.txt: line 3: expected a number, found "x". Mend it.');
    expect(input.stack).toContain('worker.mjs');
    const interrupted = (await thrown(remote.fail('interrupted'))) as InterruptedError;
    expect(interrupted).toBeInstanceOf(InterruptedError);
    expect(interrupted.cause).toEqual(new RangeError('inner'));
    expect(interrupted.cause).toBeInstanceOf(RangeError);
    for (const [kind, type, message] of [
      ['divergence', DivergenceError, 'not finite'],
      ['range', RangeError, 'too far'],
      ['type', TypeError, 'not that'],
      ['own', Error, 'mine'],
      ['text', Error, 'just text'],
    ] as const) {
      const error = (await thrown(remote.fail(kind))) as Error;
      expect(error).toBeInstanceOf(type);
      expect(error.message).toBe(message);
      expect(error.name).toBe(kind === 'own' ? 'OwnError' : type.name);
    }
    const path = join(folder, 'none');
    expect(await thrown(remote.read(path))).toMatchObject({ code: 'ENOENT', syscall: 'open', path });
    expect(await remote.add(1, 2)).toBe(3);
  });

  test('what cannot be cloned is an error of its call only', async () => {
    const { remote } = start();
    const waiting = remote.wait(100, 'waiting');
    expect(await thrown(remote.add([() => 1] as unknown as number, 1))).toMatchObject({
      name: 'DataCloneError',
    });
    expect(await thrown(remote.uncloneable())).toMatchObject({ name: 'DataCloneError' });
    expect(await waiting).toBe('waiting');
  });
});

describe('callbacks', () => {
  test('all arrive, in order, before the result', async () => {
    const { remote } = start();
    for (let round = 0; round < scaled(20, 500); round++) {
      const got: string[] = [];
      const onStep = (step: number, steps: number) => void got.push(`${step} of ${steps}`);
      const count = await remote.count(120, { onStep, every: 40 }, (at) => void got.push(`end ${at}`));
      expect([count, ...got]).toEqual([120, '40 of 120', '80 of 120', '120 of 120', 'end 120']);
    }
    expect(await remote.count(3, { onStep: undefined }, () => {})).toBe(3);
  });

  test('one that throws stops the work, and the call fails with that error once it has stopped', async () => {
    const { remote } = start();
    const error = new RangeError('enough');
    let calls = 0;
    const onStep = () => {
      if (++calls === 3) throw error;
    };
    const { signal } = new AbortController();
    expect(await thrown(remote.untilAborted({ signal, onStep }))).toBe(error);
    expect(calls).toBe(3);
    // Work that ignores the abort goes on to its end, unheard.
    const failing = remote.count(120, { onStep }, () => calls++);
    calls = 2;
    expect(await thrown(failing)).toBe(error);
    expect(calls).toBe(3);
    expect(await remote.add(1, 2)).toBe(3);
  });
});

describe('signals', () => {
  test('stop the call they belong to, with their reason, and are then forgotten', async () => {
    const { remote } = start();
    const [first, second] = [new AbortController(), new AbortController()];
    const calls = [first, second].map(({ signal }) => thrown(remote.untilAborted({ signal })));
    const other = remote.wait(150, 'other');
    first.abort(new TypeError('changed my mind'));
    const error = (await calls[0]) as InterruptedError;
    expect(error).toBeInstanceOf(InterruptedError);
    expect(error.cause).toEqual(new TypeError('changed my mind'));
    expect(await other).toBe('other');
    expect(getEventListeners(second.signal, 'abort')).toHaveLength(1);
    second.abort();
    expect(((await calls[1]) as Error).cause).toMatchObject({ name: 'AbortError' });
    const { signal } = new AbortController();
    await remote.count(3, { signal }, () => {});
    await thrown(remote.add([() => 1, signal] as unknown as number, 1));
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  test('that are aborted already stop the call at its start', async () => {
    const { remote } = start();
    const signal = AbortSignal.abort(new RangeError('long ago'));
    const error = (await thrown(remote.untilAborted({ signal }))) as Error;
    expect(error).toMatchObject({ message: 'after false', cause: new RangeError('long ago') });
  });
});

describe('memory', () => {
  test('is cloned when the call is made', async () => {
    const { remote } = start();
    const numbers = Float32Array.of(1, 2, 3);
    const doubled = remote.double(numbers);
    numbers[0] = 7;
    expect(await doubled).toEqual(Float32Array.of(2, 4, 6));
    // The worker keeps what it does not transfer.
    for (let round = 0; round < 2; round++) expect(await remote.kept()).toEqual(Float32Array.of(1, 2, 3));
  });

  test('moves if it is marked', async () => {
    const { remote } = start();
    const numbers = Float32Array.of(1, 2, 3);
    const doubled = remote.double(transfer(numbers, [numbers.buffer]));
    expect(numbers).toHaveLength(0);
    expect(await doubled).toEqual(Float32Array.of(2, 4, 6));
  });
});

describe('a thread that ends by itself rejects its calls, those to come included', () => {
  test.each<[string, unknown, (thread: WorkerThread<Fixture>) => Promise<unknown>, RegExp]>([
    ['with process.exit', undefined, ({ remote }) => remote.exit(3), /^the thread stopped with code 3$/],
    ['with an uncaught error', undefined, ({ remote }) => remote.crash(), /^the thread died: crashed$/],
    [
      'at its start',
      { fails: 'no binary' },
      ({ remote }) => remote.add(1, 2),
      /^the thread died: no binary$/,
    ],
  ])('%s', async (_how, data, end, message) => {
    const thread = start(data);
    const waiting = thrown(thread.remote.wait(60_000, 'never'));
    const ending = thrown(end(thread));
    for (const error of [await waiting, await ending]) expect((error as Error).message).toMatch(message);
    expect(thread.ended).toBe(true);
    const late = (await thrown(thread.remote.add(1, 2))) as Error;
    expect(late.message).toMatch(/^add: the thread (died|stopped)/);
    expect(late.cause).toBe(await waiting);
    await thread.dispose();
  });
});

test('disposal rejects pending calls, waits until their work has stopped, then releases', async () => {
  const log = join(folder, 'log');
  const thread = start({ log });
  const waiting = [thread.remote.slowStop(new AbortController().signal), thread.remote.wait(1, 'x')].map(
    thrown,
  );
  expect(thread.ended).toBe(false);
  const disposal = thread.dispose();
  expect(thread.ended).toBe(true);
  for (const call of waiting) expect(await call).toEqual(new Error('it was disposed of'));
  await Promise.all([disposal, thread.dispose()]);
  expect(await readFile(log, 'utf8')).toBe('call\nend\n');
  expect(await thrown(thread.remote.add(1, 2))).toEqual(new Error('add: it was disposed of'));
});

test('a process waits for pending calls, and not for idle threads', async () => {
  const code = `
    import { WorkerThread } from 'search-r3/run/workers';
    const thread = () => new WorkerThread(new URL(${JSON.stringify(ENTRY.href)}));
    const [unused, used, working] = [thread(), thread(), thread()];
    console.log(await used.remote.add(1, 2));
    const signal = new AbortController().signal;
    void working.remote.wait(300, 'done', { signal, onStep: () => {} }).then(console.log);
  `;
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', code], {
    cwd: import.meta.dirname,
    timeout: 30_000,
  });
  expect(await run).toEqual({ stdout: '3\ndone\n', stderr: '' });
});
