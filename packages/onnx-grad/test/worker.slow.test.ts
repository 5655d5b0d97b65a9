/** Sessions in their own thread: the same numbers, a responsive caller, errors, aborts, disposal. */
import { performance } from 'node:perf_hooks';
import {
  crossEntropy,
  emit,
  FeedError,
  f32,
  floats,
  Graph,
  gemm,
  gradients,
  type HostTensor,
  i64,
  linear,
  mul,
  type Program,
  type RunnableSession,
  Session,
  type SessionOptions,
  sum,
  tanh,
  type Value,
  WorkerSession,
} from 'onnx-grad';
import { afterEach, describe, expect, test } from 'vitest';
import { numbers } from './support/check.js';
import { runModule } from './support/child.js';
import { random } from './support/random.js';
import { relativeError } from './support/tensor.js';

const open: RunnableSession[] = [];
async function start<T extends RunnableSession>(created: Promise<T>): Promise<T> {
  const session = await created;
  open.push(session);
  return session;
}
afterEach(async () => {
  for (const session of open.splice(0)) await session.dispose();
});

const KINDS: [string, (program: Program, options?: SessionOptions) => Promise<RunnableSession>][] = [
  ['Session', (program, options) => Session.create(program, options)],
  ['WorkerSession', (program, options) => WorkerSession.create(program, options)],
];

function classifier(): Program {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 8]);
  const w = graph.input('w', 'float32', [5, 8]);
  const loss = sum(crossEntropy(linear(tanh(x), w), graph.input('target', 'int64', ['B'])));
  graph.output('loss', loss);
  graph.output('dw', gradients(loss, [w])[0] as Value);
  return emit(graph);
}
const source = random('worker');
const draw = (...shape: number[]) =>
  f32(Float32Array.from({ length: shape.reduce((a, b) => a * b) }, source.normal), shape);
const W = draw(5, 8);
const BATCHES = [3, 1, 7].map((rows) => ({
  x: draw(rows, 8),
  target: i64(
    Array.from({ length: rows }, () => source.integer(5)),
    [rows],
  ),
}));

/** A program of `count` consecutive products of 512 x 512 matrices, a few milliseconds each. */
function slow(count: number): Program {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [512, 512]);
  let y = x;
  for (let i = 0; i < count; i++) y = tanh(gemm(y, x));
  graph.output('y', y);
  return emit(graph);
}
const LARGE = { x: f32(Float32Array.from({ length: 512 * 512 }, source.normal), [512, 512]) };

test('gives the numbers of a session in this thread', async () => {
  const [here, there] = [
    await start(Session.create(classifier())),
    await start(WorkerSession.create(classifier())),
  ];
  here.bind({ w: W });
  await there.bind({ w: W, unrelated: draw(3) });
  // Not awaited one by one: runs queue up in order.
  const found = await Promise.all(BATCHES.map((feeds) => there.run(feeds)));
  for (const [i, feeds] of BATCHES.entries()) {
    const expected = await here.run(feeds);
    expect(Object.keys(found[i] ?? {})).toEqual(['loss', 'dw']);
    for (const [name, tensor] of Object.entries(expected)) {
      expect(found[i]?.[name]?.shape).toEqual(tensor.shape);
      expect(found[i]?.[name]?.data).toEqual(tensor.data);
    }
  }
  expect([...there.program.inputs.keys()]).toEqual([...here.program.inputs.keys()]);
});

describe('feeds', () => {
  test('are copied at the call: they are not detached, and later changes have no effect', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', ['N']);
    const w = graph.input('w', 'float32', [1]);
    graph.output('y', mul(x, w));
    const session = await start(WorkerSession.create(emit(graph)));
    const pool = Float32Array.of(9, 1, 2, 3, 9);
    const view = pool.subarray(1, 4);
    const weight = Float32Array.of(10);
    const bound = session.bind({ w: f32(weight, [1]) });
    weight[0] = 0;
    const pending = session.run({ x: f32(view, [3]) });
    view[0] = 7;
    await bound;
    expect(numbers((await pending).y)).toEqual([10, 20, 30]);
    expect(pool).toEqual(Float32Array.of(9, 7, 2, 3, 9));
    expect(numbers((await session.run({ x: f32(view, [3]) })).y)).toEqual([70, 20, 30]);
  });

  test('may be in shared memory or in a Buffer', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', ['N']);
    graph.output('x2', tanh(x));
    graph.output('mask2', graph.input('mask', 'bool', ['N']));
    const session = await start(WorkerSession.create(emit(graph)));
    const shared = new Float32Array(new SharedArrayBuffer(8));
    const mask: HostTensor = { dtype: 'bool', shape: [2], data: Buffer.from([1, 0]) };
    const results = await session.run({ x: f32(shared, [2]), mask });
    expect(numbers(results.x2)).toEqual([0, 0]);
    expect(numbers(results.mask2)).toEqual([1, 0]);
    expect(numbers(mask)).toEqual([1, 0]);
  });
});

describe.each(KINDS)('%s', (kind, create) => {
  test('carries errors with their type', async () => {
    const session = await start(create(classifier()));
    const [first] = BATCHES as [(typeof BATCHES)[number]];
    const error = await session.run(first).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(FeedError);
    expect(error).toMatchObject({ name: 'FeedError', message: 'run: the input w is missing' });
    await expect((async () => session.bind({ w: draw(4, 8) }))()).rejects.toThrow(
      new FeedError('bind: w: expected [5, 8], found [4, 8]'),
    );
    // The session stays usable after an error. Errors from kernels are carried too.
    await session.bind({ w: W });
    await expect(session.run({ ...first, target: i64([0, 5, 1], [3]) })).rejects.toThrow(
      /GatherElements|out of/i,
    );
    expect(numbers((await session.run(first)).loss)).toHaveLength(1);
  });

  test('refuses programs that ONNX Runtime refuses', async () => {
    const program: Program = { ...classifier(), bytes: Uint8Array.of(1, 2, 3) };
    await expect(create(program)).rejects.toThrow(/protobuf|parse/i);
  });

  test('an aborted signal keeps a run from starting', async () => {
    const session = await start(create(classifier()));
    const reason = new Error('enough');
    const feeds = { ...(BATCHES[0] as (typeof BATCHES)[number]), w: W };
    await expect(session.run(feeds, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(numbers((await session.run(feeds, { signal: new AbortController().signal })).loss)).toHaveLength(
      1,
    );
  });

  test('refuses calls after dispose, which may be repeated', async () => {
    const session = await start(create(classifier()));
    await Promise.all([session.dispose(), session.dispose()]);
    await expect(session.run({})).rejects.toThrow('run: the session is disposed');
    await expect((async () => session.bind({}))()).rejects.toThrow('bind: the session is disposed');
  });

  test(`${kind === 'Session' ? 'blocks' : 'leaves free'} the caller while kernels work`, async () => {
    const session = await start(create(slow(120), { threads: 1 }));
    let ticks = 0;
    let last = performance.now();
    let longest = 0;
    const timer = setInterval(() => {
      ticks++;
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }, 2);
    const begin = performance.now();
    await session.run(LARGE);
    const duration = performance.now() - begin;
    longest = Math.max(longest, performance.now() - last);
    clearInterval(timer);
    expect(duration).toBeGreaterThan(100);
    if (kind === 'Session') {
      expect(longest).toBeGreaterThan(0.8 * duration);
    } else {
      expect(ticks).toBeGreaterThan(20);
      expect(longest).toBeLessThan(0.4 * duration);
    }
  });
});

test('data that cannot be sent is an error of its call only', async () => {
  const session = await start(WorkerSession.create(slow(1)));
  const feeds = { x: { ...LARGE.x, dtype: (() => 'float32') as unknown as 'float32' } };
  await expect(session.run(feeds)).rejects.toThrow(/could not be cloned/);
  expect((await session.run(LARGE)).y?.shape).toEqual([512, 512]);
  const options = { profile: (() => 'x') as unknown as string };
  await expect(WorkerSession.create(slow(1), options)).rejects.toThrow(/could not be cloned/);
});

describe('an abort', () => {
  test('rejects a running run at once; its result is dropped, and the next run is right', async () => {
    const session = await start(WorkerSession.create(slow(200), { threads: 1 }));
    const controller = new AbortController();
    const begin = performance.now();
    const aborted = session.run(LARGE, { signal: controller.signal });
    setTimeout(() => controller.abort(), 20);
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' });
    const rejected = performance.now() - begin;
    const zero = await session.run({ x: f32(new Float32Array(512 * 512), [512, 512]) });
    const finished = performance.now() - begin;
    expect(numbers(zero.y).every((value) => value === 0)).toBe(true);
    expect(rejected).toBeLessThan(0.5 * finished);
  });

  test('takes a waiting run out of the queue', async () => {
    const session = await start(WorkerSession.create(slow(60), { threads: 1 }));
    const alone = performance.now();
    await session.run(LARGE);
    const single = performance.now() - alone;
    const controller = new AbortController();
    const begin = performance.now();
    const first = session.run(LARGE);
    const skipped = Array.from({ length: 9 }, () => session.run(LARGE, { signal: controller.signal }));
    const last = session.run(LARGE);
    controller.abort(new Error('not needed'));
    for (const run of skipped) await expect(run).rejects.toThrow('not needed');
    const results = [await first, await last];
    // Two runs were executed, not 11.
    expect(performance.now() - begin).toBeLessThan(6 * single);
    expect(relativeError(floats(results[1]?.y), floats(results[0]?.y))).toBe(0);
  });
});

describe('the end', () => {
  test('dispose rejects pending runs and ends the worker', async () => {
    const session = await WorkerSession.create(slow(60), { threads: 1 });
    const runs = [session.run(LARGE), session.run(LARGE)].map((run) =>
      run.catch((error: Error) => error.message),
    );
    await session.dispose();
    expect(await Promise.all(runs)).toEqual(['the session is disposed', 'the session is disposed']);
  });

  test('a process ends by itself, whether sessions were disposed of or forgotten', async () => {
    const { stdout } = await runModule(
      `
      import { Graph, WorkerSession, add, emit, f32 } from 'onnx-grad';
      const graph = new Graph();
      const x = graph.input('x', 'float32', ['N']);
      graph.output('y', add(x, x));
      const [disposed, forgotten] = [await WorkerSession.create(emit(graph)), await WorkerSession.create(emit(graph))];
      for (const session of [disposed, forgotten]) {
        console.log((await session.run({ x: f32(Float32Array.of(1, 2), [2]) })).y.data.join(' '));
      }
      await disposed.dispose();
      console.log('done');
    `,
      20_000,
    );
    expect(stdout).toBe('2 4\n2 4\ndone\n');
  });

  test.each([
    ['process.exit(3)', 3, ''],
    ["throw new Error('nobody catches this')", 1, 'nobody catches this'],
  ])('%s in the middle of a run ends the process as it says', async (statement, code, message) => {
    const child = runModule(
      `
      import { Graph, WorkerSession, emit, f32, gemm } from 'onnx-grad';
      const graph = new Graph();
      const x = graph.input('x', 'float32', [512, 512]);
      let y = x;
      for (let i = 0; i < 200; i++) y = gemm(y, x);
      graph.output('y', y);
      const session = await WorkerSession.create(emit(graph), { threads: 1 });
      const feeds = { x: f32(new Float32Array(512 * 512), [512, 512]) };
      void session.run(feeds);
      void session.run(feeds);
      setTimeout(() => { ${statement} }, 100);
    `,
      20_000,
    );
    await expect(child).rejects.toMatchObject({
      code,
      stderr: expect.stringMatching(new RegExp(`^(?!.*terminate called)[^]*${message}`)) as string,
    });
  });

  test('results are transferred, not copied: peak memory is that of a session in this thread', async () => {
    const MIB = 128;
    const peak = async (kind: string) => {
      const run = await runModule(`
        import { Graph, ${kind}, emit, expand, f32 } from 'onnx-grad';
        const graph = new Graph();
        graph.output('y', expand(graph.input('x', 'float32', [1]), [${MIB} * 2 ** 18]));
        const session = await ${kind}.create(emit(graph));
        const { y } = await session.run({ x: f32(Float32Array.of(7), [1]) });
        console.log(y.data.length, y.data.at(-1));
        await session.dispose();
      `);
      expect(run.stdout).toBe(`${MIB * 2 ** 18} 7\n`);
      return run.peak;
    };
    const [here, there] = [await peak('Session'), await peak('WorkerSession')];
    expect(there - here).toBeLessThan(0.5 * MIB);
  });

  test('programs that write in place are refused', async () => {
    const graph = new Graph();
    graph.output('y', tanh(graph.input('x', 'float32', ['N'])));
    await expect(WorkerSession.create(emit(graph, { inPlace: true }))).rejects.toThrow(
      new FeedError('create: expected a program that is not emitted with inPlace'),
    );
  });
});
