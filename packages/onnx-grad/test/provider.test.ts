/** Programs for other providers than the CPU: which kernels they use, what sessions check and refuse. */
import { env } from 'node:process';
import {
  add,
  attention,
  cachedAttention,
  cast,
  crossEntropy,
  emit,
  FeedError,
  f32,
  Graph,
  gatherElements,
  gatherRows,
  gradients,
  i64,
  iota,
  linear,
  logSoftmax,
  matmul,
  type Program,
  type Provider,
  ProviderError,
  reshape,
  rmsNorm,
  rotary,
  Session,
  scatterAdd,
  sum,
  toDevice,
  type Value,
  zeros,
} from 'onnx-grad';
import onnxProto from 'onnx-proto';
import { describe, expect, test } from 'vitest';
import { numbers } from './support/check.js';

/** Type, and the types of the nodes that compute the arguments. */
function kernels({ bytes }: Program): Map<string, Set<string>> {
  const nodes = onnxProto.onnx.ModelProto.decode(bytes).graph?.node ?? [];
  const producers = new Map(
    nodes.flatMap(({ output, opType }) => (output ?? []).map((name) => [name, opType])),
  );
  const found = new Map<string, Set<string>>();
  for (const { opType, input } of nodes) {
    const known = found.get(opType as string) ?? new Set();
    for (const name of input ?? []) known.add(producers.get(name) ?? 'none');
    found.set(opType as string, known);
  }
  return found;
}

/** A program with every operator that has a form of its own on some provider, and its gradients. */
function everything(): Graph {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 'S', 8]);
  const weight = graph.input('weight', 'float32', [8]);
  const bias = graph.input('bias', 'float32', [1, 1, 1, 'S', 'S']);
  const normed = rmsNorm(x, weight, 1e-6);
  const seen = attention(normed, normed, normed, bias, { heads: 2, kvHeads: 2, headDim: 4 });
  const scores = logSoftmax(matmul(seen, x, { transA: true, alpha: 0.5 }));
  const rows = gatherRows(reshape(x, ['B*S', 8]), iota(graph, 'B'));
  const loss = add(sum(scores), add(sum(rows), sum(zeros(graph, ['B']))));
  graph.output('loss', loss);
  for (const [i, gradient] of gradients(loss, [x, weight, bias]).entries()) graph.output(`d${i}`, gradient);
  return graph;
}

// shared/engine-notes.md lists what WebGPU lacks or computes wrongly.
const ABSENT = [
  ...['SimplifiedLayerNormalization', 'FusedMatMul', 'LogSoftmax', 'ConstantOfShape'],
  ...['OneHot', 'QuantizeLinear', 'MatMulInteger'],
];

test('a program for webgpu uses kernels that it has', () => {
  const cpu = kernels(emit(everything()));
  const webgpu = kernels(emit(everything(), { provider: 'webgpu' }));
  expect(ABSENT.filter((name) => cpu.has(name))).toEqual(ABSENT.slice(0, 4));
  expect(ABSENT.filter((name) => webgpu.has(name))).toEqual([]);
  // It counts in int32, not in int64.
  expect(webgpu.get('Range')).toEqual(new Set(['Cast']));
});

describe('indices that are fed', () => {
  const TABLE = f32(Float32Array.of(0, 1, 2, 3, 4, 5), [3, 2]);

  async function run(build: (graph: Graph) => Value, feeds: Parameters<Session['run']>[0]) {
    const graph = new Graph();
    graph.output('y', build(graph));
    const session = await Session.create(emit(graph, { provider: 'webgpu' }));
    try {
      return numbers((await session.run(feeds)).y);
    } finally {
      await session.dispose();
    }
  }

  const rows = (graph: Graph) => {
    const at = reshape(graph.input('at', 'int64', ['N', 1]), ['N']);
    return gatherRows(graph.input('table', 'float32', ['rows', 2]), at);
  };

  test('are checked by the session, also behind a reshape', async () => {
    const at = (...values: number[]) => ({ table: TABLE, at: i64(values, [values.length, 1]) });
    expect(await run(rows, at(2, -3))).toEqual([4, 5, 0, 1]);
    await expect(run(rows, at(0, 3))).rejects.toThrow(
      new FeedError('run: at: expected indices in [-3, 3), found 3'),
    );
    await expect(run(rows, at(-4))).rejects.toThrow(
      new FeedError('run: at: expected indices in [-3, 3), found -4'),
    );
  });

  test.each<[string, (x: Value, at: Value) => Value]>([
    ['gatherElements', gatherElements],
    ['scatterAdd', (x, at) => scatterAdd(x, at, zeros(x.graph, at.shape), 1)],
    ['crossEntropy', (x, at) => crossEntropy(x, reshape(at, [3]))],
  ])('of %s', async (_, build) => {
    const graph = (g: Graph) => build(g.input('x', 'float32', [3, 2]), g.input('at', 'int64', [3, 1]));
    expect(await run(graph, { x: TABLE, at: i64([0, 1, -2], [3, 1]) })).not.toContain(Number.NaN);
    await expect(run(graph, { x: TABLE, at: i64([0, 2, 0], [3, 1]) })).rejects.toThrow(
      new FeedError('run: at: expected indices in [-2, 2), found 2'),
    );
  });

  test('of rotary and of a cache do not count from the end', async () => {
    const turned = (graph: Graph) => {
      const table = graph.input('table', 'float32', [3, 2]);
      return rotary(
        graph.input('x', 'float32', [1, 2, 4]),
        graph.input('at', 'int64', [1, 2]),
        table,
        table,
        1,
      );
    };
    const x = f32(new Float32Array(8), [1, 2, 4]);
    for (const index of [-1, 3]) {
      await expect(run(turned, { x, table: TABLE, at: i64([0, index], [1, 2]) })).rejects.toThrow(
        new FeedError(`run: at: expected indices in [0, 3), found ${index}`),
      );
    }
    const cached = (graph: Graph) => {
      const token = graph.input('token', 'float32', [1, 1, 8]);
      const past = graph.input('past', 'float32', [1, 1, 5, 8]);
      const tables = graph.input('tables', 'float32', [5, 4]);
      return cachedAttention(
        {
          ...{ q: token, k: token, v: token, pastKeys: past, pastValues: past, cos: tables, sin: tables },
          lastIndex: graph.input('last', 'int32', [1]),
          total: graph.input('total', 'int32', []),
        },
        { heads: 1, kvHeads: 1, rotate: false },
      ).result;
    };
    const int32 = (value: number, shape: number[]) =>
      ({ dtype: 'int32', shape, data: Int32Array.of(value) }) as const;
    const step = (last: number) =>
      run(cached, {
        token: f32(new Float32Array(8).fill(2), [1, 1, 8]),
        past: f32(new Float32Array(40), [1, 1, 5, 8]),
        last: int32(last, [1]),
        total: int32(last + 1, []),
      });
    expect(await step(0)).toEqual(Array(8).fill(2));
    await expect(step(5)).rejects.toThrow(new FeedError('run: last: expected indices in [0, 5), found 5'));
  });

  test('are left to the kernels of the CPU, and to those that compute them', () => {
    const graph = new Graph();
    graph.output('y', rows(graph));
    expect(emit(graph).bounds).toEqual([]);
    const computed = new Graph();
    const table = computed.input('table', 'float32', ['rows', 2]);
    computed.output('y', gatherRows(table, cast(computed.input('at', 'float32', ['N']), 'int64')));
    expect(emit(computed, { provider: 'webgpu' }).bounds).toEqual([]);
  });
});

describe('a session', () => {
  const program = (provider: Provider) => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', ['B', 2]);
    graph.output('y', linear(x, x));
    return emit(graph, { provider });
  };

  test('of another provider refuses a program for the CPU', async () => {
    await expect(Session.create(program('cpu'), { provider: 'webgpu' })).rejects.toThrow(
      new ProviderError('webgpu', 'webgpu: expected a program emitted for it, found one for cpu'),
    );
  });

  test.skipIf(env.WEBGPU === '1')('of webgpu says that there is no GPU, each time', async () => {
    for (let attempt = 0; attempt < 2; attempt++) {
      const error = await Session.create(program('webgpu'), { provider: 'webgpu' }).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(ProviderError);
      expect(error).toMatchObject({
        provider: 'webgpu',
        message: 'webgpu: expected a GPU with a driver (Vulkan, Metal or Direct3D 12)',
      });
      expect((error as ProviderError).cause).toBeInstanceOf(Error);
    }
  });

  test.skipIf(env.WEBGPU === '1')('is not the only thing that needs a GPU', async () => {
    await expect(toDevice(f32(Float32Array.of(1), [1]), 'webgpu')).rejects.toThrow(ProviderError);
  });

  test.runIf(env.WEBGPU === '1')('refuses tensors of another provider', async () => {
    const session = await Session.create(program('webgpu'), { provider: 'webgpu' });
    const x = await toDevice(f32(new Float32Array(4), [2, 2]), 'cpu');
    await expect(session.run({ x })).rejects.toThrow(
      new FeedError('run: x: expected a tensor of webgpu, found one of cpu'),
    );
    await session.dispose();
  });
});
