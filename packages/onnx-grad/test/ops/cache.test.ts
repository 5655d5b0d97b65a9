import {
  argMax,
  cachedAttention,
  emit,
  f32,
  Graph,
  gradients,
  type HostTensor,
  Session,
  sum,
  topK,
} from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { type AttentionSizes, referenceAttention, referenceRotary } from '../support/attention.js';
import { evaluate, numbers } from '../support/check.js';
import { random } from '../support/random.js';
import { at, relativeError, type Tensor, tabulate } from '../support/tensor.js';

test('argMax takes the first of equals, topK sorts in descending order', async () => {
  const results = await evaluate(
    (graph) => {
      const x = graph.input('x', 'float32', ['rows', 5]);
      const { values, indices } = topK(x, 3);
      return { highest: argMax(x), values, indices };
    },
    { x: f32(Float32Array.of(1, 7, 3, 7, 0, -1, -5, -2, -9, -3), [2, 5]) },
  );
  expect(numbers(results.highest)).toEqual([1, 0]);
  expect(results.highest?.dtype).toBe('int64');
  expect(numbers(results.values)).toEqual([7, 7, 3, -1, -2, -3]);
  expect(numbers(results.indices)).toEqual([1, 3, 2, 0, 2, 4]);
});

describe.each([
  { heads: 4, kvHeads: 2, headDim: 16, rotate: true },
  { heads: 3, kvHeads: 3, headDim: 8, rotate: false },
])('cachedAttention, $heads heads on $kvHeads, rotation $rotate', ({ rotate, ...sizes }) => {
  const CAPACITY = 7;
  const { heads, kvHeads, headDim } = sizes;
  const angles = (f: (x: number) => number): Tensor =>
    tabulate([CAPACITY, headDim / 2], (position, i) =>
      Math.fround(f((position as number) / 100 ** ((2 * (i as number)) / headDim))),
    );
  const cos = angles(Math.cos);
  const sin = angles(Math.sin);
  const host = ({ shape, data }: Tensor): HostTensor => f32(Float32Array.from(data), shape);

  async function session() {
    const graph = new Graph();
    const float = (name: string, ...shape: (string | number)[]) => graph.input(name, 'float32', shape);
    const { result, keys, values } = cachedAttention(
      {
        q: float('q', 'batch', 'length', heads * headDim),
        k: float('k', 'batch', 'length', kvHeads * headDim),
        v: float('v', 'batch', 'length', kvHeads * headDim),
        pastKeys: float('past_keys', 'batch', kvHeads, CAPACITY, headDim),
        pastValues: float('past_values', 'batch', kvHeads, CAPACITY, headDim),
        lastIndex: graph.input('last_index', 'int32', ['batch']),
        total: graph.input('total', 'int32', []),
        cos: float('cos', CAPACITY, headDim / 2),
        sin: float('sin', CAPACITY, headDim / 2),
      },
      { heads, kvHeads, rotate },
    );
    graph.output('result', result);
    graph.output('keys', keys);
    graph.output('values', values);
    return Session.create(emit(graph));
  }

  /** One row after another: prefill of uneven lengths, then one joint step. */
  test('prefill and ragged steps give the results of whole sequences', async () => {
    const source = random(`cached ${heads}`);
    const draw = (length: number, width: number): Tensor =>
      tabulate([1, length, width], () => Math.fround(source.normal()));
    const lengths = [3, 5];
    const rows = lengths.map((length) => ({
      length,
      q: draw(length + 1, heads * headDim),
      k: draw(length + 1, kvHeads * headDim),
      v: draw(length + 1, kvHeads * headDim),
    }));
    const cut = (x: Tensor, start: number, end: number): Tensor =>
      tabulate([1, end - start, x.shape[2] as number], (_, i, j) =>
        at(x, 0, (i as number) + start, j as number),
      );
    const expected = rows.map(({ q, k, v }) => {
      const turn = (x: Tensor) => (rotate ? referenceRotary(x, (_, token) => token, cos, sin) : x);
      const causal = (_: number, query: number, key: number) => (key <= query ? 0 : -Infinity);
      return referenceAttention(turn(q), turn(k), v, causal, sizes as AttentionSizes);
    });

    const ready = await session();
    ready.bind(rotate ? { cos: host(cos), sin: host(sin) } : {});
    const cacheSize = kvHeads * CAPACITY * headDim;
    const cache = { keys: new Float32Array(2 * cacheSize), values: new Float32Array(2 * cacheSize) };
    const int32 = (values: number[], shape: number[]): HostTensor => ({
      dtype: 'int32',
      shape,
      data: Int32Array.from(values),
    });
    for (const [row, { length, q, k, v }] of rows.entries()) {
      const past = (all: Float32Array) =>
        f32(all.slice(row * cacheSize, (row + 1) * cacheSize), [1, kvHeads, CAPACITY, headDim]);
      const results = await ready.run({
        q: host(cut(q, 0, length)),
        k: host(cut(k, 0, length)),
        v: host(cut(v, 0, length)),
        past_keys: past(cache.keys),
        past_values: past(cache.values),
        last_index: int32([length - 1], [1]),
        total: int32([length], []),
      });
      const whole = cut(expected[row] as Tensor, 0, length);
      expect(relativeError(numbers(results.result), whole.data)).toBeLessThan(1e-6);
      cache.keys.set(numbers(results.keys), row * cacheSize);
      cache.values.set(numbers(results.values), row * cacheSize);
    }
    const join = (pick: (row: (typeof rows)[number]) => Tensor): HostTensor => {
      const last = rows.map((row) => cut(pick(row), row.length, row.length + 1));
      const width = last[0]?.shape[2] as number;
      return f32(Float32Array.from(last.flatMap(({ data }) => Array.from(data))), [2, 1, width]);
    };
    const results = await ready.run({
      q: join(({ q }) => q),
      k: join(({ k }) => k),
      v: join(({ v }) => v),
      past_keys: f32(cache.keys, [2, kvHeads, CAPACITY, headDim]),
      past_values: f32(cache.values, [2, kvHeads, CAPACITY, headDim]),
      last_index: int32(lengths, [2]),
      total: int32([Math.max(...lengths) + 1], []),
    });
    const steps = expected.flatMap((row, i) =>
      Array.from(cut(row, lengths[i] as number, (lengths[i] as number) + 1).data),
    );
    expect(relativeError(numbers(results.result), steps)).toBeLessThan(1e-6);
    await ready.dispose();
  });

  test('carries no gradient', () => {
    const graph = new Graph();
    const q = graph.input('q', 'float32', [1, 1, heads * headDim]);
    const kv = graph.input('kv', 'float32', [1, 1, kvHeads * headDim]);
    const past = graph.input('past', 'float32', [1, kvHeads, CAPACITY, headDim]);
    const count = (name: string, ...shape: number[]) => graph.input(name, 'int32', shape);
    const tables = graph.input('tables', 'float32', [CAPACITY, headDim / 2]);
    const { result } = cachedAttention(
      {
        q,
        k: kv,
        v: kv,
        pastKeys: past,
        pastValues: past,
        lastIndex: count('last', 1),
        total: count('total'),
        cos: tables,
        sin: tables,
      },
      { heads, kvHeads, rotate },
    );
    expect(gradients(sum(result), [q])[0]?.node?.operator.name).toBe('zeros');
  });
});
