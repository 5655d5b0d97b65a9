/** Programs that write outputs into given memory, and caches that share it. */
import {
  cachedAttention,
  concat,
  DeviceTensor,
  emit,
  FeedError,
  f32,
  floats,
  Graph,
  type HostTensor,
  i64,
  linear,
  mul,
  Session,
  type Tensor,
  toDevice,
  type Value,
} from 'onnx-grad';
import { afterEach, expect, test } from 'vitest';
import { EMISSIONS, numbers } from './support/check.js';
import { runModule } from './support/child.js';
import { random } from './support/random.js';
import { relativeError, sumOver, tabulate } from './support/tensor.js';

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

test.each(EMISSIONS)('writes every output into given memory: $emitted on $provider', async (where) => {
  const graph = product();
  const y = graph.outputs.get('y') as Value;
  graph.output('square', mul(y, y));
  const session = await start(emit(graph, { inPlace: true, provider: where.emitted }), where);
  const outputs = { y: f32(new Float32Array(4), [2, 2]), square: f32(new Float32Array(4), [2, 2]) };
  session.bind({ w: f32(W, [2, 3]) });
  await session.runInPlace({ x: f32(Float32Array.of(1, 2, 3, 0, 1, 0), [2, 3]) }, outputs);
  expect(numbers(outputs.y)).toEqual([7, -1, 0, 1]);
  expect(numbers(outputs.square)).toEqual([49, 1, 0, 1]);
  await session.runInPlace({ x: f32(new Float32Array(6), [2, 3]) }, outputs);
  expect(numbers(outputs.y)).toEqual([0, 0, 0, 0]);
});

test.each(EMISSIONS)('allocates outputs of known sizes: $emitted on $provider', async (where) => {
  const graph = product();
  const y = graph.outputs.get('y') as Value;
  graph.output('joined', concat([y, y], 0, 'rows'));
  const session = await start(emit(graph, { inPlace: true, provider: where.emitted }), where);
  const feeds = { x: f32(Float32Array.of(1, 2, 3, 0, 1, 0), [2, 3]), w: f32(W, [2, 3]) };
  await expect(session.runInPlace(feeds)).rejects.toThrow(
    new FeedError('runInPlace: expected memory for the output joined'),
  );
  const joined = f32(new Float32Array(8), [4, 2]);
  const results = await session.runInPlace(feeds, { joined });
  expect(Object.keys(results)).toEqual(['y', 'joined']);
  expect(results.y).toEqual(f32(Float32Array.of(7, -1, 0, 1), [2, 2]));
  expect(results.joined).toBe(joined);
  expect(numbers(joined)).toEqual([7, -1, 0, 1, 7, -1, 0, 1]);
});

test('refuses memory that does not fit, and other programs', async () => {
  const inPlace = await start(emit(product(), { inPlace: true }));
  const feeds = { x: f32(new Float32Array(6), [2, 3]), w: f32(W, [2, 3]) };
  const run = (outputs: Record<string, HostTensor>) => inPlace.runInPlace(feeds, outputs);
  await expect(run({ y: f32(new Float32Array(6), [3, 2]) })).rejects.toThrow(
    new FeedError('runInPlace: y: expected [B = 2, 2], found [3, 2]'),
  );
  await expect(run({ y: i64([1, 2, 3, 4], [2, 2]) })).rejects.toThrow(FeedError);
  await expect(run({ Y: f32(new Float32Array(4), [2, 2]) })).rejects.toThrow(
    new FeedError('runInPlace: the program has no output Y'),
  );
  await expect(inPlace.run(feeds)).rejects.toThrow(
    new FeedError('run: expected runInPlace for an in-place program'),
  );
  const ordinary = await start(emit(product()));
  await expect(ordinary.runInPlace(feeds, {})).rejects.toThrow(
    new FeedError('runInPlace: expected a program emitted with inPlace'),
  );
});

const CACHES = EMISSIONS.flatMap((where) => [
  { ...where, memory: 'host' as const },
  { ...where, memory: 'device' as const },
]);

test.each(CACHES)('lets a cache grow in its own memory: $emitted on $provider, $memory', async (where) => {
  const [heads, headDim, capacity] = [2, 8, 5];
  const graph = new Graph();
  const float = (name: string, ...shape: (string | number)[]) => graph.input(name, 'float32', shape);
  const tables = float('tables', capacity, headDim / 2);
  const { result, keys, values } = cachedAttention(
    {
      q: float('q', 1, 1, heads * headDim),
      k: float('k', 1, 1, heads * headDim),
      v: float('v', 1, 1, heads * headDim),
      pastKeys: float('past_keys', 1, heads, capacity, headDim),
      pastValues: float('past_values', 1, heads, capacity, headDim),
      lastIndex: graph.input('last_index', 'int32', [1]),
      total: graph.input('total', 'int32', []),
      cos: tables,
      sin: tables,
    },
    { heads, kvHeads: heads, rotate: false },
  );
  graph.output('result', result);
  graph.output('keys', keys);
  graph.output('values', values);
  const session = await start(emit(graph, { inPlace: true, provider: where.emitted }), where);
  const shape = [1, heads, capacity, headDim];
  const cache = () => {
    const zeros = f32(new Float32Array(heads * capacity * headDim), shape);
    return where.memory === 'host' ? zeros : toDevice(zeros, where.provider);
  };
  const read = (tensor: Tensor) => (tensor instanceof DeviceTensor ? tensor.read() : tensor);
  const [keyCache, valueCache] = [await cache(), await cache()];
  const out = f32(new Float32Array(heads * headDim), [1, 1, heads * headDim]);
  const source = random('cache');
  const tokens = Array.from({ length: 4 }, () =>
    Array.from({ length: 3 }, () => Float32Array.from({ length: heads * headDim }, source.normal)),
  );
  for (const [step, [q, k, v]] of tokens.entries()) {
    const tensor = (data: Float32Array | undefined) => f32(data as Float32Array, [1, 1, heads * headDim]);
    await session.runInPlace(
      {
        q: tensor(q),
        k: tensor(k),
        v: tensor(v),
        past_keys: keyCache,
        past_values: valueCache,
        last_index: { dtype: 'int32', shape: [1], data: Int32Array.of(step) },
        total: { dtype: 'int32', shape: [], data: Int32Array.of(step + 1) },
      },
      { result: out, keys: keyCache, values: valueCache },
    );
    // Attention over the tokens so far, computed from the inputs instead of the cache.
    const seen = tokens.slice(0, step + 1);
    const expected = Array.from({ length: heads * headDim }, (_, column) => {
      const first = column - (column % headDim);
      const weights = seen.map(([, key]) =>
        Math.exp(
          sumOver(headDim, (i) => (q?.[first + i] as number) * (key?.[first + i] as number)) /
            Math.sqrt(headDim),
        ),
      );
      const total = weights.reduce((a, b) => a + b);
      return sumOver(
        seen.length,
        (i) => ((weights[i] as number) / total) * (seen[i]?.[2]?.[column] as number),
      );
    });
    expect(relativeError(floats(out), expected), `step ${step}`).toBeLessThan(1e-6);
  }
  for (const [cached, which] of [
    [keyCache, 1],
    [valueCache, 2],
  ] as const) {
    const written = tabulate(shape, (_, head, position, i) => {
      const token = tokens[position as number]?.[which];
      return token === undefined ? 0 : (token[(head as number) * headDim + (i as number)] as number);
    });
    expect(numbers(await read(cached))).toEqual(Array.from(written.data));
  }
});

test('copies nothing: the peak holds one output, not two', async () => {
  const MIB = 128;
  const peak = async (inPlace: boolean) => {
    const run = await runModule(`
        import { Graph, Session, add, emit, expand, f32 } from 'onnx-grad';
        const size = ${MIB} * 2 ** 18;
        const graph = new Graph();
        graph.output('y', expand(graph.input('x', 'float32', [1]), [size]));
        const session = await Session.create(emit(graph, { inPlace: ${inPlace} }));
        const x = f32(Float32Array.of(7), [1]);
        let y = new Float32Array(${inPlace} ? size : 0);
        if (${inPlace}) await session.runInPlace({ x }, { y: f32(y, [size]) });
        else y = (await session.run({ x })).y.data;
        console.log(y.length, y[0], y.at(-1));
        await session.dispose();
      `);
    expect(run.stdout).toBe(`${MIB * 2 ** 18} 7 7\n`);
    return run.peak;
  };
  const [once, copied] = [await peak(true), await peak(false)];
  expect(copied - once).toBeGreaterThan(0.9 * MIB);
});
