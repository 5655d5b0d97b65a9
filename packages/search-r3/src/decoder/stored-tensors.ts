/** The tensors of a quantised model: which there are, from which parameters they come, and how they are stored. */
import { EMBEDDING_NAME, type ModelConfig, parameterShapes } from '../checkpoint/index.js';
import { BLOCK } from './block-weights.js';
import { tensorOf } from './lookup.js';
import { BLOCK_BITS, type Precision } from './precision-names.js';
import { factorsNames, HEAD, linearNames, packsAttention, scalesName } from './stored-names.js';

export type StoredType = 'float32' | 'float16' | 'bfloat16' | 'int8' | 'uint8';

/** How an embedding is stored. */
export type FloatType = Extract<StoredType, 'float32' | 'float16' | 'bfloat16'>;

export interface StoredTensor {
  type: StoredType;
  shape: readonly number[];
}

/** A linear layer: its name, and the parameters whose rows it holds one after the other. */
export interface Linear {
  name: string;
  from: readonly string[];
}

/** The linear layers of a decoder layer. */
export function layerLinears(config: ModelConfig, layer: number): Linear[] {
  const { q, k, v, qkv, output, gate, up, down } = linearNames(layer);
  const attention = packsAttention(config) ? [{ name: qkv, from: [q, k, v] }] : [q, k, v].map(plain);
  return [...attention, ...[output, gate, up, down].map(plain)];
}

const plain = (name: string): Linear => ({ name, from: [name] });

/** The head as a linear layer of its own, which reads the embedding where the two are tied. */
export const headLinear = ({ tieWordEmbeddings }: ModelConfig): Linear => ({
  name: HEAD,
  from: [tieWordEmbeddings ? EMBEDDING_NAME.replace(/\.weight$/, '') : HEAD],
});

/**
 * All tensors, in the order in which they are written: the embedding, the layers, the final norm, the head.
 * @param embedding how the embedding is stored; undefined: elsewhere.
 */
export function storedTensors(
  config: ModelConfig,
  precision: Exclude<Precision, 'f32'>,
  embedding: FloatType | undefined,
): Map<string, StoredTensor> {
  const shapes = parameterShapes(config);
  const shapeOf = (name: string): readonly number[] => tensorOf(shapes, name);
  const tensors = new Map<string, StoredTensor>();
  const float = (name: string, shape: readonly number[]) => tensors.set(name, { type: 'float32', shape });
  const linear = ({ name, from }: Linear) => {
    const outputs = from.reduce((sum, one) => sum + (shapeOf(`${one}.weight`)[0] as number), 0);
    const inputs = shapeOf(`${from[0]}.weight`)[1] as number;
    const { weight, scales } = linearTensors(outputs, inputs, precision);
    tensors.set(`${name}.weight`, weight).set(scalesName(name), scales);
    if (from.every((one) => shapes.has(`${one}.bias`))) float(`${name}.bias`, [outputs]);
  };
  if (embedding !== undefined)
    tensors.set(EMBEDDING_NAME, { type: embedding, shape: shapeOf(EMBEDDING_NAME) });
  for (let layer = 0; layer < config.layers; layer++) {
    for (const name of normNames(config, layer)) float(name, shapeOf(name));
    for (const one of layerLinears(config, layer)) linear(one);
    const factors = factorsNames(layer);
    float(factors.attention, [config.hiddenSize]);
    float(factors.gates, [config.hiddenSize]);
    float(factors.down, [config.intermediateSize]);
  }
  float('model.norm.weight', shapeOf('model.norm.weight'));
  linear(headLinear(config));
  return tensors;
}

/** The norms of a layer, by their full names. */
export function normNames({ qkNorm }: ModelConfig, layer: number): string[] {
  const at = `model.layers.${layer}`;
  const heads = qkNorm ? ['self_attn.q_norm', 'self_attn.k_norm'] : [];
  return ['input_layernorm', ...heads, 'post_attention_layernorm'].map((name) => `${at}.${name}.weight`);
}

/** The weight [outputs, inputs] of a linear layer as it is stored. */
export function linearTensors(
  outputs: number,
  inputs: number,
  precision: Exclude<Precision, 'f32'>,
): { weight: StoredTensor; scales: StoredTensor } {
  if (precision === 'int8') {
    return {
      weight: { type: 'int8', shape: [inputs, outputs] },
      scales: { type: 'float32', shape: [outputs] },
    };
  }
  const blocks = Math.ceil(inputs / BLOCK);
  const bytes = (BLOCK * BLOCK_BITS[precision]) / 8;
  return {
    weight: { type: 'uint8', shape: [outputs, blocks, bytes] },
    scales: { type: 'float32', shape: [outputs * blocks] },
  };
}
