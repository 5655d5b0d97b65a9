import { f32, Graph, gradients, sum, swiglu, type Value } from 'onnx-grad';
import { expect, test } from 'vitest';
import { checkOperator, evaluate, numbers } from '../support/check.js';
import { at, type Tensor, tabulate } from '../support/tensor.js';

test.each([1, 8])('swiglu at scale %d', async (scale) => {
  await checkOperator({
    name: `swiglu ${scale}`,
    sizes: { B: 3 },
    inputs: {
      gate: { shape: ['B', 5], sample: (random) => scale * random.normal() },
      up: ['B', 5],
    },
    build: ({ gate, up }) => swiglu(gate as Value, up as Value),
    reference: ({ gate, up }) =>
      tabulate([3, 5], (...i) => {
        const x = at(gate as Tensor, ...i);
        return (x / (1 + Math.exp(-x))) * at(up as Tensor, ...i);
      }),
  });
});

test('far from zero the gate is open or closed', async () => {
  const results = await evaluate(
    (graph) => {
      const [gate, up] = ['gate', 'up'].map((name) => graph.input(name, 'float32', [4])) as [Value, Value];
      const y = swiglu(gate, up);
      const [dgate, dup] = gradients(sum(y), [gate, up]) as [Value, Value];
      return { y, dgate, dup };
    },
    { gate: f32(Float32Array.of(-1e4, -80, 80, 1024), [4]), up: f32(Float32Array.of(2, 2, 2, 2), [4]) },
  );
  const close = (found: readonly number[], expected: readonly number[]) => {
    for (const [i, value] of expected.entries()) expect(found[i]).toBeCloseTo(value, 5);
  };
  close(numbers(results.y), [0, 0, 160, 2048]);
  close(numbers(results.dgate), [0, 0, 2, 2]);
  close(numbers(results.dup), [0, 0, 80, 1024]);
});

test('unequal shapes are refused', () => {
  const graph = new Graph();
  const gate = graph.input('gate', 'float32', ['B', 6]);
  expect(() => swiglu(gate, graph.input('up', 'float32', ['B', 5]))).toThrow(
    new RangeError('swiglu: expected equal shapes, found [B, 6] and [B, 5]'),
  );
});
