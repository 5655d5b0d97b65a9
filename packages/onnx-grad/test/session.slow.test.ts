/** Sessions in this thread: dynamic sizes, bound feeds, refusals, memory, options. */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  add,
  attention,
  crossEntropy,
  emit,
  FeedError,
  f32,
  Graph,
  gatherRows,
  gemm,
  gradients,
  type HostTensor,
  i64,
  linear,
  matmul,
  mean,
  mul,
  reshape,
  rmsNorm,
  Session,
  silu,
  softmax,
  tanh,
  type Value,
} from 'onnx-grad';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { numbers } from './support/check.js';
import { runModule } from './support/child.js';
import { random } from './support/random.js';
import { at, relativeError, sumOver, tabulate } from './support/tensor.js';

// Node's types leave WebAssembly to lib.dom.
declare const WebAssembly: { Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } };

const open: Session[] = [];
async function start(...parameters: Parameters<typeof Session.create>): Promise<Session> {
  const session = await Session.create(...parameters);
  open.push(session);
  return session;
}
afterEach(async () => {
  for (const session of open.splice(0)) await session.dispose();
});

/** y = W x by row, with one weight to bind. */
function product(): Graph {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 3]);
  const w = graph.input('w', 'float32', [2, 3]);
  graph.output('y', linear(x, w));
  return graph;
}
const W = Float32Array.of(1, 0, 2, 0, 1, -1);

test('one session takes any batch and any length', async () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 'S', 4]);
  const scores = softmax(matmul(x, x, { transB: true }));
  graph.output('y', reshape(matmul(scores, x), ['B*S', 4]));
  const session = await start(emit(graph));
  const source = random('dynamic');
  for (const [batch, length] of [
    [1, 1],
    [3, 7],
    [2, 31],
    [5, 2],
    [1, 64],
    [3, 7],
  ] as const) {
    const x64 = tabulate([batch, length, 4], () => Math.fround(source.normal()));
    const results = await session.run({ x: f32(Float32Array.from(x64.data), [batch, length, 4]) });
    expect(results.y?.shape).toEqual([batch * length, 4]);
    const expected = tabulate([batch * length, 4], (row, column) => {
      const [b, i] = [Math.floor((row as number) / length), (row as number) % length];
      const weights = Array.from({ length }, (_, j) =>
        Math.exp(sumOver(4, (k) => at(x64, b, i, k) * at(x64, b, j, k))),
      );
      const total = weights.reduce((a, c) => a + c);
      return sumOver(length, (j) => ((weights[j] as number) / total) * at(x64, b, j, column as number));
    });
    expect(relativeError(numbers(results.y), expected.data), `${batch} x ${length}`).toBeLessThan(1e-6);
  }
});

test('equal runs are bit-identical, in one session and across sessions', async () => {
  const [batch, length, width, vocabulary] = [4, 48, 64, 96];
  const graph = new Graph();
  const shapes = {
    table: [vocabulary, width],
    scale: [width],
    up: [3 * width, width],
    down: [width, 3 * width],
  };
  const weights = Object.entries(shapes).map(([name, shape]) => graph.input(name, 'float32', shape));
  const [table, scale, up, down] = weights as [Value, Value, Value, Value];
  const ids = graph.input('ids', 'int64', ['B', 'S']);
  const flat = reshape(gatherRows(table, ids), ['B*S', width]);
  const x = reshape(rmsNorm(flat, scale, 1e-6), ['B', 'S', width]);
  const bias = graph.constant({ dtype: 'float32', shape: [1, 1, 1, 1, 1], data: Float32Array.of(0) });
  const seen = attention(x, x, x, bias, { heads: 4, kvHeads: 4, headDim: width / 4 });
  const hidden = add(flat, linear(silu(linear(reshape(seen, ['B*S', width]), up)), down));
  const loss = mean(crossEntropy(linear(hidden, table), reshape(ids, ['B*S'])));
  graph.output('loss', loss);
  for (const [i, gradient] of gradients(loss, weights).entries()) {
    graph.output(`d${weights[i]?.name}`, gradient);
  }

  const source = random('repeat');
  const draw = (shape: number[]) =>
    f32(
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => source.normal() / 8),
      shape,
    );
  const feeds = {
    ...Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, draw(shape)])),
    ids: i64(
      Array.from({ length: batch * length }, () => source.integer(vocabulary)),
      [batch, length],
    ),
  };
  const digests = new Set<string>();
  for (let attempt = 0; attempt < 3; attempt++) {
    const session = await start(emit(graph), { threads: 2 });
    for (let run = 0; run < 6; run++) {
      const hash = createHash('sha256');
      for (const { data } of Object.values(await session.run(feeds))) hash.update(data);
      digests.add(hash.digest('hex'));
    }
  }
  expect(digests.size).toBe(1);
});

describe('bound tensors', () => {
  test('are fed to every run, share memory, and are overridden by feeds', async () => {
    const session = await start(emit(product()));
    const w = W.slice();
    const x = f32(Float32Array.of(1, 2, 3), [1, 3]);
    session.bind({ w: f32(w, [2, 3]), unrelated: f32(new Float32Array(1), [1]) });
    expect(numbers((await session.run({ x })).y)).toEqual([7, -1]);
    w[0] = 10;
    expect(numbers((await session.run({ x })).y)).toEqual([16, -1]);
    expect(numbers((await session.run({ x, w: f32(new Float32Array(6), [2, 3]) })).y)).toEqual([0, 0]);
    expect(numbers((await session.run({ x })).y)).toEqual([16, -1]);
    session.bind({ w: f32(W, [2, 3]) });
    expect(numbers((await session.run({ x })).y)).toEqual([7, -1]);
  });

  test('may be in the memory of a WebAssembly module', async () => {
    const session = await start(emit(product()));
    const memory = new WebAssembly.Memory({ initial: 1 });
    const w = new Float32Array(memory.buffer, 64, 6);
    w.set(W);
    session.bind({ w: f32(w, [2, 3]) });
    expect(numbers((await session.run({ x: f32(Float32Array.of(1, 2, 3), [1, 3]) })).y)).toEqual([7, -1]);
  });

  test('are refused after their memory was transferred', async () => {
    const session = await start(emit(product()));
    const w = W.slice();
    session.bind({ w: f32(w, [2, 3]) });
    structuredClone(w, { transfer: [w.buffer] });
    await expect(session.run({ x: f32(new Float32Array(3), [1, 3]) })).rejects.toThrow(
      new FeedError('run: w: expected 6 elements, found 0'),
    );
  });
});

describe('feeds that do not fit are refused with a FeedError', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 3]);
  const flat = graph.input('flat', 'float32', ['B*S', 3]);
  const mask = graph.input('mask', 'bool', ['B', 'S']);
  graph.input('unused', 'float32', [1]);
  graph.output('y', add(x, x));
  graph.output('z', mul(flat, flat));
  graph.output('m', mask);
  const good: Record<string, HostTensor> = {
    x: f32(new Float32Array(6), [2, 3]),
    flat: f32(new Float32Array(24), [8, 3]),
    mask: { dtype: 'bool', shape: [2, 4], data: new Uint8Array(8) },
  };
  const { x: _, ...withoutX } = good;

  test.each<[string, Record<string, HostTensor>, string]>([
    ['missing', withoutX, 'run: the input x is missing'],
    ['unknown', { ...good, y: f32(new Float32Array(1), [1]) }, 'run: the program has no input y'],
    [
      'not needed',
      { ...good, unused: f32(new Float32Array(1), [1]) },
      'run: the program has no input unused',
    ],
    [
      'a wrong size',
      { ...good, x: f32(new Float32Array(8), [2, 4]) },
      'run: x: expected [B = 2, 3], found [2, 4]',
    ],
    ['a wrong rank', { ...good, x: f32(new Float32Array(3), [3]) }, 'run: x: expected [B, 3], found [3]'],
    [
      'a symbol with two sizes',
      { ...good, mask: { dtype: 'bool', shape: [3, 4], data: new Uint8Array(12) } },
      'run: mask: expected [B = 2, S], found [3, 4]',
    ],
    [
      'a product that does not hold',
      { ...good, flat: f32(new Float32Array(27), [9, 3]) },
      'run: flat: expected B*S = 8, found 9',
    ],
    [
      'too few elements',
      { ...good, x: f32(new Float32Array(5), [2, 3]) },
      'run: x: expected 6 elements, found 5',
    ],
    [
      'a different dtype',
      { ...good, x: i64([1, 2, 3], [1, 3]) },
      'run: x: expected float32, found int64 in BigInt64Array',
    ],
    [
      'an array that does not fit its dtype',
      { ...good, mask: { dtype: 'bool', shape: [2, 4], data: new Int32Array(8) } },
      'run: mask: expected bool, found bool in Int32Array',
    ],
    [
      'shared memory',
      { ...good, x: f32(new Float32Array(new SharedArrayBuffer(24)), [2, 3]) },
      'the binding does not accept tensors on a SharedArrayBuffer; copy them',
    ],
  ])('%s', async (_name, feeds, message) => {
    const session = await start(emit(graph));
    expect((await session.run(good)).y?.shape).toEqual([2, 3]);
    const error = await session.run(feeds).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(FeedError);
    expect(error).toMatchObject({ name: 'FeedError', message });
  });

  test('as products of symbols that appear nowhere else', async () => {
    const products = new Graph();
    const [a, b] = [products.input('a', 'float32', ['B*S']), products.input('b', 'float32', ['B*S'])];
    products.output('sum', add(a, b));
    const session = await start(emit(products));
    const feeds = (of: number) => ({ a: f32(new Float32Array(3), [3]), b: f32(new Float32Array(of), [of]) });
    expect((await session.run(feeds(3))).sum?.shape).toEqual([3]);
    await expect(session.run(feeds(1))).rejects.toThrow(new FeedError('run: b: expected B*S = 3, found 1'));
  });

  test('when they are already bound', async () => {
    const session = await start(emit(graph));
    expect(() => session.bind({ x: f32(new Float32Array(2), [1, 2]) })).toThrow(
      new FeedError('bind: x: expected [B = 1, 3], found [1, 2]'),
    );
    session.bind({ x: f32(new Float32Array(9), [3, 3]) });
    await expect(session.run(withoutX)).rejects.toThrow(
      new FeedError('run: mask: expected [B = 3, S], found [2, 4]'),
    );
  });
});

describe('errors of ONNX Runtime are carried on', () => {
  test('for a program that it refuses', async () => {
    const program = { ...emit(product()), bytes: Uint8Array.of(1, 2, 3) };
    await expect(Session.create(program)).rejects.toThrow(/protobuf|parse/i);
  });

  test('for a run that fails inside a kernel; the next run is right', async () => {
    const graph = new Graph();
    graph.output(
      'row',
      gatherRows(graph.input('table', 'float32', [3, 2]), graph.input('at', 'int64', ['N'])),
    );
    const session = await start(emit(graph));
    session.bind({ table: f32(Float32Array.of(0, 1, 2, 3, 4, 5), [3, 2]) });
    await expect(session.run({ at: i64([3], [1]) })).rejects.toThrow(/out of/i);
    expect(numbers((await session.run({ at: i64([2], [1]) })).row)).toEqual([4, 5]);
  });
});

describe('dispose', () => {
  test('refuses later calls and may be repeated', async () => {
    const session = await start(emit(product()));
    await session.dispose();
    await session.dispose();
    await expect(session.run({})).rejects.toThrow('run: the session is disposed');
    await expect(session.runInPlace({}, {})).rejects.toThrow('runInPlace: the session is disposed');
    expect(() => session.bind({})).toThrow('bind: the session is disposed');
  });

  test('releases the memory of a program', async () => {
    // Creates, runs and disposes of twelve programs with 32 MiB of weights each.
    const { stdout } = await runModule(`
      import { Graph, Session, emit, f32, linear } from 'onnx-grad';
      const resident = [];
      for (let i = 0; i < 12; i++) {
        const graph = new Graph();
        const data = new Float32Array(2048 * 4096).fill(i);
        const w = graph.constant({ dtype: 'float32', shape: [2048, 4096], data });
        graph.output('y', linear(graph.input('x', 'float32', ['B', 4096]), w));
        const session = await Session.create(emit(graph), { prepack: false });
        await session.run({ x: f32(new Float32Array(4096), [1, 4096]) });
        await session.dispose();
        globalThis.gc();
        await new Promise((resolve) => setTimeout(resolve, 5));
        resident.push(process.memoryUsage.rss() / 2 ** 20);
      }
      console.log(JSON.stringify(resident));
    `);
    const resident = JSON.parse(stdout) as number[];
    expect(resident).toHaveLength(12);
    expect((resident.at(-1) as number) - (resident[3] as number)).toBeLessThan(2 * 32);
  });
});

describe('options', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'onnx-grad-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('profile writes a trace with the names of the kernels', async () => {
    const session = await start(emit(product()), { profile: join(folder, 'trace') });
    await session.run({ x: f32(new Float32Array(3), [1, 3]), w: f32(W, [2, 3]) });
    await session.dispose();
    const files = (await readdir(folder)).filter((name) => name.startsWith('trace'));
    expect(files).toHaveLength(1);
    const events = JSON.parse(await readFile(join(folder, files[0] as string), 'utf8')) as {
      args?: { op_name?: string };
    }[];
    expect(events.map(({ args }) => args?.op_name)).toContain('Gemm');
  });

  test('prepack and threads do not change results', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', ['B', 64]);
    const source = random('options');
    const data = Float32Array.from({ length: 64 * 64 }, () => source.integer(9) - 4);
    const w = graph.constant({ dtype: 'float32', shape: [64, 64], data });
    graph.output('y', gemm(tanh(x), w));
    const feeds = { x: f32(Float32Array.from({ length: 37 * 64 }, source.normal), [37, 64]) };
    const results = [];
    for (const options of [{}, { prepack: false }, { threads: 1 }, { threads: 3 }]) {
      results.push(numbers((await (await start(emit(graph), options)).run(feeds)).y));
    }
    for (const result of results) expect(relativeError(result, results[0] ?? [])).toBeLessThan(1e-6);
  });

  test.skipIf(process.platform !== 'linux')(
    'threads is the number of working threads (reads /proc)',
    async () => {
      const { stdout } = await runModule(`
      import { readdirSync } from 'node:fs';
      import { Graph, Session, add, emit } from 'onnx-grad';
      const graph = new Graph();
      const x = graph.input('x', 'float32', ['B']);
      graph.output('y', add(x, x));
      const program = emit(graph);
      const count = () => readdirSync('/proc/self/task').length;
      await (await Session.create(program, { threads: 1 })).dispose();
      const before = count();
      const found = [];
      for (const threads of [1, 2, 5]) {
        const session = await Session.create(program, { threads });
        found.push(count() - before);
        await session.dispose();
      }
      console.log(JSON.stringify(found));
    `);
      // The calling thread is one of them.
      expect(JSON.parse(stdout)).toEqual([0, 1, 4]);
    },
  );
});
