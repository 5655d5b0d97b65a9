/** Results that stay with their provider, on the CPU and with WEBGPU=1 on a GPU too. */
import {
  DeviceTensor,
  emit,
  FeedError,
  f32,
  floats,
  Graph,
  i64,
  linear,
  mul,
  type Provider,
  Session,
  toDevice,
} from 'onnx-grad';
import { afterEach, describe, expect, test } from 'vitest';
import { numbers, PROVIDERS } from './support/check.js';

const open: Session[] = [];
async function start(graph: Graph, provider: Provider): Promise<Session> {
  const session = await Session.create(emit(graph, { provider }), { provider });
  open.push(session);
  return session;
}
afterEach(async () => {
  for (const session of open.splice(0)) await session.dispose();
});

/** y = W x by row, and ids as they are. */
function product(): Graph {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 3]);
  graph.output('y', linear(x, graph.input('w', 'float32', [2, 3])));
  graph.output('same', graph.input('ids', 'int64', ['B']));
  return graph;
}
const FEEDS = {
  x: f32(Float32Array.of(1, 2, 3, 0, 1, 0), [2, 3]),
  w: f32(Float32Array.of(1, 0, 2, 0, 1, -1), [2, 3]),
  ids: i64([-5, 2 ** 40], [2]),
};

function squares(): Graph {
  const graph = new Graph();
  const y = graph.input('y', 'float32', ['B', 2]);
  graph.output('square', mul(y, y));
  return graph;
}

describe.each(PROVIDERS)('on %s', (provider) => {
  async function compute() {
    const session = await start(product(), provider);
    return session.run(FEEDS, { outputs: 'device' });
  }

  test('a device tensor is read as a copy', async () => {
    const { y, same: ids } = await compute();
    expect(y).toBeInstanceOf(DeviceTensor);
    expect(y).toMatchObject({ dtype: 'float32', shape: [2, 2], provider, disposed: false });
    const read = await y?.read();
    expect(read).toEqual(f32(Float32Array.of(7, -1, 0, 1), [2, 2]));
    expect(await ids?.read()).toEqual(FEEDS.ids);
    floats(read).fill(0);
    expect(numbers(await y?.read())).toEqual([7, -1, 0, 1]);
  });

  test('it is made from a tensor in host memory as a copy', async () => {
    const host = f32(Float32Array.of(1, -2, 3, 4), [2, 2]);
    const y = await toDevice(host, provider);
    floats(host).fill(0);
    expect(y).toMatchObject({ dtype: 'float32', shape: [2, 2], provider });
    expect(numbers(await y.read())).toEqual([1, -2, 3, 4]);
    expect(numbers((await (await start(squares(), provider)).run({ y })).square)).toEqual([1, 4, 9, 16]);
  });

  test('it feeds other sessions, also as a bound tensor, after its own session is gone', async () => {
    const session = await start(product(), provider);
    const { y } = await session.run(FEEDS, { outputs: 'device' });
    if (y === undefined) throw new Error('expected y');
    await session.dispose();
    const other = await start(squares(), provider);
    expect(numbers((await other.run({ y })).square)).toEqual([49, 1, 0, 1]);
    other.bind({ y });
    const { square } = await other.run({}, { outputs: 'device' });
    expect(numbers(await square?.read())).toEqual([49, 1, 0, 1]);
    // Results of one run feed the next.
    if (square === undefined) throw new Error('expected square');
    expect(numbers((await other.run({ y: square })).square)).toEqual([2401, 1, 0, 1]);
  });

  test('it is checked as feeds in host memory are', async () => {
    const { y, same: ids } = await compute();
    if (y === undefined || ids === undefined) throw new Error('expected results');
    const session = await start(product(), provider);
    await expect(session.run({ ...FEEDS, x: y })).rejects.toThrow(
      new FeedError('run: x: expected [B = 2, 3], found [2, 2]'),
    );
    await expect(session.run({ ...FEEDS, x: ids })).rejects.toThrow(
      new FeedError('run: x: expected float32, found int64'),
    );
    expect(() => session.bind({ x: ids })).toThrow(FeedError);
  });

  test('it cannot be used once it is disposed of', async () => {
    const { y } = await compute();
    if (y === undefined) throw new Error('expected y');
    const session = await start(squares(), provider);
    session.bind({ y });
    y.dispose();
    y.dispose();
    expect(y.disposed).toBe(true);
    await expect(y.read()).rejects.toThrow('read: the tensor is disposed');
    await expect(session.run({})).rejects.toThrow(new FeedError('run: y: the tensor is disposed'));
    await expect(session.run({ y })).rejects.toThrow(new FeedError('run: y: the tensor is disposed'));
    expect(() => session.bind({ y })).toThrow(new FeedError('bind: y: the tensor is disposed'));
    // The shape outlives the memory.
    expect(y.shape).toEqual([2, 2]);
  });
});
