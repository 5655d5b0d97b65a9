/** The parameters of a decoder: Hugging Face names, shapes and initial values. */
import { randomStream } from '../run/random.js';
import type { ModelConfig } from './config.js';

/** A parameter in memory, row-major. */
export interface WeightTensor {
  data: Float32Array;
  shape: number[];
}

export type Weights = Map<string, WeightTensor>;

export const EMBEDDING_NAME = 'model.embed_tokens.weight';
export const HEAD_NAME = 'lm_head.weight';

/** Every parameter of the model with its shape, in order of use; projections are [out, in]. */
export function parameterShapes(config: ModelConfig): Map<string, number[]> {
  const { hiddenSize, intermediateSize, headDim } = config;
  const queries = config.heads * headDim;
  const keys = config.kvHeads * headDim;
  const shapes = new Map<string, number[]>([[EMBEDDING_NAME, [config.vocabSize, hiddenSize]]]);
  const linear = (name: string, outputs: number, inputs: number, bias: boolean) => {
    shapes.set(`${name}.weight`, [outputs, inputs]);
    if (bias) shapes.set(`${name}.bias`, [outputs]);
  };
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `model.layers.${layer}`;
    shapes.set(`${at}.input_layernorm.weight`, [hiddenSize]);
    linear(`${at}.self_attn.q_proj`, queries, hiddenSize, config.attentionBias);
    linear(`${at}.self_attn.k_proj`, keys, hiddenSize, config.attentionBias);
    linear(`${at}.self_attn.v_proj`, keys, hiddenSize, config.attentionBias);
    linear(`${at}.self_attn.o_proj`, hiddenSize, queries, config.outputBias);
    if (config.qkNorm) {
      shapes.set(`${at}.self_attn.q_norm.weight`, [headDim]);
      shapes.set(`${at}.self_attn.k_norm.weight`, [headDim]);
    }
    shapes.set(`${at}.post_attention_layernorm.weight`, [hiddenSize]);
    linear(`${at}.mlp.gate_proj`, intermediateSize, hiddenSize, config.mlpBias);
    linear(`${at}.mlp.up_proj`, intermediateSize, hiddenSize, config.mlpBias);
    linear(`${at}.mlp.down_proj`, hiddenSize, intermediateSize, config.mlpBias);
  }
  shapes.set('model.norm.weight', [hiddenSize]);
  if (!config.tieWordEmbeddings) shapes.set(HEAD_NAME, [config.vocabSize, hiddenSize]);
  return shapes;
}

/** Number of elements of a tensor of this shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** Number of parameters of a model. */
export const parameterCount = (config: ModelConfig): number =>
  [...parameterShapes(config).values()].reduce((sum, shape) => sum + elementCount(shape), 0);

/**
 * Initial weights, distributed as in transformers: matrices normal with standard deviation `config.initializerRange`
 * (default 0.02), norms 1, biases 0. Each tensor has its own random stream, so its values do not depend on the others.
 */
export function initialiseWeights(config: ModelConfig, seed: number): Weights {
  const weights: Weights = new Map();
  for (const [name, shape] of parameterShapes(config)) {
    const data = new Float32Array(elementCount(shape));
    if (name.endsWith('norm.weight')) {
      data.fill(1);
    } else if (name.endsWith('.weight')) {
      const random = randomStream(seed, 'initialise', name);
      for (let i = 0; i < data.length; i++) data[i] = config.initializerRange * random.normal();
    }
    weights.set(name, { data, shape });
  }
  return weights;
}
