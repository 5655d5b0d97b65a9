/** Every operation of the tape: its value on a hand-made case and its gradient against central differences. */
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { numericalGradient, relativeError } from './finite-differences.js';
import * as t from './tape.js';

const random = randomStream(3, 'tape');
const normal = (shape: t.Shape): t.Tensor =>
  t.parameter(
    Array.from({ length: t.sizeOf(shape) }, () => random.normal()),
    shape,
  );
const positive = (shape: t.Shape): t.Tensor =>
  t.parameter(
    Array.from({ length: t.sizeOf(shape) }, () => 0.5 + random.uniform()),
    shape,
  );

/** Differences of sum(result x fixed random weights) with respect to every element of every input. */
function expectGradients(inputs: t.Tensor[], f: (...inputs: t.Tensor[]) => t.Tensor): void {
  const weights = t.constant(Array.from(f(...inputs).data, () => random.normal()));
  const loss = (): t.Tensor => {
    const result = f(...inputs);
    return t.sum(t.mul(t.reshape(result, [result.data.length]), weights));
  };
  for (const [i, gradient] of t.gradients(loss(), inputs).entries()) {
    const expected = numericalGradient(() => loss().item(), inputs[i]!.data);
    expect(relativeError(gradient, expected), `input ${i}`).toBeLessThan(1e-9);
  }
}

const CASES: [string, t.Tensor[], (...inputs: t.Tensor[]) => t.Tensor][] = [
  ['add, broadcast at both ends', [normal([3, 1, 2]), normal([4, 1])], t.add],
  ['sub', [normal([3, 2]), normal([2])], t.sub],
  ['mul', [normal([1, 3]), normal([5, 1])], t.mul],
  ['mul by itself', [normal([3])], (x) => t.mul(x, x)],
  ['div', [normal([2, 3]), positive([3])], t.div],
  ['a scalar operand', [normal([3])], (x) => t.div(2, t.add(t.mul(x, x), 1))],
  ['maximum', [normal([4, 3]), normal([3])], t.maximum],
  ['minimum', [normal([4, 1]), normal([3])], t.minimum],
  ['where', [normal([2, 3]), normal([3])], (a, b) => t.where([true, false, true, false, false, true], a, b)],
  ['neg', [normal([3])], t.neg],
  ['exp', [normal([3, 2])], t.exp],
  ['log', [positive([5])], t.log],
  ['sqrt', [positive([5])], t.sqrt],
  ['sigmoid', [normal([7])], t.sigmoid],
  ['reshape', [normal([2, 6])], (x) => t.reshape(x, [3, 4])],
  ['transpose', [normal([2, 3, 4])], (x) => t.transpose(x, [2, 0, 1])],
  ['slice', [normal([3, 5, 2])], (x) => t.slice(x, -2, 1, 4)],
  ['concat', [normal([2, 1, 3]), normal([2, 4, 3])], (a, b) => t.concat([a, b, a], 1)],
  ['gatherRows', [normal([5, 3])], (x) => t.gatherRows(x, [4, 1, 4, 4])],
  ['pick', [normal([3, 4])], (x) => t.pick(x, [2, 0, 2])],
  ['broadcastTo', [normal([3, 1])], (x) => t.broadcastTo(x, [2, 3, 4])],
  ['sum over some axes', [normal([2, 3, 4])], (x) => t.sum(x, [0, -1])],
  ['sum over all axes', [normal([2, 3])], (x) => t.sum(x)],
  ['mean, axes kept', [normal([2, 3, 4])], (x) => t.mean(x, [1], true)],
  ['softmax', [normal([3, 5])], t.softmax],
  ['logSoftmax', [normal([3, 5])], t.logSoftmax],
  [
    'softmax with masked entries',
    [normal([2, 3])],
    (x) => t.softmax(t.where([true, true, false, false, true, true], x, -Infinity)),
  ],
  ['matmul', [normal([3, 4]), normal([4, 2])], t.matmul],
  ['matmul, batched', [normal([2, 3, 4]), normal([2, 4, 5])], t.matmul],
  ['matmul, batch broadcast', [normal([2, 3, 2, 4]), normal([2, 1, 4, 3])], t.matmul],
  ['matmul, matrix against batch', [normal([3, 4]), normal([2, 4, 2])], t.matmul],
];

test.each(CASES)('gradient of %s', (_, inputs, f) => expectGradients(inputs, f));

describe('values', () => {
  const x = t.constant([1, 2, 3, 4, 5, 6], [2, 3]);
  const values = (tensor: t.Tensor) => ({ shape: tensor.shape, data: Array.from(tensor.data) });

  test('layout', () => {
    expect(values(t.transpose(x, [1, 0]))).toEqual({ shape: [3, 2], data: [1, 4, 2, 5, 3, 6] });
    expect(values(t.slice(x, 1, 1, 3))).toEqual({ shape: [2, 2], data: [2, 3, 5, 6] });
    expect(values(t.concat([x, t.constant([7, 8], [2, 1])], 1))).toEqual({
      shape: [2, 4],
      data: [1, 2, 3, 7, 4, 5, 6, 8],
    });
    expect(values(t.gatherRows(x, [1, 0, 1]))).toEqual({
      shape: [3, 3],
      data: [4, 5, 6, 1, 2, 3, 4, 5, 6],
    });
    expect(values(t.pick(x, [2, 0]))).toEqual({ shape: [2], data: [3, 4] });
    expect(values(t.broadcastTo(t.constant([1, 2], [2, 1]), [2, 2]))).toEqual({
      shape: [2, 2],
      data: [1, 1, 2, 2],
    });
  });

  test('sums, means and products', () => {
    expect(values(t.sum(x, [0]))).toEqual({ shape: [3], data: [5, 7, 9] });
    expect(values(t.mean(x, [1], true))).toEqual({ shape: [2, 1], data: [2, 5] });
    expect(values(t.matmul(x, t.transpose(x, [1, 0])))).toEqual({ shape: [2, 2], data: [14, 32, 32, 77] });
    expect(values(t.maximum(x, 3.5)).data).toEqual([3.5, 3.5, 3.5, 4, 5, 6]);
    expect(values(t.minimum(x, 3.5)).data).toEqual([1, 2, 3, 3.5, 3.5, 3.5]);
    expect(values(t.sub(x, t.constant([1, 2, 3]))).data).toEqual([0, 0, 0, 3, 3, 3]);
  });

  test('softmax and sigmoid do not overflow', () => {
    expect(Array.from(t.softmax(t.constant([1000, 1000 + Math.log(3)])).data)).toEqual([
      expect.closeTo(0.25, 12),
      expect.closeTo(0.75, 12),
    ]);
    expect(Array.from(t.logSoftmax(t.constant([-1000, 0])).data)).toEqual([-1000, 0]);
    expect(Array.from(t.sigmoid(t.constant([-1000, 0, 1000])).data)).toEqual([0, 0.5, 1]);
  });
});

test('a tensor used twice gathers both gradients, a stopped one only the other', () => {
  const x = t.parameter([3], [1]);
  expect(Array.from(t.gradients(t.sum(t.mul(x, t.exp(x))), [x])[0]!)[0]).toBeCloseTo(4 * Math.exp(3), 10);
  expect(Array.from(t.gradients(t.sum(t.mul(x, t.stopGradient(t.exp(x)))), [x])[0]!)[0]).toBeCloseTo(
    Math.exp(3),
    10,
  );
});

test('a tie of maximum shares the gradient equally, as torch does', () => {
  const [a, b] = [t.parameter([2, 1], [2]), t.parameter([2, 5], [2])];
  const [toA, toB] = t.gradients(t.sum(t.maximum(a, b)), [a, b]);
  expect([Array.from(toA!), Array.from(toB!)]).toEqual([
    [0.5, 0],
    [0.5, 1],
  ]);
});

test('what the loss does not depend on has gradient zero', () => {
  const [x, y] = [t.parameter([1, 2], [2]), t.parameter([1, 2, 3], [3])];
  expect(Array.from(t.gradients(t.sum(x), [y])[0]!)).toEqual([0, 0, 0]);
});

test('shapes that do not fit are refused', () => {
  expect(() => t.constant([1, 2, 3], [2, 2])).toThrow('expected 4 elements for [2,2], found 3');
  expect(() => t.add(normal([2, 3]), normal([2]))).toThrow('cannot broadcast [2,3] with [2]');
  expect(() => t.matmul(normal([2, 3]), normal([2, 3]))).toThrow('[2,3] does not fit [2,3]');
  expect(() => t.slice(normal([2, 3]), 1, 1, 4)).toThrow('1..4 is outside of axis 1 of [2,3]');
  expect(() => t.gatherRows(normal([2, 3]), [2])).toThrow('no row 2 in [2,3]');
  expect(() => t.pick(normal([1, 3]), [3])).toThrow('outside of [1,3]');
  expect(() => t.concat([normal([2, 3]), normal([3, 3])], 1)).toThrow('[3,3] does not fit [2,6]');
  expect(() => t.broadcastTo(normal([2]), [1])).toThrow('[2] does not broadcast to [1]');
  expect(() => t.where([true], normal([2]), 0)).toThrow('expected 2 conditions, found 1');
  expect(() => t.transpose(normal([2, 3]), [0, 0])).toThrow('permutation');
  expect(() => t.sum(normal([2]), [1])).toThrow('axis 1 is outside of [2]');
  expect(() => t.gradients(normal([2]), [])).toThrow('expected one element');
});
