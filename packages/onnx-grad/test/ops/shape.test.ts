import {
  add,
  cast,
  concat,
  dimension,
  f32,
  Graph,
  gradients,
  i64,
  iota,
  mul,
  reshape,
  type Shape,
  slice,
  split,
  sum,
  transpose,
  type Value,
  zeros,
} from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { checkOperator, evaluate, numbers } from '../support/check.js';
import { at, type Tensor, tabulate } from '../support/tensor.js';

const SIZES = { B: 2, S: 3, T: 5 };

const RESHAPES: readonly { from: Shape; to: Shape; size: readonly number[] }[] = [
  { from: [2, 6], to: [3, 4], size: [3, 4] },
  { from: ['B', 'S', 4], to: ['B*S', 4], size: [6, 4] },
  { from: ['B', 'S', 4], to: ['S', 'B', 4], size: [3, 2, 4] },
  { from: ['B', 'S', 4], to: ['B', 2, 'S', 2], size: [2, 2, 3, 2] },
  { from: ['B', 'S', 4], to: ['4*B*S'], size: [24] },
  { from: [1, 1], to: [], size: [] },
];

test.each(RESHAPES)('reshape $from to $to', async ({ from, to, size }) => {
  await checkOperator({
    name: `reshape ${from} ${to}`,
    sizes: SIZES,
    inputs: { x: from },
    build: ({ x }) => reshape(x as Value, to),
    reference: ({ x }) => ({ shape: size, data: (x as Tensor).data.slice() }),
  });
});

test.each([{ order: [1, 0, 2] }, { order: [2, 0, 1] }, { order: [1, 2, 0] }])(
  'transpose $order',
  async ({ order }) => {
    await checkOperator({
      name: `transpose ${order}`,
      sizes: SIZES,
      inputs: { x: ['B', 'S', 4] },
      build: ({ x }) => transpose(x as Value, order),
      reference: ({ x }) =>
        tabulate(
          order.map((axis) => [2, 3, 4][axis] as number),
          (...index) => at(x as Tensor, ...[0, 1, 2].map((axis) => index[order.indexOf(axis)] as number)),
        ),
    });
  },
);

test.each([
  { axis: 2, start: 0, end: 2 },
  { axis: -1, start: 1, end: 5 },
  { axis: 2, start: 2, end: 3 },
  { axis: 2, start: 0, end: 5 },
])('slice [$start, $end) of axis $axis', async ({ axis, start, end }) => {
  await checkOperator({
    name: `slice ${start} ${end}`,
    sizes: SIZES,
    inputs: { x: ['B', 'S', 5] },
    build: ({ x }) => slice(x as Value, axis, start, end),
    reference: ({ x }) => tabulate([2, 3, end - start], (i, j, k) => at(x as Tensor, i, j, k + start)),
  });
});

test('concat of fixed sizes along the first axis', async () => {
  await checkOperator({
    name: 'concat fixed',
    inputs: { a: [2, 3], b: [1, 3], c: [4, 3] },
    build: ({ a, b, c }) => concat([a, b, c] as Value[], 0),
    reference: ({ a, b, c }) => ({
      shape: [7, 3],
      data: Float64Array.from([a, b, c].flatMap((part) => Array.from((part as Tensor).data))),
    }),
  });
});

test('concat of symbolic sizes, one value twice', async () => {
  await checkOperator({
    name: 'concat symbolic',
    sizes: SIZES,
    inputs: { a: ['S', 2], b: ['B', 2] },
    build: ({ a, b }) => concat([a, b, a] as Value[], 0, 'joined'),
    reference: ({ a, b }) =>
      tabulate([8, 2], (i, j) => {
        if (i < 3) return at(a as Tensor, i, j);
        return i < 5 ? at(b as Tensor, i - 3, j) : at(a as Tensor, i - 5, j);
      }),
  });
});

test('split into parts, one of them unused by the loss', async () => {
  await checkOperator({
    name: 'split',
    sizes: SIZES,
    inputs: { x: [3, 'T'] },
    indices: {
      first: { shape: ['B'], values: [0, 0] },
      second: { shape: ['S'], values: [0, 0, 0] },
    },
    build: ({ x }) => split(x as Value, -1, ['B', 'S'])[1] as Value,
    reference: ({ x }) => tabulate([3, 3], (i, j) => at(x as Tensor, i, j + 2)),
  });
});

test('split returns all parts', async () => {
  await checkOperator({
    name: 'split all',
    inputs: { x: [6, 2] },
    build: ({ x }) => split(x as Value, 0, [1, 3, 2]),
    reference: ({ x }) =>
      [
        [0, 1],
        [1, 3],
        [4, 2],
      ].map(([start, size]) =>
        tabulate([size as number, 2], (i, j) => at(x as Tensor, i + (start as number), j)),
      ),
  });
});

test('sizes, ranges and zeros are known at run time', async () => {
  const results = await evaluate(
    (graph) => {
      const x = graph.input('x', 'float32', ['B', 'S']);
      return {
        count: dimension(graph, 'B*S'),
        fixed: dimension(graph, 12),
        range: iota(graph, 'S'),
        product: iota(graph, 'B*S'),
        zeros: zeros(graph, ['S', 2]),
        same: add(x, zeros(graph, ['B', 1])),
      };
    },
    { x: f32(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]) },
  );
  expect(numbers(results.count)).toEqual([6]);
  expect(results.count?.shape).toEqual([]);
  expect(numbers(results.fixed)).toEqual([12]);
  expect(numbers(results.range)).toEqual([0, 1, 2]);
  expect(numbers(results.product)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(results.zeros?.shape).toEqual([3, 2]);
  expect(numbers(results.zeros)).toEqual([0, 0, 0, 0, 0, 0]);
  expect(numbers(results.same)).toEqual([1, 2, 3, 4, 5, 6]);
});

test('cast converts and stops the gradient', async () => {
  const results = await evaluate(
    (graph) => {
      const n = graph.input('n', 'int64', [3]);
      const x = graph.input('x', 'float32', [3]);
      const rounded = cast(cast(x, 'int32'), 'float32');
      return {
        float: cast(n, 'float32'),
        int: cast(x, 'int32'),
        bool: cast(x, 'bool'),
        dx: gradients(sum(mul(x, rounded)), [x])[0] as Value,
      };
    },
    { n: i64([-2, 0, 7], [3]), x: f32(Float32Array.of(1.9, 0, -2.5), [3]) },
  );
  expect(numbers(results.float)).toEqual([-2, 0, 7]);
  expect(results.int?.dtype).toBe('int32');
  expect(numbers(results.int)).toEqual([1, 0, -2]);
  expect(results.bool?.dtype).toBe('bool');
  expect(numbers(results.bool)).toEqual([1, 0, 1]);
  expect(numbers(results.dx)).toEqual([1, 0, -2]);
});

describe('shape rules', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 'S', 4]);
  const n = graph.input('n', 'int64', ['B', 'S', 4]);

  test.each<[string, () => unknown, string]>([
    ['reshape', () => reshape(x, [-3, -4]), 'reshape: expected sizes or symbols, found -3'],
    [
      'reshape',
      () => reshape(x, ['B', 'S', 5]),
      'reshape: [B, S, 4] and [B, S, 5] have different numbers of elements',
    ],
    ['transpose', () => transpose(x, [0, 1]), 'transpose: [0, 1] is not a permutation of 3 axes'],
    ['transpose', () => transpose(x, [0, 1, 1]), 'transpose: [0, 1, 1] is not a permutation of 3 axes'],
    ['slice', () => slice(x, 2, 1, 6), 'slice: expected 0 <= start < end <= 4, found [1, 6)'],
    ['slice', () => slice(x, 2, -1, 2), 'slice: expected 0 <= start < end <= 4, found [-1, 2)'],
    ['slice', () => slice(x, 3, 0, 1), 'slice: expected an axis in [-3, 3), found 3'],
    ['concat', () => concat([], 0), 'concat: expected at least one value, found none'],
    ['concat', () => concat([x, x], 0), 'concat: the size along a symbolic axis must be given'],
    [
      'concat',
      () => concat([x, graph.input('y', 'float32', ['B', 4, 4])], 2),
      'concat: float32 [B, 4, 4] does not join float32 [B, S, 4] along axis 2',
    ],
    [
      'concat',
      () => concat([x, n], 2),
      'concat: int64 [B, S, 4] does not join float32 [B, S, 4] along axis 2',
    ],
    ['concat', () => concat([x, x], 2, 9), 'concat: expected the size 8 along axis 2, found 9'],
    ['split', () => split(x, 2, [1, 2]), 'split: the sizes [1, 2] do not add up to 4'],
  ])('%s %#', (_, build, message) => {
    expect(build).toThrow(new RangeError(message));
  });

  test('the order of factors does not matter', () => {
    const flat = graph.input('flat', 'float32', ['B*S', 4]);
    expect(add(reshape(x, ['S*B', 4]), flat).shape).toEqual(['B*S', 4]);
    expect(zeros(graph, ['S*B', 6]).shape).toEqual(['B*S', 6]);
  });

  test('the gradient of a slice needs a fixed size along its axis', () => {
    expect(() => gradients(sum(slice(x, 1, 0, 1)), [x])).toThrow(
      'slice: gradients need a fixed size along the axis',
    );
  });
});

test('a slice of a symbolic axis is complete, or an error', async () => {
  const rows = async (count: number) =>
    evaluate((graph) => ({ y: slice(graph.input('x', 'float32', ['B', 2]), 0, 1, 3) }), {
      x: f32(
        Float32Array.from({ length: 2 * count }, (_, i) => i),
        [count, 2],
      ),
    });
  expect(numbers((await rows(4)).y)).toEqual([2, 3, 4, 5]);
  expect(numbers((await rows(3)).y)).toEqual([2, 3, 4, 5]);
  await expect(rows(2)).rejects.toThrow(/out of (data )?bounds|out of range/);
});
