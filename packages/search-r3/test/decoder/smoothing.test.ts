/** Smoothing by equation 4 of SmoothQuant (arXiv 2211.10438): what it divides by, and that nothing else changes. */
import { type LayerParameters, smoothingFactors, smoothLayer } from 'search-r3/decoder';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { asParameters, decoder, type Weight } from '../reference/decoder.js';
import { relativeError } from '../reference/finite-differences.js';
import { TINY_CONFIGS, tinyWeights } from '../reference/fixtures.js';

test('a factor is the root of activation / weight, of the largest weight that reads the channel', () => {
  // sqrt(8 / 2), sqrt(1 / 4), sqrt(9 / 1); a silent channel and one that nothing reads stay.
  const activations = Float32Array.of(8, 1, 9, 0, 5);
  const weights = [Float32Array.of(2, 4, 0.5, 3, 0), Float32Array.of(1, 3, 1, 3, 0)];
  expect(Array.from(smoothingFactors(activations, weights))).toEqual([2, 0.5, 3, 1, 1]);
});

describe.each(TINY_CONFIGS)('$architecture', (config) => {
  const random = randomStream(32, 'smoothing', config.architecture);
  /** Rows with outliers in a few channels. */
  const rows = (width: number) =>
    Float32Array.from({ length: 5 * width }, (_, i) => random.normal() * (i % 7 === 3 ? 60 : 1));
  const drawn = () => ({
    attention: rows(config.hiddenSize),
    gates: rows(config.hiddenSize),
    down: rows(config.intermediateSize),
  });
  const before = tinyWeights(config);
  const after = new Map(
    Array.from(before, ([name, { shape, data }]) => [name, { shape, data: Float32Array.from(data) }]),
  );
  const used = Array.from({ length: config.layers }, drawn);
  for (const [layer, read] of used.entries()) {
    const parameters: LayerParameters = new Map(Array.from(after, ([name, { data }]) => [name, data]));
    smoothLayer(parameters, layer, read);
  }

  test('the decoder computes the same, in float64', () => {
    const ids = Array.from({ length: 11 }, () => random.integer(config.vocabSize));
    const hidden = (weights: ReadonlyMap<string, Weight>) =>
      decoder(
        config,
        asParameters(weights, () => false),
        ids,
      ).hidden.data;
    // The weights are float32, and so is what smoothing makes of them.
    expect(relativeError(hidden(after), hidden(before))).toBeLessThan(1e-6);
  });

  test.each([
    ['attention', ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj']],
    ['gates', ['mlp.gate_proj', 'mlp.up_proj']],
    ['down', ['mlp.down_proj']],
  ] as const)('the channels that %s reads get their factors', (read, linears) => {
    for (const [layer, inputs] of used.entries()) {
      const values = (name: string, from: ReadonlyMap<string, Weight> = before) =>
        Array.from(from.get(`model.layers.${layer}.${name}.weight`)?.data ?? []);
      const activations = inputs[read];
      const width = read === 'down' ? config.intermediateSize : config.hiddenSize;
      const largest = (matrix: ArrayLike<number>, channel: number) =>
        Math.max(
          ...Array.from(matrix)
            .filter((_, i) => i % width === channel)
            .map(Math.abs),
        );
      const norm = read === 'attention' ? 'input_layernorm' : 'post_attention_layernorm';
      for (let j = 0; j < width; j++) {
        const weight = Math.max(...linears.map((name) => largest(values(name), j)));
        const expected = Math.sqrt(largest(activations, j) / weight);
        const found =
          read === 'down'
            ? largest(values('mlp.down_proj', after), j) / weight
            : (values(norm)[j] as number) / (values(norm, after)[j] as number);
        expect(found / expected).toBeCloseTo(1, 5);
      }
    }
  });
});
