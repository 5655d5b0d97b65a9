import { AdamW, GradientAccumulator, OptimError } from 'onnx-grad/optim';
import { describe, expect, test } from 'vitest';
import { LENGTHS, randomTensor, relativeError } from './random.js';

/** Tokens of eight examples of unequal length. Each token has a gradient; a batch's is the mean over its tokens. */
const TOKENS = [3, 11, 1, 7, 5, 2, 13, 4];
const TOTAL = TOKENS.reduce((a, b) => a + b);

function meanGradient(examples: readonly number[]): { gradients: Map<string, Float32Array>; tokens: number } {
  const tokens = examples.reduce((sum, example) => sum + (TOKENS[example] as number), 0);
  const gradients = new Map<string, Float32Array>();
  for (const [index, [name, length]] of LENGTHS.entries()) {
    const sum = new Float64Array(length);
    for (const example of examples) {
      for (let token = 0; token < (TOKENS[example] as number); token++) {
        const one = randomTensor(10_000 * example + 100 * token + index, length);
        for (let i = 0; i < length; i++) sum[i] = (sum[i] as number) + (one[i] as number) / tokens;
      }
    }
    gradients.set(name, Float32Array.from(sum));
  }
  return { gradients, tokens };
}

describe('GradientAccumulator', () => {
  test('eight batches of one give the gradients and the update of one batch of eight', () => {
    const whole = meanGradient([0, 1, 2, 3, 4, 5, 6, 7]).gradients;
    const accumulator = new GradientAccumulator();
    TOKENS.forEach((_, example) => {
      const { gradients, tokens } = meanGradient([example]);
      accumulator.add(gradients, tokens / TOTAL);
    });
    const update = (gradients: ReadonlyMap<string, Float32Array>) => {
      const parameters = new Map(LENGTHS.map(([name, length]) => [name, new Float32Array(length)]));
      new AdamW({ epsilon: 1e-3 }).step(parameters, gradients, { learningRate: 1 });
      return parameters;
    };
    const updates = [update(accumulator.result()), update(whole)] as const;
    for (const [name] of LENGTHS) {
      const [a, b] = [accumulator.result().get(name), whole.get(name)] as [Float32Array, Float32Array];
      expect(relativeError(a, b), name).toBeLessThan(1e-6);
      const changes = updates.map((update) => update.get(name) as Float32Array) as [
        Float32Array,
        Float32Array,
      ];
      expect(relativeError(...changes), name).toBeLessThan(2e-6);
    }
  });

  test('starts again after a reset and forgets tensors that no longer occur', () => {
    const accumulator = new GradientAccumulator();
    accumulator.add(
      new Map([
        ['a', Float32Array.of(1, 2, 3)],
        ['b', Float32Array.of(5)],
      ]),
    );
    accumulator.add(new Map([['a', Float32Array.of(10, 20, 30)]]), 0.5);
    expect(Object.fromEntries(accumulator.result())).toEqual({
      a: Float32Array.of(6, 12, 18),
      b: Float32Array.of(5),
    });
    accumulator.reset();
    expect(accumulator.result().size).toBe(0);
    const gradient = Float32Array.of(7, 8, 9);
    accumulator.add(new Map([['a', gradient]]), 2);
    expect(Object.fromEntries(accumulator.result())).toEqual({ a: Float32Array.of(14, 16, 18) });
    expect(gradient).toEqual(Float32Array.of(7, 8, 9));
  });

  test('refuses unequal lengths and weights, before anything is added', () => {
    const accumulator = new GradientAccumulator();
    accumulator.add(
      new Map([
        ['a', Float32Array.of(1)],
        ['b', Float32Array.of(1, 2)],
      ]),
    );
    const bad = () =>
      accumulator.add(
        new Map([
          ['a', Float32Array.of(1)],
          ['b', Float32Array.of(1)],
        ]),
      );
    expect(bad).toThrow(OptimError);
    expect(bad).toThrow('GradientAccumulator.add: b: expected 2 elements, found 1 elements');
    expect(() => accumulator.add(new Map([['a', Float32Array.of(1)]]), Number.NaN)).toThrow('weight');
    expect(accumulator.result().get('a')).toEqual(Float32Array.of(1));
  });
});
