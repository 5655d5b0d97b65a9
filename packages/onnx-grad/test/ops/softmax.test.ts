import {
  crossEntropy,
  f32,
  floats,
  Graph,
  gradients,
  i64,
  logSoftmax,
  mul,
  type Shape,
  softmax,
  sum,
  type Value,
} from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { checkOperator, evaluate, numbers } from '../support/check.js';
import type { Random } from '../support/random.js';
import { at, sumOver, type Tensor, tabulate } from '../support/tensor.js';

/** log(sum_j exp(x[..., j])) with the largest term factored out. */
function logSumExp(x: Tensor, row: readonly number[]): number {
  const classes = x.shape.at(-1) as number;
  const highest = Math.max(...Array.from({ length: classes }, (_, j) => at(x, ...row, j)));
  return highest + Math.log(sumOver(classes, (j) => Math.exp(at(x, ...row, j) - highest)));
}

const logProbability = (x: Tensor, index: readonly number[]) =>
  at(x, ...index) - logSumExp(x, index.slice(0, -1));

const SHAPES: readonly { shape: Shape; size: readonly number[] }[] = [
  { shape: [7], size: [7] },
  { shape: [3, 5], size: [3, 5] },
  { shape: [2, 'S', 'S'], size: [2, 4, 4] },
];

describe.each(SHAPES)('of $shape', ({ shape, size }) => {
  test('softmax', async () => {
    await checkOperator({
      name: `softmax ${shape}`,
      sizes: { S: 4 },
      inputs: { x: shape },
      build: ({ x }) => softmax(x as Value),
      reference: ({ x }) => tabulate(size, (...i) => Math.exp(logProbability(x as Tensor, i))),
    });
  });

  test('logSoftmax', async () => {
    await checkOperator({
      name: `logSoftmax ${shape}`,
      sizes: { S: 4 },
      inputs: { x: shape },
      build: ({ x }) => logSoftmax(x as Value),
      reference: ({ x }) => tabulate(size, (...i) => logProbability(x as Tensor, i)),
    });
  });
});

const TARGETS = [2, 0, 6, 6, 3];
const samplers: Record<string, (random: Random, index: number) => number> = {
  'ordinary logits': (random) => 2 * random.normal(),
  // Exactly representable, so that the float64 reference sees the same numbers.
  'logits of +-80': (random) => (random.uniform() < 0.5 ? -80 : 80) + random.normal(),
  'a target of probability near 1': (_, i) => (i % 7 === TARGETS[Math.floor(i / 7)] ? 10 : 0) + (i % 3) / 8,
};

describe.each(Object.entries(samplers))('crossEntropy of %s', (name, sample) => {
  test('agrees with the log-sum-exp', async () => {
    const logits = { shape: ['rows', 7], sample };
    await checkOperator({
      name: `crossEntropy ${name}`,
      sizes: { rows: 5 },
      inputs: { logits },
      indices: { targets: { shape: ['rows'], values: TARGETS } },
      build: (x) => crossEntropy(x.logits as Value, x.targets as Value),
      reference: ({ logits: x }) =>
        tabulate([5], (row) => -logProbability(x as Tensor, [row, TARGETS[row] as number])),
      // A gradient of p - 1 = -3e-4 is accurate to the spacing of float32 numbers near 1, which is 6e-8.
      ...(name === 'a target of probability near 1' && { tolerance: 1e-3 }),
    });
  });
});

async function crossEntropyOf(rows: readonly (readonly number[])[], targets: readonly number[]) {
  const classes = rows[0]?.length ?? 0;
  return evaluate(
    (graph) => {
      const logits = graph.input('logits', 'float32', ['rows', classes]);
      const loss = crossEntropy(logits, graph.input('targets', 'int64', ['rows']));
      return { loss, gradient: gradients(sum(loss), [logits])[0] as Value };
    },
    {
      logits: f32(Float32Array.from(rows.flat()), [rows.length, classes]),
      targets: i64(targets, [rows.length]),
    },
  );
}

test('crossEntropy at both ends: certain and right, certain and wrong, impossible', async () => {
  const results = await crossEntropyOf(
    [
      [80, -80, -80],
      [80, -80, -80],
      [0, -1e9, 0],
      [1e9, 1e9, 0],
    ],
    [0, 2, 1, 0],
  );
  const loss = numbers(results.loss);
  expect(loss[0]).toBe(0);
  expect(loss[1]).toBe(160);
  expect(loss[2]).toBe(1e9);
  expect(loss.every(Number.isFinite)).toBe(true);
  const gradient = numbers(results.gradient);
  const expected = [0, 0, 0, 1, 0, -1, 0.5, -1, 0.5, -0.5, 0.5, 0];
  for (const [i, value] of gradient.entries()) expect(value).toBeCloseTo(expected[i] as number, 6);
});

test('crossEntropy of equal logits is log(classes), for many classes', async () => {
  const classes = 50_000;
  const row = new Array<number>(classes).fill(-3.5);
  const results = await crossEntropyOf([row, row], [0, classes - 1]);
  for (const value of numbers(results.loss)) expect(value).toBeCloseTo(Math.log(classes), 4);
});

test('softmax of a fully masked row is uniform, not NaN', async () => {
  const results = await evaluate(
    (graph) => {
      const x = graph.input('x', 'float32', [2, 4]);
      const y = softmax(x);
      const weight = graph.constant({ dtype: 'float32', shape: [4], data: Float32Array.of(1, 2, 3, 4) });
      return { y, gradient: gradients(sum(mul(y, weight)), [x])[0] as Value };
    },
    { x: f32(Float32Array.of(-1e9, -1e9, -1e9, -1e9, 0, -1e9, 0, -1e9), [2, 4]) },
  );
  expect(numbers(results.y)).toEqual([0.25, 0.25, 0.25, 0.25, 0.5, 0, 0.5, 0]);
  // y * (w - sum(y w)): the mean of 1..4 is 2.5, that of 1 and 3 is 2.
  expect(Array.from(floats(results.gradient))).toEqual([
    ...[-0.375, -0.125, 0.125, 0.375],
    ...[-0.5, 0, 0.5, 0],
  ]);
});

test('a negative target of crossEntropy counts from the end', async () => {
  const [last, negative] = [await crossEntropyOf([[1, 2, 4]], [2]), await crossEntropyOf([[1, 2, 4]], [-1])];
  expect(numbers(negative.loss)).toEqual(numbers(last.loss));
  expect(numbers(negative.gradient)).toEqual(numbers(last.gradient));
});

test('crossEntropy refuses anything but a matrix of logits with one target per row', () => {
  const graph = new Graph();
  const logits = graph.input('logits', 'float32', ['B', 7]);
  const floatTargets = graph.input('float_targets', 'float32', ['B']);
  const others = graph.input('others', 'int64', ['other']);
  expect(() => crossEntropy(logits, floatTargets)).toThrow(
    'crossEntropy: expected logits [rows, classes] and int64 targets [rows], found [B, 7] and float32 [B]',
  );
  expect(() => crossEntropy(logits, others)).toThrow('found [B, 7] and int64 [other]');
  const column = graph.input('column', 'int64', ['B', 1]);
  expect(() => crossEntropy(logits, column)).toThrow('found [B, 7] and int64 [B, 1]');
});
