/**
 * int8 weights by output channel, activations by row (docs/decisions/017-precision.md). q, k and v are one product, and
 * so is what follows it where the heads need no norm; gate and up share their quantised input.
 */
import {
  add,
  integerProduct,
  mul,
  type QuantizedRows,
  quantizeRows,
  scaleRows,
  swiglu,
  type Value,
} from 'onnx-grad';
import { EMBEDDING_NAME, type ModelConfig } from '../checkpoint/index.js';
import { lookUpTokens } from './float-weights.js';
import { HEAD, linearNames, packsAttention, scalesName } from './stored-names.js';
import type { DecoderWeights, Lookup } from './weights.js';

/** @param lookup gives the tensors of a quantised file (`stored-names.ts`). */
export function int8Weights(
  config: ModelConfig,
  lookup: Lookup,
  has: (name: string) => boolean,
): DecoderWeights {
  /** A product without the magnitudes of the rows. */
  const bare = (rows: QuantizedRows, name: string) =>
    integerProduct(rows, lookup(`${name}.weight`), lookup(scalesName(name)));
  const biased = (x: Value, name: string) => {
    const bias = `${name}.bias`;
    return has(bias) ? add(x, lookup(bias)) : x;
  };
  const product = (rows: QuantizedRows, name: string) =>
    biased(scaleRows(bare(rows, name), rows.magnitudes), name);
  const packed = packsAttention(config);
  return {
    inference: true,
    embed: (ids) => lookUpTokens(lookup(EMBEDDING_NAME), ids),
    norm: (name) => lookup(`${name}.weight`),
    attention(x, layer) {
      const names = linearNames(layer);
      const rows = quantizeRows(x);
      if (packed) return [product(rows, names.qkv)];
      return [product(rows, names.q), product(rows, names.k), product(rows, names.v)];
    },
    output: (x, layer) => product(quantizeRows(x), linearNames(layer).output),
    gates(x, layer) {
      const names = linearNames(layer);
      const rows = quantizeRows(x);
      const gate = product(rows, names.gate);
      // The quantised rows of silu(gate) * up do not depend on the scale of up's rows: `down` brings it back.
      if (config.mlpBias) return [gate, product(rows, names.up)];
      return [gate, bare(rows, names.up), rows.magnitudes];
    },
    down([gate, up, magnitudes], layer) {
      const name = linearNames(layer).down;
      const rows = quantizeRows(swiglu(gate, up));
      const scale = magnitudes === undefined ? rows.magnitudes : mul(rows.magnitudes, magnitudes);
      return biased(scaleRows(bare(rows, name), scale), name);
    },
    logits: (x) => product(quantizeRows(x), HEAD),
  };
}
