import { clipScale, globalNorm, NonFiniteGradientError, OptimError } from 'onnx-grad/optim';
import { describe, expect, test } from 'vitest';
import { LENGTHS, randomTensor } from './random.js';

const tensors = () =>
  new Map(LENGTHS.map(([name, length], i) => [name, randomTensor(7 + i, length)] as const));

describe('globalNorm', () => {
  test('is the root of the sum of all squares', () => {
    expect(
      globalNorm(
        new Map([
          ['a', Float32Array.of(3, -4)],
          ['b', Float32Array.of(12)],
        ]),
      ),
    ).toBe(13);
    expect(globalNorm(new Map())).toBe(0);
    const squares = [...tensors().values()].map((tensor) => tensor.reduce((sum, x) => sum + x * x, 0));
    const expected = Math.sqrt(squares.reduce((a, b) => a + b));
    expect(Math.abs(globalNorm(tensors()) / expected - 1)).toBeLessThan(1e-13);
  });

  test('neither overflows nor underflows', () => {
    const norm = (value: number) => globalNorm(new Map([['w', new Float32Array(9001).fill(value)]]));
    for (const value of [3e38, 1e20, 1, 1e-20, 1e-38, 2 ** -149]) {
      const expected = Math.fround(value) * Math.sqrt(9001);
      expect(Math.abs(norm(value) / expected - 1), String(value)).toBeLessThan(1e-12);
    }
  });

  test('does not lose small elements beside large ones', () => {
    // In float32 a running sum of ones stops at 2^24: 4096^2 + 70000 would be 4096^2.
    const tensor = new Float32Array(70_001).fill(1);
    tensor[0] = 4096;
    expect(globalNorm(new Map([['w', tensor]]))).toBe(Math.sqrt(4096 ** 2 + 70_000));
  });

  test.each([Number.NaN, Infinity, -Infinity])('names every tensor with an element %d', (value) => {
    for (const position of [0, 4096, 8192, 70_000]) {
      const gradients = tensors();
      (gradients.get('matrix') as Float32Array)[position] = value;
      (gradients.get('three') as Float32Array)[2] = value;
      const call = () => globalNorm(gradients);
      expect(call).toThrow(new NonFiniteGradientError(['three', 'matrix']));
      expect(call).toThrow('globalNorm: the gradient is not finite in three, matrix');
    }
  });

  test('keeps the message short when all tensors are bad', () => {
    const error = new NonFiniteGradientError(['a', 'b', 'c', 'd', 'e']);
    expect(error.message).toBe('globalNorm: the gradient is not finite in a, b, c and 2 more');
    expect(error.tensors).toHaveLength(5);
  });
});

describe('clipScale', () => {
  test('is the clip coefficient of torch.nn.utils.clip_grad_norm_', () => {
    // torch 1.13: gradients (3, -4), (12), max_norm 1 become (0.2308, -0.3077), (0.9231).
    const scale = clipScale(13, 1);
    expect(scale).toBe(1 / (13 + 1e-6));
    expect([3, -4, 12].map((g) => (g * scale).toFixed(4))).toEqual(['0.2308', '-0.3077', '0.9231']);
    expect(clipScale(0.5, 1)).toBe(1);
    expect(clipScale(1, 1)).toBe(1 / (1 + 1e-6));
    expect(clipScale(0, 1)).toBe(1);
    expect(clipScale(5, Infinity)).toBe(1);
  });

  test('refuses invalid norms and limits', () => {
    expect(() => clipScale(Number.NaN, 1)).toThrow(OptimError);
    expect(() => clipScale(-1, 1)).toThrow('clipScale: norm: expected a finite number >= 0, found -1');
    expect(() => clipScale(1, 0)).toThrow('clipScale: maxNorm: expected a number > 0, found 0');
  });
});
