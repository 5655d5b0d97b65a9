import {
  elementCount,
  initialiseWeights,
  newConfig,
  parameterShapes,
  parseConfig,
} from 'search-r3/checkpoint';
import { describe, expect, test } from 'vitest';
import { LLAMA_32_1B, QWEN3_06B, QWEN25_05B, TINYLLAMA } from './configs.js';

const parameterCount = (json: object) =>
  [...parameterShapes(parseConfig(json)).values()].reduce((sum, shape) => sum + elementCount(shape), 0);

describe('published configurations', () => {
  test.each([
    // Parameter counts as the models' Hugging Face pages show them (Qwen3's without the copy of the tied head).
    ['Qwen2.5-0.5B-Instruct', QWEN25_05B, 494_032_768],
    ['Qwen3-0.6B', QWEN3_06B, 596_049_920],
    ['Llama-3.2-1B-Instruct', LLAMA_32_1B, 1_235_814_400],
    ['TinyLlama-1.1B-Chat', TINYLLAMA, 1_100_048_384],
  ])('%s has its published number of parameters', (_, json, count) => {
    expect(parameterCount(json)).toBe(count);
  });

  test('Qwen2.5: biases on q, k, v alone; an unused window is no obstacle', () => {
    const config = parseConfig(QWEN25_05B);
    expect(config).toMatchObject({
      architecture: 'qwen2',
      vocabSize: 151936,
      hiddenSize: 896,
      intermediateSize: 4864,
      layers: 24,
      heads: 14,
      kvHeads: 2,
      headDim: 64,
      rmsNormEps: 1e-6,
      ropeTheta: 1e6,
      ropeScaling: null,
      maxPositions: 32768,
      tieWordEmbeddings: true,
      attentionBias: true,
      outputBias: false,
      mlpBias: false,
      qkNorm: false,
      bosId: 151643,
      eosIds: [151645],
      padId: null,
    });
    const names = [...parameterShapes(config).keys()];
    expect(names.slice(0, 8)).toEqual([
      'model.embed_tokens.weight',
      'model.layers.0.input_layernorm.weight',
      'model.layers.0.self_attn.q_proj.weight',
      'model.layers.0.self_attn.q_proj.bias',
      'model.layers.0.self_attn.k_proj.weight',
      'model.layers.0.self_attn.k_proj.bias',
      'model.layers.0.self_attn.v_proj.weight',
      'model.layers.0.self_attn.v_proj.bias',
    ]);
    expect(names).not.toContain('model.layers.0.self_attn.o_proj.bias');
    expect(names).not.toContain('lm_head.weight');
    expect(parameterShapes(config).get('model.layers.23.self_attn.k_proj.weight')).toEqual([128, 896]);
  });

  test('Qwen3: head size apart from the hidden size, norms on q and k', () => {
    const config = parseConfig(QWEN3_06B);
    expect(config).toMatchObject({ headDim: 128, heads: 16, kvHeads: 8, qkNorm: true, attentionBias: false });
    const shapes = parameterShapes(config);
    expect(shapes.get('model.layers.27.self_attn.q_proj.weight')).toEqual([2048, 1024]);
    expect(shapes.get('model.layers.27.self_attn.o_proj.weight')).toEqual([1024, 2048]);
    expect(shapes.get('model.layers.27.self_attn.k_norm.weight')).toEqual([128]);
    const { head_dim: _, ...without } = QWEN3_06B;
    expect(parseConfig(without).headDim).toBe(128); // Qwen3Config's default, not 1024 / 16
  });

  test('Llama 3.2: rope scaling, several eos ids', () => {
    const scaling = {
      type: 'llama3',
      factor: 32,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPosition: 8192,
    };
    const expected = { ropeTheta: 500_000, ropeScaling: scaling, eosIds: [128001, 128008, 128009] };
    expect(parseConfig(LLAMA_32_1B)).toMatchObject(expected);
    const { rope_theta, rope_scaling, ...rest } = LLAMA_32_1B;
    // The base within rope_parameters goes before the one beside it.
    const both = { ...rest, rope_theta: 3, rope_parameters: { rope_theta, ...rope_scaling } };
    expect(parseConfig(both)).toMatchObject(expected);
    // rope_scaling goes before rope_parameters as a whole, the base included (transformers 5.24).
    const older = { ...rope_scaling, rope_type: undefined, type: 'llama3' };
    expect(parseConfig({ ...both, rope_scaling: older })).toMatchObject({ ...expected, ropeTheta: 3 });
    expect(parseConfig({ ...both, rope_scaling: { ...older, rope_theta } })).toMatchObject(expected);
    // The layout of transformers 5.
    expect(parseConfig({ ...rest, rope_parameters: { rope_theta, ...rope_scaling } })).toMatchObject(
      expected,
    );
  });

  test('Llama: untied head, biases where the configuration says so, theta 10,000 where it does not', () => {
    const biased = parseConfig({ ...TINYLLAMA, attention_bias: true, mlp_bias: true });
    const biases = [...parameterShapes(biased).keys()].filter((name) => /layers\.0\..*bias$/.test(name));
    expect(biases.map((name) => name.split('.')[4])).toEqual([
      'q_proj',
      'k_proj',
      'v_proj',
      'o_proj',
      'gate_proj',
      'up_proj',
      'down_proj',
    ]);
    expect(parameterShapes(biased).get('lm_head.weight')).toEqual([32000, 2048]);
    const { rope_theta: _, num_key_value_heads: __, ...early } = TINYLLAMA;
    expect(parseConfig(early)).toMatchObject({ ropeTheta: 10_000, kvHeads: 32 });
    expect(parseConfig({ ...TINYLLAMA, pad_token_id: -1 }).padId).toBeNull();
  });
});

describe('what is not supported is refused', () => {
  const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32768 };
  test.each<[string, object, RegExp]>([
    [
      'another architecture',
      { ...QWEN25_05B, model_type: 'gpt2' },
      /model_type: expected .*llama, qwen2, qwen3, found "gpt2"/,
    ],
    ['mixture of experts', { ...QWEN3_06B, model_type: 'qwen3_moe' }, /model_type/],
    [
      'experts under another name',
      { ...QWEN3_06B, num_experts: 8 },
      /num_experts: expected a dense model, found 8/,
    ],
    [
      'sliding layers without a window',
      { ...QWEN3_06B, layer_types: Array.from({ length: 28 }, () => 'sliding_attention') },
      /sliding_window: expected a number of tokens, for sliding_attention, found null/,
    ],
    [
      'layers of another kind',
      { ...QWEN3_06B, layer_types: Array.from({ length: 28 }, () => 'chunked_attention') },
      /layer_types: expected full_attention or sliding_attention, found "chunked_attention"/,
    ],
    [
      'another rope',
      { ...QWEN25_05B, rope_scaling: { type: 'mrope', mrope_section: [16, 24, 24] } },
      /rope_scaling.rope_type: expected one of default, linear, .* llama3, found "mrope"/,
    ],
    [
      'yarn without a factor',
      { ...QWEN25_05B, rope_scaling: { ...yarn, factor: undefined } },
      /rope_scaling.factor: expected a number, found nothing/,
    ],
    [
      'longrope with factors for another head size',
      { ...TINYLLAMA, rope_scaling: { type: 'longrope', short_factor: [1, 2], long_factor: [1, 2] } },
      /rope_scaling.short_factor: expected 32 numbers, one for each frequency, found 2/,
    ],
    [
      'a rope for each kind of layer',
      { ...QWEN3_06B, rope_parameters: { full_attention: { rope_type: 'default', rope_theta: 3 } } },
      /rope_parameters.full_attention: expected one set of parameters for all layers/,
    ],
    [
      'layers that differ',
      { ...QWEN3_06B, per_layer_config: { 3: { intermediate_size: 7 } } },
      /per_layer_config: expected the same configuration for every layer/,
    ],
    [
      'scaling without a factor',
      { ...TINYLLAMA, rope_scaling: { rope_type: 'llama3', low_freq_factor: 1, high_freq_factor: 4 } },
      /rope_scaling.factor: expected a number, found nothing/,
    ],
    [
      'partial rotation',
      { ...TINYLLAMA, partial_rotary_factor: 0.5 },
      /partial_rotary_factor: expected 1, found 0.5/,
    ],
    ['interleaved rotation', { ...TINYLLAMA, rope_interleaved: true }, /rope_interleaved/],
    [
      'quantised weights',
      { ...QWEN25_05B, quantization_config: { quant_method: 'gptq' } },
      /quantization_config: expected weights that are not quantised, found gptq\. Use the model before/,
    ],
    [
      'another activation',
      { ...QWEN25_05B, hidden_act: 'gelu' },
      /hidden_act: expected .*silu.*, found "gelu"/,
    ],
    [
      'heads that do not share evenly',
      { ...QWEN25_05B, num_key_value_heads: 4 },
      /num_key_value_heads: expected a divisor of the 14/,
    ],
    [
      'a hidden size that does not divide',
      { ...QWEN25_05B, hidden_size: 900 },
      /hidden_size: expected a multiple of the 14/,
    ],
    ['attention to both sides', { ...QWEN3_06B, is_causal: false }, /is_causal: expected true, found false/],
    [
      'the same under another name',
      { ...QWEN3_06B, use_bidirectional_attention: true },
      /use_bidirectional_attention: expected false, found true/,
    ],
    ['scaled attention', { ...LLAMA_32_1B, attention_multiplier: 0.5 }, /attention_multiplier: expected 1/],
    ['scaled embeddings', { ...LLAMA_32_1B, embedding_multiplier: 12 }, /embedding_multiplier: expected 1/],
    ['scaled residuals', { ...LLAMA_32_1B, residual_multiplier: 0.2 }, /residual_multiplier: expected 1/],
    ['scaled logits', { ...LLAMA_32_1B, logits_scaling: 8 }, /logits_scaling: expected 1, found 8/],
    [
      'types of some layers alone',
      { ...QWEN3_06B, layer_types: ['full_attention', 'full_attention'] },
      /layer_types: expected one for each of the 28 layers, found 2/,
    ],
    ['an odd head size', { ...QWEN3_06B, head_dim: 33 }, /head_dim: expected an even number/],
    ['a size of zero', { ...QWEN25_05B, vocab_size: 0 }, /vocab_size/],
    [
      'a size with a fraction',
      { ...QWEN25_05B, hidden_size: 896.5 },
      /hidden_size: expected a whole number, found 896.5/,
    ],
  ])('%s', (_, json, message) => {
    expect(() => parseConfig(json, 'here/config.json')).toThrow(
      expect.objectContaining({
        name: 'InputError',
        message: expect.stringMatching(message),
        problem: expect.objectContaining({ source: 'here/config.json' }),
      }),
    );
  });

  test('the same fields as published models have them are accepted', () => {
    const layer_types = Array.from({ length: 28 }, () => 'full_attention');
    const one = { attention_multiplier: 1, embedding_multiplier: 1.0, logits_scaling: null };
    const json = { ...QWEN3_06B, ...one, layer_types, is_causal: true, use_bidirectional_attention: false };
    expect(parseConfig(json)).toEqual({ ...parseConfig(QWEN3_06B), raw: json });
  });

  test('a window limits the length of sequences where a layer uses it', () => {
    const windowed = { ...QWEN25_05B, use_sliding_window: true, sliding_window: 500 };
    expect(parseConfig({ ...windowed, max_window_layers: 24 }).maxPositions).toBe(32_768);
    expect(parseConfig({ ...windowed, max_window_layers: 23 }).maxPositions).toBe(500);
    const { sliding_window: _, ...implied } = windowed;
    expect(parseConfig(implied).maxPositions).toBe(4096);
    // A Llama ignores it.
    expect(parseConfig({ ...TINYLLAMA, use_sliding_window: true, sliding_window: 5 }).maxPositions).toBe(
      2048,
    );
  });
});

describe('from scratch', () => {
  const options = {
    vocabSize: 131,
    hiddenSize: 48,
    intermediateSize: 80,
    layers: 2,
    heads: 6,
    kvHeads: 2,
    maxPositions: 64,
    eosIds: [3],
  };

  test('newConfig writes what parseConfig reads', () => {
    const config = newConfig(options);
    expect(config).toMatchObject({ ...options, architecture: 'qwen2', headDim: 8, tieWordEmbeddings: true });
    expect(parseConfig(JSON.parse(JSON.stringify(config.raw)))).toEqual(config);
    expect(() => newConfig({ ...options, heads: 5 })).toThrow(/newConfig options/);
    expect(() => newConfig({ ...options, head: 5 } as never)).toThrow(/unknown key "head"/);
    expect(() => newConfig({ ...options, eosIds: [131] })).toThrow(
      'newConfig options: expected special ids below vocabSize (131), found eos_token_id 131.',
    );
  });

  test('initial weights: normal 0.02, norms 1, biases 0, by seed', () => {
    const config = newConfig({ ...options, vocabSize: 1000 });
    const weights = initialiseWeights(config, 5);
    expect([...weights].map(([name, { shape }]) => [name, shape])).toEqual([...parameterShapes(config)]);
    const data = weights.get('model.embed_tokens.weight')?.data ?? new Float32Array();
    expect(data).toHaveLength(48_000);
    const mean = data.reduce((sum, x) => sum + x, 0) / data.length;
    const deviation = Math.sqrt(data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / data.length);
    // Standard errors: 0.02 / sqrt(48,000) = 9e-5 for the mean, 0.02 / sqrt(96,000) = 6.5e-5 for the deviation.
    expect(Math.abs(mean)).toBeLessThan(4e-4);
    expect(Math.abs(deviation - 0.02)).toBeLessThan(3e-4);
    expect(new Set(weights.get('model.layers.1.self_attn.q_proj.bias')?.data)).toEqual(new Set([0]));
    expect(new Set(weights.get('model.layers.1.post_attention_layernorm.weight')?.data)).toEqual(
      new Set([1]),
    );
    const q = (seed: number) =>
      initialiseWeights(config, seed).get('model.layers.0.self_attn.q_proj.weight')?.data;
    expect(q(5)).toEqual(q(5));
    expect(q(6)).not.toEqual(q(5));
    expect(q(5)).not.toEqual(weights.get('model.layers.1.self_attn.q_proj.weight')?.data);
  });

  test('initializer_range is honoured', () => {
    const narrow = parseConfig({ ...newConfig(options).raw, initializer_range: 0.002 });
    const [wide, small] = [newConfig(options), narrow].map(
      (config) => initialiseWeights(config, 1).get('model.layers.0.mlp.up_proj.weight')?.data[7] ?? 0,
    );
    expect((small ?? 0) / (wide ?? 1)).toBeCloseTo(0.1, 6);
  });
});
