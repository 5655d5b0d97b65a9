import { addRmsNorm, f32, floats, Graph, gradients, rmsNorm, sum, type Value } from 'onnx-grad';
import { expect, test } from 'vitest';
import { checkOperator, evaluate, numbers } from '../support/check.js';
import { at, relativeError, sumOver, type Tensor, tabulate } from '../support/tensor.js';

/** The attribute is stored as a float32. */
const reference = (x: Tensor, weight: Tensor, epsilon: number): Tensor => {
  const width = x.shape.at(-1) as number;
  return tabulate(x.shape, (...index) => {
    const row = index.slice(0, -1);
    const meanSquare = sumOver(width, (j) => at(x, ...row, j) ** 2) / width;
    return (
      (at(x, ...index) / Math.sqrt(meanSquare + Math.fround(epsilon))) * at(weight, index.at(-1) as number)
    );
  });
};

test.each([
  { shape: ['B', 'S', 6], size: [2, 3, 6], epsilon: 1e-6, scale: 1 },
  { shape: [5, 6], size: [5, 6], epsilon: 1e-5, scale: 30 },
  // For rows as small as epsilon, epsilon dominates.
  { shape: [5, 6], size: [5, 6], epsilon: 1e-5, scale: 2e-3 },
])('rmsNorm of $shape at scale $scale', async ({ shape, epsilon, scale }) => {
  await checkOperator({
    name: `rmsNorm ${shape} ${scale}`,
    sizes: { B: 2, S: 3 },
    inputs: { x: { shape, sample: (random) => scale * random.normal() }, weight: [6] },
    build: ({ x, weight }) => rmsNorm(x as Value, weight as Value, epsilon),
    reference: ({ x, weight }) => reference(x as Tensor, weight as Tensor, epsilon),
    step: 1e-5 * scale,
  });
});

test('addRmsNorm gives the sum and its norm', async () => {
  const [a, b] = [Float32Array.of(1, -2, 3, 0.5, 4, -1), Float32Array.of(2, 0.25, -1, 3, 1, 1)];
  const weight = Float32Array.of(2, -1, 0.5);
  const results = await evaluate(
    (graph) => {
      const [x, y] = [graph.input('x', 'float32', ['B', 3]), graph.input('y', 'float32', ['B', 3])];
      return { ...addRmsNorm(x, y, graph.input('weight', 'float32', [3]), 1e-6) };
    },
    { x: f32(a, [2, 3]), y: f32(b, [2, 3]), weight: f32(weight, [3]) },
  );
  expect(numbers(results.sum)).toEqual([3, -1.75, 2, 3.5, 5, 0]);
  const sum = { shape: [2, 3], data: Float64Array.of(3, -1.75, 2, 3.5, 5, 0) };
  const expected = reference(sum, { shape: [3], data: Float64Array.from(weight) }, 1e-6);
  expect(relativeError(floats(results.normed), expected.data)).toBeLessThan(1e-6);
});

test('a row of zeros gives zeros and a finite gradient', async () => {
  const results = await evaluate(
    (graph) => {
      const x = graph.input('x', 'float32', [1, 4]);
      const weight = graph.input('weight', 'float32', [4]);
      const y = rmsNorm(x, weight, 1e-6);
      const [dx, dw] = gradients(sum(y), [x, weight]) as [Value, Value];
      return { y, dx, dw };
    },
    { x: f32(new Float32Array(4), [1, 4]), weight: f32(Float32Array.of(1, 2, 3, 4), [4]) },
  );
  expect(numbers(results.y)).toEqual([0, 0, 0, 0]);
  expect(numbers(results.dw)).toEqual([0, 0, 0, 0]);
  for (const [i, value] of numbers(results.dx).entries()) expect(value).toBeCloseTo(1000 * (i + 1), 2);
});

test('a weight of a different width is refused', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 6]);
  expect(() => rmsNorm(x, graph.input('weight', 'float32', [5]), 1e-6)).toThrow(
    new RangeError('rmsNorm: expected a weight of [6], found [5]'),
  );
});

test.each([
  [[4, 5], [6]],
  [[4, 6], [5]],
  [[5, 6], [6]],
] as const)('addRmsNorm refuses %j and a weight of %j', (shape, width) => {
  const graph = new Graph();
  const [x, y] = [graph.input('x', 'float32', [4, 6]), graph.input('y', 'float32', shape)];
  expect(() => addRmsNorm(x, y, graph.input('weight', 'float32', width), 1e-6)).toThrow(
    new RangeError(
      `addRmsNorm: expected two equal shapes and a weight of their width, found [4, 6], [${shape.join(', ')}], [${width}]`,
    ),
  );
});

test('addRmsNorm carries no gradient', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [4, 6]);
  const { normed } = addRmsNorm(x, x, graph.input('weight', 'float32', [6]), 1e-6);
  expect(gradients(sum(normed), [x])[0]?.node?.operator.name).toBe('zeros');
});
