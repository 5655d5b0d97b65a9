import { expand, f32, Graph, gradients, max, mean, mul, type Shape, sum, sumTo, type Value } from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { checkOperator, evaluate, numbers } from '../support/check.js';
import { at, sumOver, type Tensor, tabulate } from '../support/tensor.js';

const SIZES = { B: 4, S: 3 };

/** Sum of the elements of a [2, 3, 4] tensor with the given indices (`undefined`: any). */
function partial(x: Tensor, kept: readonly (number | undefined)[]): number {
  const [n, m, l] = x.shape as [number, number, number];
  return sumOver(n, (i) =>
    sumOver(m, (j) =>
      sumOver(l, (k) =>
        [i, j, k].every((index, axis) => kept[axis] === undefined || kept[axis] === index)
          ? at(x, i, j, k)
          : 0,
      ),
    ),
  );
}

const REDUCTIONS: readonly { axes: readonly number[] | undefined; keep: boolean; size: readonly number[] }[] =
  [
    { axes: undefined, keep: false, size: [] },
    { axes: undefined, keep: true, size: [1, 1, 1] },
    { axes: [-1], keep: true, size: [4, 3, 1] },
    { axes: [0], keep: false, size: [3, 2] },
    { axes: [2, 0], keep: false, size: [3] },
    { axes: [0, 1], keep: true, size: [1, 1, 2] },
  ];

describe.each(REDUCTIONS)('over $axes, kept $keep', ({ axes, keep, size }) => {
  const reduced = (axes ?? [0, 1, 2]).map((axis) => (axis + 3) % 3);
  const reference = (scale: number) => (x: Readonly<Record<string, Tensor>>) =>
    tabulate(size, (...index) => {
      const kept = [0, 1, 2].map((axis) => {
        if (reduced.includes(axis)) return undefined;
        return index[keep ? axis : [0, 1, 2].filter((other) => !reduced.includes(other)).indexOf(axis)];
      });
      return partial(x.x as Tensor, kept) * scale;
    });
  const count = reduced.reduce((n, axis) => n * ([4, 3, 2][axis] as number), 1);

  test.each([
    { name: 'sum', build: sum, scale: 1 },
    { name: 'mean', build: mean, scale: 1 / count },
  ])('$name', async ({ name, build, scale }) => {
    await checkOperator({
      name: `${name} ${axes} ${keep}`,
      sizes: SIZES,
      inputs: { x: ['B', 'S', 2] },
      build: ({ x }) => build(x as Value, axes, keep),
      reference: reference(scale),
    });
  });
});

const BROADCASTS: readonly { from: Shape; to: Shape }[] = [
  { from: [], to: [2, 3] },
  { from: [3], to: ['B', 3] },
  { from: ['B', 1, 3], to: [2, 'B', 'S', 3] },
  { from: [1, 1], to: ['S', 'B'] },
];

describe.each(BROADCASTS)('$from and $to', ({ from, to }) => {
  const sized = (shape: Shape) =>
    shape.map((dim) => (typeof dim === 'number' ? dim : SIZES[dim as 'B' | 'S']));

  test('expand', async () => {
    await checkOperator({
      name: `expand ${from} ${to}`,
      sizes: SIZES,
      inputs: { x: from },
      // The second input has the symbols that x lacks.
      indices: { like: { shape: ['B', 'S'], values: new Array<number>(12).fill(0) } },
      build: ({ x }) => expand(x as Value, to),
      reference: ({ x }) => tabulate(sized(to), (...index) => at(x as Tensor, ...index)),
    });
  });

  test('sumTo', async () => {
    await checkOperator({
      name: `sumTo ${from} ${to}`,
      sizes: SIZES,
      inputs: { x: to },
      build: ({ x }) => sumTo(x as Value, from),
      reference: ({ x }) => {
        const result = tabulate(sized(from), () => 0);
        // The adjoint of broadcasting: every element is added where broadcasting would read it.
        tabulate(sized(to), (...index) => {
          const target = index.slice(to.length - from.length).map((i, axis) => (from[axis] === 1 ? 0 : i));
          const flat = target.reduce((sofar, i, axis) => sofar * (result.shape[axis] as number) + i, 0);
          result.data[flat] = (result.data[flat] as number) + at(x as Tensor, ...index);
          return 0;
        });
        return result;
      },
    });
  });
});

test('max has no gradient', async () => {
  const results = await evaluate(
    (graph) => {
      const x = graph.input('x', 'float32', [2, 3]);
      const highest = max(x, [-1], true);
      return { highest, all: max(x), dx: gradients(sum(mul(x, highest)), [x])[0] as Value };
    },
    { x: f32(Float32Array.of(1, 5, 2, -3, -7, -4), [2, 3]) },
  );
  expect(numbers(results.highest)).toEqual([5, -3]);
  expect(numbers(results.all)).toEqual([5]);
  expect(numbers(results.dx)).toEqual([5, 5, 5, -3, -3, -3]);
});

test('invalid and repeated axes are refused', () => {
  const x = new Graph().input('x', 'float32', [2, 3]);
  expect(() => sum(x, [2])).toThrow(new RangeError('sum: expected an axis in [-2, 2), found 2'));
  expect(() => sum(x, [-3])).toThrow(new RangeError('sum: expected an axis in [-2, 2), found -3'));
  expect(() => sum(x, [0.5])).toThrow(RangeError);
  expect(() => sum(x, [1, -1])).toThrow(new RangeError('sum: the axis 1 is given twice'));
  expect(() => expand(x, [3, 3])).toThrow(
    new RangeError('expand: shapes [2, 3] and [3, 3] do not broadcast'),
  );
  expect(() => expand(x, [1, 3])).toThrow(new RangeError('expand: [2, 3] does not broadcast to [1, 3]'));
});
