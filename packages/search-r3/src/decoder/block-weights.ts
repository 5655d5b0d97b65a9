/** Weights in blocks of 4 or 8 bits (ONNX Runtime's MatMulNBits): closer to float32 than int8 by column, but slower. */
import { add, blockProduct, swiglu, type Value } from 'onnx-grad';
import { EMBEDDING_NAME, type ModelConfig } from '../checkpoint/index.js';
import { lookUpTokens } from './float-weights.js';
import { HEAD, linearNames, packsAttention, scalesName } from './stored-names.js';
import type { DecoderWeights, Lookup } from './weights.js';

/** Weights that share a scale. */
export const BLOCK = 32;

/** @param lookup gives the tensors of a quantised file (`stored-names.ts`). */
export function blockWeights(
  config: ModelConfig,
  bits: 4 | 8,
  lookup: Lookup,
  has: (name: string) => boolean,
): DecoderWeights {
  const product = (x: Value, name: string, width: number): Value => {
    const weight = { packed: lookup(`${name}.weight`), scales: lookup(scalesName(name)), bits, block: BLOCK };
    const y = blockProduct(x, weight, width);
    const bias = `${name}.bias`;
    return has(bias) ? add(y, lookup(bias)) : y;
  };
  const { hiddenSize } = config;
  const packed = packsAttention(config);
  return {
    inference: true,
    embed: (ids) => lookUpTokens(lookup(EMBEDDING_NAME), ids),
    norm: (name) => lookup(`${name}.weight`),
    attention(x, layer) {
      const { q, k, v, qkv } = linearNames(layer);
      const projected = (name: string) => product(x, name, hiddenSize);
      return packed ? [projected(qkv)] : [projected(q), projected(k), projected(v)];
    },
    output: (x, layer) => product(x, linearNames(layer).output, config.heads * config.headDim),
    gates(x, layer) {
      const { gate, up } = linearNames(layer);
      return [product(x, gate, hiddenSize), product(x, up, hiddenSize)];
    },
    down: ([gate, up], layer) => product(swiglu(gate, up), linearNames(layer).down, config.intermediateSize),
    logits: (x) => product(x, HEAD, hiddenSize),
  };
}
