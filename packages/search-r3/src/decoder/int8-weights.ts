/**
 * int8 weights by output channel, activations by row (docs/decisions/017-precision.md). q, k and v are one product, and
 * so is what follows it where the heads need no norm; gate and up share their quantised input.
 */
import {
  add,
  integerLinear,
  integerProduct,
  mul,
  type QuantizedRows,
  quantizeRows,
  scaleRows,
  swiglu,
  type Value,
} from 'onnx-grad';
import { EMBEDDING_NAME, type ModelConfig } from '../checkpoint/index.js';
import { headTable, lookUpTokens, withTokenLogits } from './float-weights.js';
import { quantizedOverlay } from './quantized-overlay.js';
import { HEAD, linearNames, packsAttention, scalesName } from './stored-names.js';
import type { DecoderWeights, Lookup, WeightsUse } from './weights.js';

/** @param lookup gives the tensors of a quantised file (`stored-names.ts`). */
export function int8Weights(
  config: ModelConfig,
  lookup: Lookup,
  has: (name: string) => boolean,
  { trained = false, overlay, token = overlay?.token }: WeightsUse = {},
): DecoderWeights {
  const weightOf = (name: string) => ({
    values: lookup(`${name}.weight`),
    scales: lookup(scalesName(name)),
  });
  const biased = (x: Value, name: string) => {
    const bias = `${name}.bias`;
    return has(bias) ? add(x, lookup(bias)) : x;
  };
  const frozen = (x: Value, name: string, rows?: QuantizedRows) =>
    biased(integerLinear(x, weightOf(name), rows), name);
  /** A product without the magnitudes of the rows. */
  const bare = (rows: QuantizedRows, name: string) =>
    integerProduct(rows, lookup(`${name}.weight`), lookup(scalesName(name)));
  const packed = packsAttention(config);
  const adapter = quantizedOverlay(config, lookup, overlay);
  /** A linear layer of a decoder layer, with its adapter. */
  const linear = (x: Value, name: string, layer: number, rows?: QuantizedRows) =>
    adapter.add(frozen(x, name, rows), x, name, layer);
  return {
    inference: !trained,
    embed: (ids) => lookUpTokens(lookup(EMBEDDING_NAME), ids, token),
    norm: (name) => lookup(`${name}.weight`),
    attention(x, layer) {
      const { q, k, v, qkv } = linearNames(layer);
      const rows = quantizeRows(x);
      if (!packed) {
        return [linear(x, q, layer, rows), linear(x, k, layer, rows), linear(x, v, layer, rows)];
      }
      const whole = frozen(x, qkv, rows);
      return trained ? adapter.addApart(whole, x, layer) : [adapter.addTogether(whole, x, layer)];
    },
    output: (x, layer) => linear(x, linearNames(layer).output, layer),
    gates(x, layer) {
      const { gate, up, down } = linearNames(layer);
      const rows = quantizeRows(x);
      const gated = linear(x, gate, layer, rows);
      // The quantised rows of silu(gate) * up do not depend on the scale of up's rows: `down` brings it back.
      if (!trained && !config.mlpBias && !adapter.adapts(up, down))
        return [gated, bare(rows, up), rows.magnitudes];
      return [gated, linear(x, up, layer, rows)];
    },
    down([gate, up, magnitudes], layer) {
      const { down } = linearNames(layer);
      const x = swiglu(gate, up);
      if (magnitudes === undefined) return linear(x, down, layer);
      const rows = quantizeRows(x);
      return biased(scaleRows(bare(rows, down), mul(rows.magnitudes, magnitudes)), down);
    },
    logits: (x) => withTokenLogits(frozen(x, HEAD), x, headTable(config), token),
  };
}
