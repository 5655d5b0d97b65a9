/** Values in an order: the same numbers and gradients, and programs that cannot compute them in another one. */
import { exp, f32, Graph, gradients, inOrder, liveNodes, mul, sum, tanh, type Value } from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { checkOperator, evaluate, numbers } from '../support/check.js';
import { map } from '../support/tensor.js';

describe('inOrder', () => {
  test.each([[['B', 3] as const], [[2, 3] as const], [[] as const]])('%j', (shape) =>
    checkOperator({
      name: 'inOrder',
      sizes: { B: 4 },
      inputs: { x: shape, y: [5] },
      build({ x, y }) {
        const [done, next] = inOrder(tanh(x as Value), y as Value);
        return [exp(done), tanh(next)];
      },
      reference: ({ x, y }) => [map(x!, (v) => Math.exp(Math.tanh(v))), map(y!, Math.tanh)],
    }),
  );

  /** Two parts of a computation on x: the second starts after the first, and is differentiated before it. */
  function inParts() {
    const graph = new Graph();
    const x = graph.input('x', 'float32', ['B', 3]);
    const first = exp(x);
    const [done, next] = inOrder(first, x);
    const second = tanh(next);
    const loss = sum(mul(done, second));
    const [gradient] = gradients(loss, [x]);
    graph.output('gradient', gradient as Value);
    return { graph, first, second };
  }

  /** Whether a value is computed from another one. */
  const needs = (value: Value, other: Value): boolean =>
    value === other || (value.node?.inputs.some((input) => needs(input, other)) ?? false);

  test('forward, what follows waits for what is done', () => {
    const { first, second } = inParts();
    expect(needs(second, first)).toBe(true);
    expect(needs(first, second)).toBe(false);
  });

  test('backward, the gradient of what is done waits for that of what follows', () => {
    const { graph, second } = inParts();
    const nodes = liveNodes(graph);
    const barriers = nodes.filter(({ operator }) => operator.name === 'barrier');
    expect(barriers).toHaveLength(1);
    // 1 - tanh^2 of the second part is behind the gradient that is waited for.
    expect(needs(barriers[0]!.inputs[1]!, second)).toBe(true);
  });

  test.each([0, 1] as const)('one of the two alone: %i', async (used) => {
    const point = f32(Float32Array.of(3, -1), [2]);
    const { own, other } = await evaluate(
      (graph) => {
        const sources = ['x', 'y'].map((name) => graph.input(name, 'float32', [2]));
        const [x, y] = sources as [Value, Value];
        const loss = sum(mul(inOrder(x, y)[used], sources[used] as Value));
        const found = gradients(loss, sources);
        return { own: found[used] as Value, other: found[1 - used] as Value };
      },
      { x: point, y: point },
    );
    expect(numbers(own)).toEqual([6, -2]);
    expect(numbers(other)).toEqual([0, 0]);
  });
});
