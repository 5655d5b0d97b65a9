/** The reference decoder: gradients against central differences, and identities that pin down each of its parts. */
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import {
  asParameters,
  type DecoderConfig,
  decoder,
  ropeFrequencies,
  type Weight,
  weightShapes,
} from './decoder.js';
import { directionalDerivative, norm, numericalGradient, relativeError } from './finite-differences.js';
import { TINY_CONFIGS, tinyWeights } from './fixtures.js';
import { crossEntropy } from './losses.js';
import { add, constant, gradients, mul, sizeOf, sum, type Tensor } from './tape.js';

const SEQUENCES = [
  [3, 17, 4, 4, 9, 22, 0],
  [12, 5, 8],
  [21, 1, 13, 2, 22, 10, 6, 7, 15],
];
const [LLAMA, QWEN2, QWEN3] = TINY_CONFIGS as [DecoderConfig, DecoderConfig, DecoderConfig];
const hiddenOf = (config: DecoderConfig, weights: ReadonlyMap<string, Weight>, tokens: readonly number[]) =>
  decoder(config, asParameters(weights), tokens).hidden.data;

describe.each(TINY_CONFIGS)('$architecture', (config) => {
  const random = randomStream(5, 'decoder', config.architecture);
  const weights = tinyWeights(config);

  test('gradients of all weights are those of central differences', () => {
    const parameters = asParameters(weights);
    // Next-token cross-entropy plus a linear function of the hidden states, so that both outputs count.
    const direction = Array.from({ length: 9 * config.hiddenSize }, () => random.normal());
    const loss = (): Tensor =>
      SEQUENCES.map((tokens): Tensor => {
        const { hidden, logits } = decoder(config, parameters, tokens);
        const probe = constant(direction.slice(0, hidden.data.length), hidden.shape);
        return add(crossEntropy(logits, [...tokens.slice(1), 22]), mul(sum(mul(hidden, probe)), 0.1));
      }).reduce((a, b) => add(a, b));
    const value = () => loss().item();
    const names = [...parameters.keys()];
    const leaves = [...parameters.values()];
    for (const [i, gradient] of gradients(loss(), leaves).entries()) {
      const { data } = leaves[i]!;
      if (data.length <= 8) {
        expect(relativeError(gradient, numericalGradient(value, data)), names[i]).toBeLessThan(1e-6);
        continue;
      }
      const along = Float64Array.from(data, () => random.normal() / Math.sqrt(data.length));
      const expected = directionalDerivative(value, data, along);
      const found = gradient.reduce((total, g, j) => total + g * along[j]!, 0);
      expect(Math.abs(found - expected), names[i]).toBeLessThan(1e-6 * norm(gradient));
    }
  });

  test('a token changes nothing before itself and everything after', () => {
    const tokens = SEQUENCES[2]!;
    const changed = hiddenOf(config, weights, tokens.with(4, 0));
    const plain = hiddenOf(config, weights, tokens);
    const row = (data: Float64Array, t: number) => data.slice(t * 16, (t + 1) * 16);
    for (let t = 0; t < tokens.length; t++) {
      const difference = relativeError(row(changed, t), row(plain, t));
      if (t < 4) expect(difference).toBe(0);
      else expect(difference).toBeGreaterThan(1e-3);
    }
  });

  test('without attention to weigh, a single token passes through v and o alone', () => {
    const other = new Map(weights);
    for (const name of weights.keys()) {
      if (!/[qk]_proj/.test(name)) continue;
      const { shape, data } = weights.get(name)!;
      other.set(name, { shape, data: Array.from(data).reverse() });
    }
    expect(hiddenOf(config, other, [7])).toEqual(hiddenOf(config, weights, [7]));
    expect(relativeError(hiddenOf(config, other, [7, 2]), hiddenOf(config, weights, [7, 2]))).toBeGreaterThan(
      0.01,
    );
  });

  test('key-value heads written out once per query head give the same', () => {
    const wide = new Map(weights);
    for (const [name, { shape, data }] of weights) {
      if (!/[kv]_proj/.test(name)) continue;
      const perHead = (config.headDim * sizeOf(shape)) / shape[0]!;
      const heads = [0, 0, 1, 1].map((head) => Array.from(data).slice(head * perHead, (head + 1) * perHead));
      wide.set(name, { shape: shape.with(0, 2 * shape[0]!), data: heads.flat() });
    }
    const found = hiddenOf({ ...config, kvHeads: 4 }, wide, SEQUENCES[0]!);
    expect(relativeError(found, hiddenOf(config, weights, SEQUENCES[0]!))).toBeLessThan(1e-13);
  });

  test('adapters are their product added to the weight', () => {
    const names = ['self_attn.q_proj', 'mlp.down_proj'].map((name) => `model.layers.1.${name}`);
    const adapted = new Map(weights);
    const merged = new Map(weights);
    for (const name of names) {
      const { shape, data } = weights.get(`${name}.weight`)!;
      const [rows, columns] = shape as [number, number];
      const a = Array.from({ length: 2 * columns }, () => random.normal());
      const b = Array.from({ length: rows * 2 }, () => random.normal());
      adapted.set(`${name}.lora_A.weight`, { shape: [2, columns], data: a });
      adapted.set(`${name}.lora_B.weight`, { shape: [rows, 2], data: b });
      const sums = Array.from(data, (value, i) => {
        const [row, column] = [Math.floor(i / columns), i % columns];
        return value + 0.25 * (b[2 * row]! * a[column]! + b[2 * row + 1]! * a[columns + column]!);
      });
      merged.set(`${name}.weight`, { shape, data: sums });
    }
    const { hidden } = decoder(config, asParameters(adapted), SEQUENCES[0]!, { loraScale: 0.25 });
    expect(relativeError(hidden.data, hiddenOf(config, merged, SEQUENCES[0]!))).toBeLessThan(1e-12);
    expect(relativeError(hidden.data, hiddenOf(config, weights, SEQUENCES[0]!))).toBeGreaterThan(0.01);
  });

  test('a missing weight and a wrong shape are named', () => {
    const parameters = asParameters(new Map([...weights].filter(([name]) => name !== 'model.norm.weight')));
    expect(() => decoder(config, parameters, [1])).toThrow('no weight model.norm.weight');
    const wrong = new Map(weights).set('model.norm.weight', { shape: [1], data: [1] });
    expect(() => decoder(config, asParameters(wrong), [1])).toThrow(
      'expected model.norm.weight to be [16], found [1]',
    );
  });
});

test('a tied head is an untied one that holds the embeddings', () => {
  const untied = { ...QWEN2, tieWordEmbeddings: false };
  const weights = tinyWeights(QWEN2);
  const copied = new Map(weights).set('lm_head.weight', weights.get('model.embed_tokens.weight')!);
  const [tokens] = SEQUENCES as [number[]];
  expect(decoder(untied, asParameters(copied), tokens).logits.data).toEqual(
    decoder(QWEN2, asParameters(weights), tokens).logits.data,
  );
});

test('norms on q and k make their scale irrelevant', () => {
  const exact = { ...QWEN3, rmsNormEps: 0, attentionBias: false, outputBias: false };
  const weights = tinyWeights(exact);
  const { shape, data } = weights.get('model.layers.0.self_attn.k_proj.weight')!;
  const scaled = new Map(weights).set('model.layers.0.self_attn.k_proj.weight', {
    shape,
    data: Float64Array.from(data, (value) => 5 * value),
  });
  const [tokens] = SEQUENCES as [number[]];
  expect(relativeError(hiddenOf(exact, scaled, tokens), hiddenOf(exact, weights, tokens))).toBeLessThan(
    1e-12,
  );
});

test('each projection has a bias where the configuration says so', () => {
  const biases = (config: DecoderConfig) =>
    [...weightShapes({ ...config, layers: 1 })]
      .filter(([name]) => name.endsWith('bias'))
      .map(([name, shape]) => `${name.split('.').at(-2)} ${shape}`);
  expect(biases(LLAMA)).toEqual(['gate_proj 20', 'up_proj 20', 'down_proj 16']);
  expect(biases(QWEN2)).toEqual(['q_proj 16', 'k_proj 8', 'v_proj 8']);
  expect(biases(QWEN3)).toEqual(['q_proj 24', 'k_proj 12', 'v_proj 12', 'o_proj 16']);
});

describe('rotary frequencies', () => {
  test('theta^(-2i/d)', () => {
    expect(ropeFrequencies({ headDim: 4, ropeTheta: 10_000, ropeScaling: null })).toEqual([1, 0.01]);
  });

  test('llama3 scaling keeps short wavelengths, stretches long ones and interpolates between', () => {
    // Wavelengths 2 pi, 2 pi 100^(1/3) = 29.16 and 2 pi 100^(2/3) = 135.37 against the bounds 64/4 = 16 and 64/1 = 64.
    const found = ropeFrequencies({
      headDim: 6,
      ropeTheta: 100,
      ropeScaling: {
        type: 'llama3',
        factor: 8,
        lowFreqFactor: 1,
        highFreqFactor: 4,
        originalMaxPosition: 64,
      },
    });
    const middle = 100 ** (-1 / 3);
    const smooth = (64 / ((2 * Math.PI) / middle) - 1) / (4 - 1);
    expect(smooth).toBeCloseTo(0.3982, 4);
    expect(found[0]).toBe(1);
    expect(found[1]).toBeCloseTo(((1 - smooth) * middle) / 8 + smooth * middle, 14);
    expect(found[2]).toBeCloseTo(100 ** (-2 / 3) / 8, 14);
  });
});
