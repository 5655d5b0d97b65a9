/**
 * The decoder (Llama, Qwen2, Qwen3) as one graph definition. Training, embedding and generation differ only in how they
 * attend (`Attend`): over a whole batch of sequences, or over a key/value cache.
 */
import {
  add,
  type Graph,
  gatherRows,
  linear,
  product,
  reshape,
  rmsNorm,
  swiglu,
  type Value,
} from 'onnx-grad';
import { type ModelConfig, parameterShapes } from '../checkpoint/index.js';
import { lookUpTokens, type TokenRow } from './token-row.js';

/** The parameters of a model as values of a graph, by their Hugging Face names. */
export type ParameterValues = ReadonlyMap<string, Value>;

/** Declares a model's parameters as graph inputs, each name preceded by `prefix`. */
export function parameterInputs(graph: Graph, config: ModelConfig, prefix = ''): ParameterValues {
  const values = new Map<string, Value>();
  for (const [name, shape] of parameterShapes(config)) {
    values.set(name, graph.input(prefix + name, 'float32', shape));
  }
  return values;
}

/**
 * Attention of one layer: q [batch, length, heads * headDim], k and v [batch, length, kvHeads * headDim], before rotary
 * embedding; result like q.
 */
export type Attend = (layer: number, q: Value, k: Value, v: Value) => Value;

export interface DecoderInputs {
  config: ModelConfig;
  parameters: ParameterValues;
  /** int64 [batch, length]. */
  ids: Value;
  attend: Attend;
  /** Recompute each layer in the backward pass instead of keeping its activations. Default false. */
  checkpoint?: boolean;
  /** A row in place of that of its token in the embedding table. */
  token?: TokenRow | undefined;
  /**
   * int64 [wanted], positions among batch * length: only their hidden states are computed to the end, the last layer's
   * output projection and feed-forward network being three quarters of it. Default all.
   */
  wanted?: Value;
}

/** Looks parameters up; a missing one is a programming error, since checkpoints are validated when loaded. */
function lookup(parameters: ParameterValues, name: string): Value {
  const value = parameters.get(name);
  if (value === undefined) throw new Error(`internal: the decoder has no parameter ${name}`);
  return value;
}

/** Hidden states after the final norm, [batch * length, hidden] or [wanted, hidden]. */
export function decoder({
  config,
  parameters,
  ids,
  attend,
  checkpoint = false,
  token,
  wanted,
}: DecoderInputs): Value {
  const [batch = 1, length = 1] = ids.shape;
  const rows = product(batch, length);
  const parameter = (name: string) => lookup(parameters, name);
  const project = (x: Value, name: string) =>
    linear(x, parameter(`${name}.weight`), parameters.get(`${name}.bias`));

  // What a norm, a gate or attention gives is cheap to compute again: it is not kept for the backward pass. (The
  // projections themselves are not repeated: nothing in the backward pass needs their results.)
  const recomputed = <T>(inputs: Value[], build: () => T): T =>
    checkpoint ? build() : ids.graph.checkpoint(inputs, build);

  const block = (x: Value, layer: number): Value => {
    const at = `model.layers.${layer}`;
    const norm = (y: Value, name: string) => rmsNorm(y, parameter(`${at}.${name}.weight`), config.rmsNormEps);
    const heads = (projected: Value, name: string, count: number): Value => {
      const width = count * config.headDim;
      if (!config.qkNorm || name === 'v') return reshape(projected, [batch, length, width]);
      // Qwen3 normalises each head of q and k by itself.
      const perHead = reshape(projected, [product(rows, count), config.headDim]);
      return reshape(norm(perHead, `self_attn.${name}_norm`), [batch, length, width]);
    };
    const [q, k, v] = recomputed([x], () => {
      const normed = norm(x, 'input_layernorm');
      return ['q', 'k', 'v'].map((name) => project(normed, `${at}.self_attn.${name}_proj`));
    }) as [Value, Value, Value];
    const attended = recomputed([q, k, v], () =>
      attend(
        layer,
        heads(q, 'q', config.heads),
        heads(k, 'k', config.kvHeads),
        heads(v, 'v', config.kvHeads),
      ),
    );
    const kept = (y: Value) =>
      wanted !== undefined && layer === config.layers - 1 ? gatherRows(y, wanted) : y;
    const flat = reshape(attended, [rows, config.heads * config.headDim]);
    const middle = add(kept(x), project(kept(flat), `${at}.self_attn.o_proj`));
    const [gate, up] = recomputed([middle], () => {
      const fed = norm(middle, 'post_attention_layernorm');
      return ['gate', 'up'].map((name) => project(fed, `${at}.mlp.${name}_proj`));
    }) as [Value, Value];
    const down = recomputed([gate, up], () => project(swiglu(gate, up), `${at}.mlp.down_proj`));
    return add(middle, down);
  };

  let x = reshape(lookUpTokens(parameters, ids, token), [rows, config.hiddenSize]);
  for (let layer = 0; layer < config.layers; layer++) {
    const input = x;
    x = checkpoint ? x.graph.checkpoint([input], () => block(input, layer)) : block(input, layer);
  }
  return rmsNorm(x, parameter('model.norm.weight'), config.rmsNormEps);
}
