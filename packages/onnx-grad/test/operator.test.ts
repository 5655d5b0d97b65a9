/** Operands and results as tuples: numbers are checked where a node is appended. */
import { add, Graph, linear, split } from 'onnx-grad';
import { expect, test } from 'vitest';

function nodes() {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [3, 3]);
  const node = (y = x) => {
    if (y.node === undefined) throw new Error('expected a result');
    return y.node;
  };
  return { graph, x, sum: node(add(x, x)), product: node(linear(x, x)) };
}

test('a node takes the operands that its operator declares', () => {
  const { graph, x, sum, product } = nodes();
  expect(graph.apply(sum.operator, [x, x], sum.attributes)[0]?.shape).toEqual([3, 3]);
  expect(() => graph.apply(sum.operator, [x], sum.attributes)).toThrow(
    new RangeError('add: expected the values a, b, found 1'),
  );
  expect(() => graph.apply(sum.operator, [x, x, x], sum.attributes)).toThrow(
    new RangeError('add: expected the values a, b, found 3'),
  );
  // The third one is optional.
  expect(graph.apply(product.operator, [x, x, x], product.attributes)).toHaveLength(1);
  expect(() => graph.apply(product.operator, [x, x, x, x], product.attributes)).toThrow(
    new RangeError('gemm: expected the values a, b, c?, found 4'),
  );
});

test('an operator of any number of results has at least one', () => {
  const { graph, x } = nodes();
  expect(split(x, 0, [1, 2]).map(({ shape }) => shape)).toEqual([
    [1, 3],
    [2, 3],
  ]);
  expect(() => split(graph.input('y', 'float32', ['B']), 0, [])).toThrow(
    new RangeError('split: expected at least one size, found none'),
  );
});
