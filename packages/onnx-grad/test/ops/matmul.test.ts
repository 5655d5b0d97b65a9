import { f32, floats, Graph, gemm, gradients, linear, matmul, type Shape, sum, type Value } from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { checkOperator, evaluate } from '../support/check.js';
import { at, sumOver, type Tensor, tabulate } from '../support/tensor.js';

const COMBINATIONS = [false, true].flatMap((transA) => [false, true].map((transB) => ({ transA, transB })));
const turned = (transposed: boolean, rows: Shape[number], columns: Shape[number]): Shape =>
  transposed ? [columns, rows] : [rows, columns];

/** Element (i, j) of the product of two optionally transposed matrices with the same leading indices. */
const product = (
  a: Tensor,
  b: Tensor,
  { transA, transB }: { transA: boolean; transB: boolean },
  inner: number,
  batch: readonly number[],
  i: number,
  j: number,
) =>
  sumOver(
    inner,
    (k) => at(a, ...batch, ...(transA ? [k, i] : [i, k])) * at(b, ...batch, ...(transB ? [j, k] : [k, j])),
  );

describe.each(COMBINATIONS)('gemm, transA $transA, transB $transB', (options) => {
  test.each<{ c: Shape | undefined }>([{ c: undefined }, { c: [5] }, { c: [1, 5] }, { c: ['M', 5] }])(
    'additive operand $c',
    async ({ c }) => {
      await checkOperator({
        name: `gemm ${JSON.stringify(options)} ${c}`,
        sizes: { M: 3 },
        inputs: {
          a: turned(options.transA, 'M', 4),
          b: turned(options.transB, 4, 5),
          ...(c && { c }),
        },
        build: (x) => gemm(x.a as Value, x.b as Value, { ...options, ...(x.c && { c: x.c }) }),
        reference: (x) =>
          tabulate(
            [3, 5],
            (i, j) => product(x.a as Tensor, x.b as Tensor, options, 4, [], i, j) + (x.c ? at(x.c, i, j) : 0),
          ),
      });
    },
  );

  test.each([{ batch: [] }, { batch: [2] }, { batch: ['B', 3] }])(
    'matmul over batch $batch',
    async ({ batch }) => {
      await checkOperator({
        name: `matmul ${JSON.stringify(options)} ${batch}`,
        sizes: { B: 2, K: 4 },
        inputs: {
          a: [...batch, ...turned(options.transA, 3, 'K')],
          b: [...batch, ...turned(options.transB, 'K', 5)],
        },
        build: (x) => matmul(x.a as Value, x.b as Value, { ...options, alpha: 0.7 }),
        reference: (x) => {
          const leading = batch.map((dim) => (typeof dim === 'number' ? dim : 2));
          return tabulate(
            [...leading, 3, 5],
            (...index) =>
              // The attribute is a float32.
              Math.fround(0.7) *
              product(
                x.a as Tensor,
                x.b as Tensor,
                options,
                4,
                index.slice(0, -2),
                index.at(-2) as number,
                index.at(-1) as number,
              ),
          );
        },
      });
    },
  );
});

test('linear takes weights as checkpoints store them: [out, in]', async () => {
  const results = await evaluate(
    (graph) => {
      const x = graph.input('x', 'float32', ['rows', 2]);
      const weight = graph.input('weight', 'float32', [3, 2]);
      return { y: linear(x, weight, graph.input('bias', 'float32', [3])), plain: linear(x, weight) };
    },
    {
      x: f32(Float32Array.of(1, 2), [1, 2]),
      weight: f32(Float32Array.of(1, 0, 0, 1, 10, 100), [3, 2]),
      bias: f32(Float32Array.of(0.5, 0.25, -1), [3]),
    },
  );
  expect(Array.from(floats(results.y))).toEqual([1.5, 2.25, 209]);
  expect(Array.from(floats(results.plain))).toEqual([1, 2, 210]);
});

test('a matrix times itself gets both halves of the gradient', async () => {
  await checkOperator({
    name: 'square',
    inputs: { a: [4, 4] },
    build: ({ a }) => gemm(a as Value, a as Value, { transB: true }),
    reference: ({ a }) =>
      tabulate([4, 4], (i, j) => sumOver(4, (k) => at(a as Tensor, i, k) * at(a as Tensor, j, k))),
  });
});

describe('shape rules', () => {
  const graph = new Graph();
  const matrix = (name: string, ...shape: Shape) => graph.input(name, 'float32', shape);
  const a = matrix('a', 'B', 4);
  const b = matrix('b', 5, 4);
  const cube = matrix('cube', 2, 3, 4);

  test('are checked when the program is built', () => {
    expect(() => gemm(a, b)).toThrow(new RangeError('gemm: inner sizes of [B, 4] and [5, 4] differ'));
    expect(() => gemm(a, cube)).toThrow(
      new RangeError('gemm: expected matrices, found [B, 4] and [2, 3, 4]'),
    );
    expect(() => matmul(cube, b)).toThrow(
      new RangeError('matmul: expected equal batch dimensions, found [2, 3, 4] and [5, 4]'),
    );
    expect(() => matmul(cube, matrix('other', 2, 5, 3))).toThrow(
      new RangeError('matmul: inner sizes of [2, 3, 4] and [2, 5, 3] differ'),
    );
    expect(() => gemm(a, b, { transB: true, c: matrix('c', 4) })).toThrow(
      new RangeError('gemm: shapes [B, 5] and [4] do not broadcast'),
    );
    expect(() => gemm(a, b, { transB: true, c: cube })).toThrow('gemm: shapes [B, 5] and [2, 3, 4] do not');
    expect(() => gemm(a, b, { transB: true, c: matrix('stack', 2, 'B', 5) })).toThrow(
      new RangeError('gemm: expected an additive operand that broadcasts to [B, 5], found [2, B, 5]'),
    );
    expect(() => matmul(b, matrix('vector', 4))).toThrow(
      new RangeError('matmul: expected equal batch dimensions, found [5, 4] and [4]'),
    );
    expect(gemm(a, b, { transB: true }).shape).toEqual(['B', 5]);
  });

  test('a loss from another graph is refused', () => {
    const other = new Graph().input('x', 'float32', [4, 4]);
    expect(() => gemm(a, other)).toThrow('gemm: an argument belongs to another graph');
    expect(() => gradients(sum(a), [other])).toThrow('gradients: x belongs to another graph');
  });
});
