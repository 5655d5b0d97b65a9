/** Merges an adapter into the weights of its base: an ordinary model that computes the same. */
import { type Adapter, embedRow, loraA, loraB, loraScale } from '../lora.js';
import { EMBEDDING_NAME, HEAD_NAME, type Weights, type WeightTensor } from '../parameters.js';

/**
 * `W + scale B A` for each linear layer with a pair, and the adapter's rows in the token tables. Arrays without an adapter
 * are shared with the base.
 * @param weights of the base, with a row for the adapter's token.
 */
export function mergeAdapter(weights: Weights, adapter: Adapter): Weights {
  const scale = loraScale(adapter);
  const merged: Weights = new Map(weights);
  for (const [name, tensor] of weights) {
    const linear = name.replace(/\.weight$/, '');
    const [a, b] = [adapter.weights.get(loraA(linear)), adapter.weights.get(loraB(linear))];
    if (a !== undefined && b !== undefined) merged.set(name, withPair(tensor, a.data, b.data, scale));
  }
  for (const table of [EMBEDDING_NAME, HEAD_NAME]) {
    const row = adapter.weights.get(embedRow(table));
    const tensor = weights.get(table);
    if (row === undefined || tensor === undefined || adapter.tokenId === undefined) continue;
    const data = tensor.data.slice();
    data.set(row.data, adapter.tokenId * row.data.length);
    merged.set(table, { ...tensor, data });
  }
  return merged;
}

function withPair(
  { data, shape }: WeightTensor,
  a: Float32Array,
  b: Float32Array,
  scale: number,
): WeightTensor {
  const [outputs = 0, inputs = 0] = shape;
  const rank = a.length / inputs;
  const sum = new Float64Array(inputs);
  const changed = new Float32Array(data.length);
  for (let output = 0; output < outputs; output++) {
    sum.fill(0);
    for (let r = 0; r < rank; r++) {
      const factor = scale * (b[output * rank + r] as number);
      for (let input = 0; input < inputs; input++) {
        sum[input] = (sum[input] as number) + factor * (a[r * inputs + input] as number);
      }
    }
    const start = output * inputs;
    for (let input = 0; input < inputs; input++) {
      changed[start + input] = (data[start + input] as number) + (sum[input] as number);
    }
  }
  return { data: changed, shape };
}
