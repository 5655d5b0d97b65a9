import { AdamW, type AdamWOptions, OptimError } from 'onnx-grad/optim';
import { describe, expect, test } from 'vitest';
import { LENGTHS, randomTensor, relativeError } from './random.js';

const parametersOf = () =>
  new Map(LENGTHS.map(([name, length], i) => [name, randomTensor(100 + i, length)] as const));
const gradientsOf = (step: number) =>
  new Map(LENGTHS.map(([name, length], i) => [name, randomTensor(1000 * step + i, length, 0.02)] as const));
const bytes = (array: Float32Array | undefined) => Buffer.from((array as Float32Array).slice().buffer);

/** AdamW in float64, written from the paper's algorithm 2: bias-corrected moments first, then the step. */
class Reference {
  readonly parameters: Map<string, Float64Array>;
  readonly #moments = new Map<string, { t: number; m: Float64Array; v: Float64Array }>();
  constructor(parameters: ReadonlyMap<string, Float32Array>) {
    this.parameters = new Map([...parameters].map(([name, p]) => [name, Float64Array.from(p)]));
  }
  step(
    gradients: ReadonlyMap<string, Float32Array>,
    rate: (name: string) => number,
    decay: (name: string) => number,
    [b1, b2, epsilon, scale]: readonly [number, number, number, number],
  ) {
    for (const [name, gradient] of gradients) {
      const p = this.parameters.get(name) as Float64Array;
      const zeros = () => new Float64Array(p.length);
      const state = this.#moments.get(name) ?? { t: 0, m: zeros(), v: zeros() };
      this.#moments.set(name, state);
      state.t += 1;
      for (let i = 0; i < p.length; i++) {
        const g = scale * (gradient[i] as number);
        const m = b1 * (state.m[i] as number) + (1 - b1) * g;
        const v = b2 * (state.v[i] as number) + (1 - b2) * g ** 2;
        state.m[i] = m;
        state.v[i] = v;
        const mHat = m / (1 - b1 ** state.t);
        const vHat = v / (1 - b2 ** state.t);
        p[i] =
          (p[i] as number) -
          rate(name) * (mHat / (Math.sqrt(vHat) + epsilon) + decay(name) * (p[i] as number));
      }
    }
  }
}

describe('AdamW', () => {
  test('gives the numbers of torch.optim.AdamW', () => {
    // torch 1.13, lr 0.1, weight decay 0.01, three elements, three steps; the first is 1 - 0.001 - 0.1 by hand.
    const parameter = Float32Array.of(1, -2, 0.5);
    const optimiser = new AdamW();
    const seen = [
      [0.5, 1, 0],
      [-0.25, 1e-3, 2],
      [0.125, -4, 1e-9],
    ].map((gradient) => {
      const gradients = new Map([['p', Float32Array.from(gradient)]]);
      optimiser.step(new Map([['p', parameter]]), gradients, { learningRate: 0.1 });
      return [...parameter];
    });
    const expected = [
      [0.8990000486373901, -2.0980000495910645, 0.49950000643730164],
      [0.8714673519134521, -2.162982225418091, 0.42458683252334595],
      [0.8365529775619507, -2.111406087875366, 0.36664023995399475],
    ];
    seen.flat().forEach((value, i) => {
      expect(Math.abs(value - (expected.flat()[i] as number))).toBeLessThan(2.5e-7);
    });
  });

  test('follows a float64 reference over six steps, with groups, scale and a gradient that is sometimes absent', () => {
    const parameters = parametersOf();
    const start = parametersOf();
    const reference = new Reference(parameters);
    const optimiser = new AdamW({
      betas: [0.8, 0.95],
      epsilon: 1e-6,
      weightDecay: 0.3,
      group: (name) =>
        name === 'bias' ? { weightDecay: 0 } : name === 'three' ? { learningRateScale: 2.5 } : {},
    });
    for (let step = 1; step <= 6; step++) {
      const gradients = gradientsOf(step);
      if (step === 1 || step === 4) gradients.delete('matrix');
      const learningRate = 1e-2 / step;
      optimiser.step(parameters, gradients, { learningRate, scale: 0.37 });
      reference.step(
        gradients,
        (name) => learningRate * (name === 'three' ? 2.5 : 1),
        (name) => (name === 'bias' ? 0 : 0.3),
        [0.8, 0.95, 1e-6, 0.37],
      );
    }
    for (const [name, before] of start) {
      const expected = reference.parameters.get(name) as Float64Array;
      const change = Float64Array.from(
        parameters.get(name) as Float32Array,
        (p, i) => p - (before[i] as number),
      );
      const expectedChange = expected.map((p, i) => p - (before[i] as number));
      expect(relativeError(change, expectedChange), name).toBeLessThan(2e-6);
    }
    expect(optimiser.state().get('matrix')?.updates).toBe(4);
    expect(optimiser.state().get('bias')?.updates).toBe(6);
  });

  test('leaves gradients, parameters without gradient, and with learning rate 0 all parameters unchanged', () => {
    const parameters = parametersOf();
    const gradients = new Map([['bias', gradientsOf(1).get('bias') as Float32Array]]);
    const optimiser = new AdamW();
    optimiser.step(parameters, gradients, { learningRate: 0 });
    expect(bytes(parameters.get('bias')).equals(bytes(parametersOf().get('bias')))).toBe(true);
    optimiser.step(parameters, gradients, { learningRate: 0.1 });
    for (const [name, before] of parametersOf()) {
      expect(bytes(parameters.get(name)).equals(bytes(before)), name).toBe(name !== 'bias');
    }
    expect(bytes(gradients.get('bias')).equals(bytes(gradientsOf(1).get('bias')))).toBe(true);
    expect([...optimiser.state().keys()]).toEqual(['bias']);
  });

  test('works on views into larger arrays without touching their neighbours', () => {
    const whole = randomTensor(5, 20011);
    const view = whole.subarray(1001, 1001 + 9001);
    const alone = view.slice();
    const gradient = randomTensor(6, 9001);
    for (const parameter of [view, alone]) {
      new AdamW().step(new Map([['w', parameter]]), new Map([['w', gradient]]), { learningRate: 0.01 });
    }
    const before = randomTensor(5, 20011);
    expect(bytes(view).equals(bytes(alone))).toBe(true);
    expect(bytes(whole.subarray(0, 1001)).equals(bytes(before.subarray(0, 1001)))).toBe(true);
    expect(bytes(whole.subarray(10002)).equals(bytes(before.subarray(10002)))).toBe(true);
  });

  test('resumes bit-identically from a copied state', () => {
    const run = (parameters: Map<string, Float32Array>, optimiser: AdamW, from: number, to: number) => {
      for (let step = from; step <= to; step++) {
        optimiser.step(parameters, gradientsOf(step), { learningRate: 1e-2, scale: 0.9 });
      }
    };
    const whole = parametersOf();
    const uninterrupted = new AdamW();
    run(whole, uninterrupted, 1, 5);

    const resumed = parametersOf();
    const first = new AdamW();
    run(resumed, first, 1, 2);
    const second = new AdamW();
    second.loadState(first.state());
    // Later steps of the first optimiser do not affect the second.
    run(parametersOf(), first, 3, 3);
    run(resumed, second, 3, 5);
    for (const [name, moments] of uninterrupted.state()) {
      expect(bytes(resumed.get(name)).equals(bytes(whole.get(name))), name).toBe(true);
      expect(second.state().get(name)?.updates).toBe(5);
      expect(bytes(second.state().get(name)?.first).equals(bytes(moments.first)), name).toBe(true);
      expect(bytes(second.state().get(name)?.second).equals(bytes(moments.second)), name).toBe(true);
    }
  });

  test('sets moments to zero instead of subnormal numbers', () => {
    const parameter = Float32Array.of(1, 1, 1, 1, 1);
    const optimiser = new AdamW({ betas: [0.9, 0.9] });
    const step = (gradient: number) =>
      optimiser.step(new Map([['w', parameter]]), new Map([['w', new Float32Array(5).fill(gradient)]]), {
        learningRate: 1e-3,
      });
    step(1);
    for (let i = 0; i < 800; i++) step(0);
    // 0.1 * 0.9^800 = 2.5e-38 is still a normal number, eight updates later it would not be.
    const last = optimiser.state().get('w')?.first[4] as number;
    expect(Math.abs(last / (0.1 * 0.9 ** 800) - 1)).toBeLessThan(1e-4);
    for (let i = 0; i < 10; i++) step(0);
    expect([...(optimiser.state().get('w')?.first ?? [])]).toEqual([0, 0, 0, 0, 0]);
    expect([...(optimiser.state().get('w')?.second ?? [])]).toEqual([0, 0, 0, 0, 0]);
    expect(parameter.every((p) => Number.isFinite(p) && p < 1)).toBe(true);
  });

  test('keeps NaN in the moments, as torch.optim.AdamW does', () => {
    const parameter = Float32Array.of(1, 1, 1, 1, 1);
    const optimiser = new AdamW();
    for (const gradient of [
      [1, 1, 1, 1, 1],
      [1, Number.NaN, 1, 1, Number.POSITIVE_INFINITY],
      [1, 1, 1, 1, 1],
    ]) {
      optimiser.step(new Map([['w', parameter]]), new Map([['w', Float32Array.from(gradient)]]), {
        learningRate: 0.1,
      });
    }
    const moments = optimiser.state().get('w');
    for (const array of [parameter, moments?.first, moments?.second]) {
      expect(Array.from(array ?? [], Number.isFinite)).toEqual([true, false, true, true, false]);
    }
  });

  test('refuses tensors that do not match, before anything is changed', () => {
    const refused = (
      gradients: Map<string, Float32Array>,
      options: { learningRate: number; scale?: number },
    ) => {
      const parameters = parametersOf();
      const optimiser = new AdamW();
      const step = () => optimiser.step(parameters, gradients, options);
      expect(step).toThrow(OptimError);
      for (const [name, before] of parametersOf()) {
        expect(bytes(parameters.get(name)).equals(bytes(before))).toBe(true);
      }
      expect(optimiser.state().size).toBe(0);
      return step;
    };
    const good = gradientsOf(1);
    expect(refused(new Map([...good, ['other', new Float32Array(2)]]), { learningRate: 1 })).toThrow(
      'AdamW.step: other: expected a parameter of this name, found none',
    );
    expect(refused(new Map([...good, ['three', new Float32Array(4)]]), { learningRate: 1 })).toThrow(
      'AdamW.step: gradient of three: expected 3 elements, found 4 elements',
    );
    expect(refused(good, { learningRate: Number.NaN })).toThrow(
      'learningRate: expected a finite number >= 0, found NaN',
    );
    expect(refused(good, { learningRate: 1, scale: Infinity })).toThrow(
      'scale: expected a finite number, found Infinity',
    );
  });

  test('refuses the state of other parameters', () => {
    const optimiser = new AdamW();
    const moments = (updates: number, second: number) =>
      new Map([['three', { updates, first: new Float32Array(2), second: new Float32Array(second) }]]);
    expect(() => optimiser.loadState(moments(0, 2))).toThrow(
      'three.updates: expected an integer > 0, found 0',
    );
    expect(() => optimiser.loadState(moments(1, 3))).toThrow(
      'three.second: expected 2 elements, found 3 elements',
    );
    optimiser.loadState(moments(1, 2));
    expect(() => optimiser.step(parametersOf(), gradientsOf(1), { learningRate: 1 })).toThrow(
      'AdamW.step: three: expected 2 elements, found 3 elements',
    );
  });

  test.each<[AdamWOptions, string]>([
    [{ betas: [1, 0.999] }, 'betas[0]'],
    [{ betas: [0.9, -0.1] }, 'betas[1]'],
    [{ epsilon: 0 }, 'epsilon'],
    [{ epsilon: 1e-60 }, 'epsilon'],
    [{ weightDecay: -1 }, 'weightDecay'],
    [{ weightDecay: Number.NaN }, 'weightDecay'],
  ])('refuses the option %j', (options, field) => {
    expect(() => new AdamW(options)).toThrow(`AdamW: ${field}: expected`);
  });

  test.each([
    [{ weightDecay: -1 }, 'weightDecay of w'],
    [{ learningRateScale: Number.NaN }, 'learningRateScale of w'],
  ])('refuses the group %j', (group, field) => {
    const step = () =>
      new AdamW({ group: () => group }).step(
        new Map([['w', new Float32Array(1)]]),
        new Map([['w', new Float32Array(1)]]),
        { learningRate: 1 },
      );
    expect(step).toThrow(`AdamW.step: ${field}: expected a finite number >= 0`);
  });
});
