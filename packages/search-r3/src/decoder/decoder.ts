/**
 * The decoder (Llama, Qwen2, Qwen3) as one graph definition. Training, embedding and generation differ in how they
 * attend (`Attend`: over a whole batch of sequences, or over a key/value cache) and in their weights (`DecoderWeights`).
 */
import { add, addRmsNorm, type Dim, gatherRows, product, reshape, rmsNorm, type Value } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import type { DecoderWeights } from './weights.js';

/**
 * Attention of one layer over q [batch, length, heads * headDim], k and v [batch, length, kvHeads * headDim], before
 * rotary embedding; result like q. Without k and v, q holds all three side by side.
 */
export type Attend = (layer: number, q: Value, k?: Value, v?: Value) => Value;

export interface DecoderInputs {
  config: ModelConfig;
  weights: DecoderWeights;
  /** int64 [batch, length]. */
  ids: Value;
  attend: Attend;
  /** Recompute each layer in the backward pass instead of keeping its activations. Default false. */
  checkpoint?: boolean;
  /**
   * int64 [wanted], positions among batch * length: only their hidden states are computed to the end, the last layer's
   * output projection and feed-forward network being three quarters of it. Default all.
   */
  wanted?: Value;
}

/** Hidden states after the final norm, [batch * length, hidden] or [wanted, hidden]. */
export function decoder({ config, weights, ids, attend, checkpoint = false, wanted }: DecoderInputs): Value {
  const [batch = 1, length = 1] = ids.shape;
  const embedded = reshape(weights.embed(ids), [product(batch, length), config.hiddenSize]);
  const residual = decoderLayers({
    ...{ config, weights, attend, checkpoint },
    ...(wanted && { wanted }),
    x: embedded,
    shape: [batch, length],
    layers: Array.from({ length: config.layers }, (_, layer) => layer),
  });
  return residual.normed('model.norm');
}

export interface DecoderLayersInputs extends Omit<DecoderInputs, 'ids'> {
  /** [batch * length, hidden]. */
  x: Value;
  /** batch and length. */
  shape: readonly [Dim, Dim];
  /** Which layers to run; `wanted` refers to the last one of the model. */
  layers: readonly number[];
}

/** The residual stream after the given layers. */
export function decoderLayers(inputs: DecoderLayersInputs): Residual {
  const { config, weights, attend, checkpoint = false, wanted, x, shape, layers } = inputs;
  const [batch, length] = shape;
  const rows = product(batch, length);
  const { graph } = x;

  // What a norm, a gate or attention gives is cheap to compute again: it is not kept for the backward pass. (The
  // projections themselves are not repeated: nothing in the backward pass needs their results.)
  const recomputed = <T>(values: () => readonly Value[], build: () => T): T =>
    checkpoint || weights.inference ? build() : graph.checkpoint(values(), build);

  /** q and k of Qwen3 are normalised head by head. */
  const heads = (projected: Value, layer: number, name: string, count: number): Value => {
    const width = count * config.headDim;
    if (!config.qkNorm || name === 'v') return reshape(projected, [batch, length, width]);
    const perHead = reshape(projected, [product(rows, count), config.headDim]);
    const weight = weights.norm(`model.layers.${layer}.self_attn.${name}_norm`);
    return reshape(rmsNorm(perHead, weight, config.rmsNormEps), [batch, length, width]);
  };
  const block = (residual: Residual, layer: number): void => {
    const at = `model.layers.${layer}`;
    const projected = recomputed(
      () => [residual.x],
      () => weights.attention(residual.normed(`${at}.input_layernorm`), layer),
    );
    const attended = recomputed(
      () => projected,
      () => {
        if (projected.length === 1) {
          const width = (config.heads + 2 * config.kvHeads) * config.headDim;
          return attend(layer, reshape(projected[0], [batch, length, width]));
        }
        const [q, k, v] = projected;
        return attend(
          layer,
          heads(q, layer, 'q', config.heads),
          heads(k, layer, 'k', config.kvHeads),
          heads(v, layer, 'v', config.kvHeads),
        );
      },
    );
    const last = wanted !== undefined && layer === config.layers - 1;
    const flat = reshape(attended, [rows, config.heads * config.headDim]);
    if (last) residual.keep(wanted);
    residual.add(weights.output(last ? gatherRows(flat, wanted) : flat, layer));
    const gates = recomputed(
      () => [residual.x],
      () => weights.gates(residual.normed(`${at}.post_attention_layernorm`), layer),
    );
    const down = recomputed(
      () => gates,
      () => weights.down(gates, layer),
    );
    residual.add(down);
  };

  let residual = new Residual(x, weights, config.rmsNormEps);
  for (const layer of layers) {
    const input = residual;
    const run = () => {
      block(input, layer);
      return input;
    };
    residual = checkpoint ? graph.checkpoint([input.x], run) : run();
  }
  return residual;
}

/**
 * The sum that layers add to. For inference, an addition and the norm that follows it are one kernel, so the addition
 * waits for the norm.
 */
export class Residual {
  #x: Value;
  #pending: Value | undefined;
  readonly #weights: DecoderWeights;
  readonly #epsilon: number;

  constructor(x: Value, weights: DecoderWeights, epsilon: number) {
    this.#x = x;
    this.#weights = weights;
    this.#epsilon = epsilon;
  }

  /** [rows, hidden]. */
  get x(): Value {
    if (this.#pending !== undefined) {
      this.#x = add(this.#x, this.#pending);
      this.#pending = undefined;
    }
    return this.#x;
  }

  add(y: Value): void {
    const x = this.x;
    if (this.#weights.inference) this.#pending = y;
    else this.#x = add(x, y);
  }

  /** Keeps some rows only. */
  keep(rows: Value): void {
    this.#x = gatherRows(this.x, rows);
  }

  /** Normalised by the norm of this name. */
  normed(name: string): Value {
    const weight = this.#weights.norm(name);
    if (this.#pending === undefined) return rmsNorm(this.#x, weight, this.#epsilon);
    const { normed, sum } = addRmsNorm(this.#x, this.#pending, weight, this.#epsilon);
    this.#x = sum;
    this.#pending = undefined;
    return normed;
  }
}
