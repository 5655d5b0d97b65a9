import {
  argMax,
  cachedAttention,
  emit,
  type Feeds,
  f32,
  floats,
  Graph,
  gradients,
  type HostTensor,
  promptAttention,
  Session,
  sum,
  topK,
} from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { referenceAttention, referenceRotary } from '../support/attention.js';
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

const host = ({ shape, data }: Tensor): HostTensor => f32(Float32Array.from(data), shape);
const int32 = (values: number[], shape: number[]): HostTensor => ({
  dtype: 'int32',
  shape,
  data: Int32Array.from(values),
});

/** Tokens `start` to `end` of x [1, length, width]. */
const cut = (x: Tensor, start: number, end: number): Tensor =>
  tabulate([1, end - start, x.shape[2] as number], (_, i, j) => at(x, 0, (i as number) + start, j as number));

/** The columns of tensors of equal length side by side. */
const sideBySide = (parts: readonly Tensor[]): Tensor => {
  const columns = parts.flatMap((part) =>
    Array.from({ length: part.shape[2] as number }, (_, column) => ({ part, column })),
  );
  return tabulate([1, parts[0]?.shape[1] as number, columns.length], (_, i, j) => {
    const { part, column } = columns[j as number] as (typeof columns)[number];
    return at(part, 0, i as number, column);
  });
};

/** Rows of uneven length, padded on the right with a value that must not matter. */
const padded = (rows: readonly Tensor[], length: number): HostTensor => {
  const width = rows[0]?.shape[2] as number;
  const data = new Float32Array(rows.length * length * width).fill(77);
  for (const [row, x] of rows.entries()) data.set(x.data, row * length * width);
  return f32(data, [rows.length, length, width]);
};

const CAPACITY = 7;

describe.each([
  { heads: 4, kvHeads: 2, headDim: 16, rotate: true, packed: false },
  { heads: 4, kvHeads: 2, headDim: 16, rotate: true, packed: true },
  { heads: 3, kvHeads: 1, headDim: 32, rotate: true, packed: true },
  { heads: 3, kvHeads: 3, headDim: 8, rotate: false, packed: false },
  { heads: 6, kvHeads: 2, headDim: 24, rotate: false, packed: false },
])('$heads heads of $headDim on $kvHeads, rotation $rotate, side by side $packed', (sizes) => {
  const { heads, kvHeads, headDim, rotate, packed } = sizes;
  const widths = { q: heads * headDim, k: kvHeads * headDim, v: kvHeads * headDim };
  const width = widths.q + widths.k + widths.v;
  const angles = (f: (x: number) => number): Tensor =>
    tabulate([CAPACITY, headDim / 2], (position, i) =>
      Math.fround(f((position as number) / 100 ** ((2 * (i as number)) / headDim))),
    );
  const cos = angles(Math.cos);
  const sin = angles(Math.sin);

  interface Row {
    q: Tensor;
    k: Tensor;
    v: Tensor;
  }
  const source = random(`cached ${heads}`);
  /** q, k and v of one sequence. */
  const draw = (length: number): Row => {
    const one = (columns: number) => tabulate([1, length, columns], () => Math.fround(source.normal()));
    return { q: one(widths.q), k: one(widths.k), v: one(widths.v) };
  };
  /** What a whole sequence gives. */
  const expectedOf = ({ q, k, v }: Row): Tensor => {
    const turn = (x: Tensor) => (rotate ? referenceRotary(x, (_, token) => token, cos, sin) : x);
    const causal = (_: number, query: number, key: number) => (key <= query ? 0 : -Infinity);
    return referenceAttention(turn(q), turn(k), v, causal, sizes);
  };

  const inputsIn = (graph: Graph) => {
    const float = (name: string, ...shape: (string | number)[]) => graph.input(name, 'float32', shape);
    return {
      ...(packed
        ? { q: float('qkv', 'batch', 'length', width) }
        : {
            q: float('q', 'batch', 'length', widths.q),
            k: float('k', 'batch', 'length', widths.k),
            v: float('v', 'batch', 'length', widths.v),
          }),
      lastIndex: graph.input('last_index', 'int32', ['batch']),
      total: graph.input('total', 'int32', []),
      cos: float('cos', CAPACITY, headDim / 2),
      sin: float('sin', CAPACITY, headDim / 2),
    };
  };
  const tables: Feeds = rotate ? { cos: host(cos), sin: host(sin) } : {};
  /** The feeds for q, k and v of `rows`. */
  const fed = (rows: readonly Row[], length: number): Feeds => {
    const all = (pick: (row: Row) => Tensor) => padded(rows.map(pick), length);
    return packed
      ? { qkv: all(({ q, k, v }) => sideBySide([q, k, v])) }
      : { q: all(({ q }) => q), k: all(({ k }) => k), v: all(({ v }) => v) };
  };

  test('promptAttention gives the results of sequences by themselves, whatever the padding', async () => {
    const graph = new Graph();
    graph.output('result', promptAttention(inputsIn(graph), { heads, kvHeads, rotate }));
    const session = await Session.create(emit(graph));
    session.bind(tables);
    const lengths = [3, 6, 1, 5];
    const rows = lengths.map(draw);
    const length = Math.max(...lengths);
    const { result } = await session.run({
      ...fed(rows, length),
      last_index: int32(
        lengths.map((n) => n - 1),
        [rows.length],
      ),
      total: int32([length], []),
    });
    expect(result?.shape).toEqual([rows.length, length, widths.q]);
    for (const [i, row] of rows.entries()) {
      const start = i * length * widths.q;
      const found = floats(result).subarray(start, start + (lengths[i] as number) * widths.q);
      expect(relativeError(found, expectedOf(row).data)).toBeLessThan(1e-6);
    }
    await session.dispose();
  });

  /** One row after another: prefill of uneven lengths, then one joint step. */
  test('cachedAttention gives the results of whole sequences, in prefill and ragged steps', async () => {
    const graph = new Graph();
    const cacheShape = ['batch', kvHeads, CAPACITY, headDim];
    const { result, keys, values } = cachedAttention(
      {
        ...inputsIn(graph),
        pastKeys: graph.input('past_keys', 'float32', cacheShape),
        pastValues: graph.input('past_values', 'float32', cacheShape),
      },
      { heads, kvHeads, rotate },
    );
    graph.output('result', result);
    graph.output('keys', keys);
    graph.output('values', values);
    const session = await Session.create(emit(graph));
    session.bind(tables);

    const lengths = [3, 5];
    const rows = lengths.map((length) => draw(length + 1));
    const expected = rows.map(expectedOf);
    const part = ({ q, k, v }: Row, start: number, end: number): Row => ({
      q: cut(q, start, end),
      k: cut(k, start, end),
      v: cut(v, start, end),
    });
    const cacheSize = kvHeads * CAPACITY * headDim;
    const cache = { keys: new Float32Array(2 * cacheSize), values: new Float32Array(2 * cacheSize) };
    for (const [i, row] of rows.entries()) {
      const length = lengths[i] as number;
      const past = (all: Float32Array) =>
        f32(all.slice(i * cacheSize, (i + 1) * cacheSize), [1, kvHeads, CAPACITY, headDim]);
      const results = await session.run({
        ...fed([part(row, 0, length)], length),
        past_keys: past(cache.keys),
        past_values: past(cache.values),
        last_index: int32([length - 1], [1]),
        total: int32([length], []),
      });
      const whole = cut(expected[i] as Tensor, 0, length);
      expect(relativeError(numbers(results.result), whole.data)).toBeLessThan(1e-6);
      cache.keys.set(numbers(results.keys), i * cacheSize);
      cache.values.set(numbers(results.values), i * cacheSize);
    }
    const last = rows.map((row, i) => part(row, lengths[i] as number, (lengths[i] as number) + 1));
    const results = await session.run({
      ...fed(last, 1),
      past_keys: f32(cache.keys, [2, kvHeads, CAPACITY, headDim]),
      past_values: f32(cache.values, [2, kvHeads, CAPACITY, headDim]),
      last_index: int32(lengths, [2]),
      total: int32([Math.max(...lengths) + 1], []),
    });
    const steps = expected.flatMap((row, i) =>
      Array.from(cut(row, lengths[i] as number, (lengths[i] as number) + 1).data),
    );
    expect(relativeError(numbers(results.result), steps)).toBeLessThan(1e-6);
    await session.dispose();
  });

  test('cachedAttention carries no gradient', () => {
    const graph = new Graph();
    const inputs = inputsIn(graph);
    const past = graph.input('past', 'float32', ['batch', kvHeads, CAPACITY, headDim]);
    const { result } = cachedAttention(
      { ...inputs, pastKeys: past, pastValues: past },
      { heads, kvHeads, rotate },
    );
    expect(gradients(sum(result), [inputs.q])[0]?.node?.operator.name).toBe('zeros');
  });
});

describe('attention refuses', () => {
  const build = (widths: { q: number; k?: number; v?: number }, rotate = true) => {
    const graph = new Graph();
    const float = (name: string, width: number | undefined) =>
      width === undefined ? undefined : graph.input(name, 'float32', ['batch', 5, width]);
    const tables = graph.input('tables', 'float32', [CAPACITY, 8]);
    const inputs = {
      q: graph.input('q', 'float32', ['batch', 5, widths.q]),
      k: float('k', widths.k),
      v: float('v', widths.v),
      lastIndex: graph.input('last_index', 'int32', ['batch']),
      total: graph.input('total', 'int32', []),
      cos: tables,
      sin: tables,
    };
    const past = graph.input('past', 'float32', ['batch', 2, CAPACITY, 16]);
    const options = { heads: 4, kvHeads: 2, rotate };
    return [
      () => promptAttention(inputs, options),
      () => cachedAttention({ ...inputs, pastKeys: past, pastValues: past }, options),
    ];
  };

  test.each([
    // 4 + 2 * 2 heads of 12.5: the result alone would have a whole width, 50.
    [{ q: 100 }, RangeError, 'attention: expected [batch, length, 4 + 2 * 2 heads], found [batch, 5, 100]'],
    [
      { q: 66, k: 32, v: 32 },
      RangeError,
      'attention: expected [batch, length, 4 heads] and twice [batch, length, 2 heads], ' +
        'found [batch, 5, 66], [batch, 5, 32], [batch, 5, 32]',
    ],
    [
      { q: 64, k: 32, v: 64 },
      RangeError,
      'attention: expected [batch, length, 4 heads] and twice [batch, length, 2 heads], ' +
        'found [batch, 5, 64], [batch, 5, 32], [batch, 5, 64]',
    ],
    [{ q: 64, k: 32 }, TypeError, 'attention: expected both k and v, or none'],
  ])('widths %o', (widths, kind, message) => {
    for (const attend of build(widths)) expect(attend).toThrow(new kind(message));
  });

  test('q, k and v side by side without rotation', () => {
    for (const attend of build({ q: 128 }, false)) {
      expect(attend).toThrow(new TypeError('attention: expected `rotate` with q, k and v side by side'));
    }
  });
});
