/**
 * int8 weights by output channel, activations by row (docs/decisions/017-precision.md). q, k and v are one product, and
 * so is what follows it where the heads need no norm; gate and up share their quantised input.
 */
import {
  add,
  concat,
  integerLinear,
  integerProduct,
  mul,
  type QuantizedRows,
  quantizeRows,
  scaleRows,
  split,
  swiglu,
  type Value,
} from 'onnx-grad';
import { EMBEDDING_NAME, HEAD_NAME, type ModelConfig } from '../checkpoint/index.js';
import { lookUpTokens, withTokenLogits } from './float-weights.js';
import { factorsNames, HEAD, linearNames, packsAttention, scalesName } from './stored-names.js';
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
  const sizes = [config.heads, config.kvHeads, config.kvHeads].map((count) => count * config.headDim);
  const adapted = (...names: string[]) => overlay !== undefined && names.some((name) => overlay.has(name));
  const overlaid = (y: Value, x: Value, name: string, inputs?: Value, outputs?: Value) =>
    overlay === undefined ? y : overlay.add(y, x, name, { inputs, outputs });
  const factors = (kind: keyof ReturnType<typeof factorsNames>, layer: number) => {
    const name = factorsNames(layer)[kind];
    return has(name) ? lookup(name) : undefined;
  };
  return {
    inference: !trained,
    embed: (ids) => lookUpTokens(lookup(EMBEDDING_NAME), ids, token),
    norm: (name) => lookup(`${name}.weight`),
    attention(x, layer) {
      const names = linearNames(layer);
      const apart = [names.q, names.k, names.v] as const;
      const rows = quantizeRows(x);
      const whole = packed ? frozen(x, names.qkv, rows) : undefined;
      if (whole !== undefined && !trained && !adapted(...apart)) return [whole];
      const parts = whole === undefined ? apart.map((name) => frozen(x, name, rows)) : split(whole, 1, sizes);
      const divided = factors('attention', layer);
      const [q, k, v] = parts.map((part, i) => overlaid(part, x, apart[i] as string, divided));
      if (q === undefined || k === undefined || v === undefined) throw new Error('internal: expected three');
      return packed && !trained ? [concat([q, k, v], 1)] : [q, k, v];
    },
    output(x, layer) {
      const { output } = linearNames(layer);
      return overlaid(frozen(x, output), x, output);
    },
    gates(x, layer) {
      const { gate, up, down } = linearNames(layer);
      const rows = quantizeRows(x);
      const divided = factors('gates', layer);
      const gated = overlaid(frozen(x, gate, rows), x, gate, divided);
      // The quantised rows of silu(gate) * up do not depend on the scale of up's rows: `down` brings it back.
      if (!trained && !config.mlpBias && !adapted(up, down)) return [gated, bare(rows, up), rows.magnitudes];
      return [gated, overlaid(frozen(x, up, rows), x, up, divided, factors('down', layer))];
    },
    down([gate, up, magnitudes], layer) {
      const { down } = linearNames(layer);
      const x = swiglu(gate, up);
      if (magnitudes === undefined) return overlaid(frozen(x, down), x, down, factors('down', layer));
      const rows = quantizeRows(x);
      return biased(scaleRows(bare(rows, down), mul(rows.magnitudes, magnitudes)), down);
    },
    logits: (x) =>
      withTokenLogits(frozen(x, HEAD), x, config.tieWordEmbeddings ? EMBEDDING_NAME : HEAD_NAME, token),
  };
}
