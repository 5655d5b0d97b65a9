/** Weights in blocks of 4 or 8 bits (ONNX Runtime's MatMulNBits): closer to float32 than int8 by column, but slower. */
import { add, blockProduct, swiglu, type Value } from 'onnx-grad';
import { EMBEDDING_NAME, type ModelConfig } from '../checkpoint/index.js';
import { headTable, lookUpTokens, withTokenLogits } from './float-weights.js';
import { quantizedOverlay } from './quantized-overlay.js';
import { HEAD, linearNames, packsAttention, scalesName } from './stored-names.js';
import type { DecoderWeights, Lookup, WeightsUse } from './weights.js';

/** Weights that share a scale. */
export const BLOCK = 32;

/** @param lookup gives the tensors of a quantised file (`stored-names.ts`). */
export function blockWeights(
  config: ModelConfig,
  bits: 4 | 8,
  lookup: Lookup,
  has: (name: string) => boolean,
  { overlay, token = overlay?.token }: Omit<WeightsUse, 'trained'> = {},
): DecoderWeights {
  const frozen = (x: Value, name: string): Value => {
    const width = x.shape[1];
    if (typeof width !== 'number') throw new TypeError('internal: expected rows of known width');
    const weight = { packed: lookup(`${name}.weight`), scales: lookup(scalesName(name)), bits, block: BLOCK };
    const y = blockProduct(x, weight, width);
    const bias = `${name}.bias`;
    return has(bias) ? add(y, lookup(bias)) : y;
  };
  const packed = packsAttention(config);
  const adapter = quantizedOverlay(config, lookup, overlay);
  /** A linear layer of a decoder layer, with its adapter. */
  const linear = (x: Value, name: string, layer: number) => adapter.add(frozen(x, name), x, name, layer);
  return {
    inference: true,
    embed: (ids) => lookUpTokens(lookup(EMBEDDING_NAME), ids, token),
    norm: (name) => lookup(`${name}.weight`),
    attention(x, layer) {
      const { q, k, v, qkv } = linearNames(layer);
      if (packed) return [adapter.addTogether(frozen(x, qkv), x, layer)];
      return [linear(x, q, layer), linear(x, k, layer), linear(x, v, layer)];
    },
    output: (x, layer) => linear(x, linearNames(layer).output, layer),
    gates(x, layer) {
      const { gate, up } = linearNames(layer);
      return [linear(x, gate, layer), linear(x, up, layer)];
    },
    down: ([gate, up], layer) => linear(swiglu(gate, up), linearNames(layer).down, layer),
    logits: (x) => withTokenLogits(frozen(x, HEAD), x, headTable(config), token),
  };
}
