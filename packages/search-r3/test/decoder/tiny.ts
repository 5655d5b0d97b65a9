/** The reference's tiny models as the package takes them: a parsed `config.json`, float32 weights, feeds. */
import { f32, type HostTensor } from 'onnx-grad';
import { type ModelConfig, parseConfig, type Weights } from 'search-r3/checkpoint';
import { fedWeights, type InferenceWeights } from 'search-r3/decoder';
import type { DecoderConfig, Weight } from '../reference/decoder.js';
import { tinyWeights } from '../reference/fixtures.js';

/** The configuration as Hugging Face would write it. */
export function huggingFaceConfig(config: DecoderConfig): Record<string, unknown> {
  const { ropeScaling } = config;
  return {
    model_type: config.architecture,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    hidden_act: 'silu',
    max_position_embeddings: 512,
    rms_norm_eps: config.rmsNormEps,
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieWordEmbeddings,
    attention_bias: config.attentionBias,
    mlp_bias: config.mlpBias,
    ...(ropeScaling !== null && { rope_scaling: huggingFaceRope(ropeScaling) }),
  };
}

function huggingFaceRope(scaling: NonNullable<DecoderConfig['ropeScaling']>): Record<string, unknown> {
  const rope_type = scaling.type;
  switch (scaling.type) {
    case 'linear':
      return { rope_type, factor: scaling.factor };
    case 'llama3':
      return {
        rope_type,
        factor: scaling.factor,
        low_freq_factor: scaling.lowFreqFactor,
        high_freq_factor: scaling.highFreqFactor,
        original_max_position_embeddings: scaling.originalMaxPosition,
      };
    case 'yarn':
      return {
        rope_type,
        factor: scaling.factor,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        original_max_position_embeddings: scaling.originalMaxPosition,
        truncate: scaling.truncate,
        attention_factor: scaling.attentionFactor,
      };
    case 'longrope':
      return {
        rope_type,
        short_factor: scaling.factors,
        attention_factor: scaling.attentionFactor,
      };
    default:
      return scaling satisfies never;
  }
}

export interface TinyModel {
  config: ModelConfig;
  weights: Weights;
  /** Shares the memory of the weights. */
  feeds: Record<string, HostTensor>;
}

export function feedsOf(weights: Weights): Record<string, HostTensor> {
  return Object.fromEntries([...weights].map(([name, { data, shape }]) => [name, f32(data, shape)]));
}

/** The weights for inference, sharing their memory. */
export const inferenceOf = ({ config, feeds }: Pick<TinyModel, 'config' | 'feeds'>): InferenceWeights => ({
  weightsIn: fedWeights(config),
  feeds,
});

/** A model of the package with the weights of a reference model. */
export function tinyModel(
  config: DecoderConfig,
  source: ReadonlyMap<string, Weight> = tinyWeights(config),
): TinyModel {
  const weights: Weights = new Map(
    Array.from(source, ([name, { data, shape }]) => [
      name,
      { data: Float32Array.from(data), shape: [...shape] },
    ]),
  );
  return { config: parseConfig(huggingFaceConfig(config)), weights, feeds: feedsOf(weights) };
}
