/**
 * What the decoder multiplies with. The definition in `decoder.ts` is one; the weights behind it differ: float32 that
 * training changes (`float-weights.ts`), int8 by column (`int8-weights.ts`), 4 or 8 bits by block (`block-weights.ts`).
 */
import { f32, type Graph, type HostTensor, type Value } from 'onnx-grad';
import type { Checkpoint, ModelConfig } from '../checkpoint/index.js';
import type { Precision } from './precision-names.js';
import type { TokenRow } from './token-row.js';

/** q, k and v, or one value with all side by side. */
export type Projections = readonly [qkv: Value] | readonly [q: Value, k: Value, v: Value];

/** What `down` needs, from the first half of the feed-forward network. */
export type Gates = readonly [gate: Value, up: Value] | readonly [gate: Value, up: Value, scale: Value];

/** The weights of a decoder in a graph, as the steps that use them. Rows are batch * length. */
export interface DecoderWeights {
  /** No gradient will be asked for: norms, residuals and attention use fused kernels. */
  readonly inference: boolean;
  /** Rows of the embedding table for int64 ids [batch, length]: [batch, length, hidden]. */
  embed(ids: Value): Value;
  /** The weight of a norm, by the Hugging Face name without `.weight`. */
  norm(name: string): Value;
  /** x [rows, hidden] -> [rows, heads * headDim] each, before rotation. */
  attention(x: Value, layer: number): Projections;
  /** Attended values [rows, heads * headDim] -> [rows, hidden]. */
  output(x: Value, layer: number): Value;
  /** x [rows, hidden] -> [rows, intermediate] each; `scale` [rows, 1] is a factor that the rows of up still need. */
  gates(x: Value, layer: number): Gates;
  /** silu(gate) * up, projected: [rows, hidden]. */
  down(gates: Gates, layer: number): Value;
  /** The head: [rows, hidden] -> [rows, vocabulary]. */
  logits(x: Value): Value;
}

/** A stored tensor as a value of a graph. @throws Error for one that the model does not have. */
export type Lookup = (name: string) => Value;

/** How a linear layer was changed by smoothing (`smoothing.ts`); undefined where it was not. */
export interface Smoothed {
  /** [inputs]: what its inputs were divided by. */
  inputs?: Value | undefined;
  /** [outputs]: what its outputs were divided by. */
  outputs?: Value | undefined;
}

/** An adapter declared in a graph. */
export interface Overlay {
  has(name: string): boolean;
  /** y [rows, outputs] and the adapter's part of the linear layer `name`, which reads x [rows, inputs]. */
  add(y: Value, x: Value, name: string, smoothed?: Smoothed): Value;
  readonly token: TokenRow | undefined;
}

/** What the weights are used for, and what is laid over them. */
export interface WeightsUse {
  /** Whether gradients are needed. Default false. */
  trained?: boolean;
  /** A row in place of that of its token in each token table. */
  token?: TokenRow | undefined;
  overlay?: Overlay | undefined;
}

/** The weights of a decoder, declared in a graph. */
export type WeightsIn = (graph: Graph) => DecoderWeights;

/** The weights of a model as they are stored: nothing changes them, but an adapter may be laid over them. */
export interface FrozenWeights {
  readonly config: ModelConfig;
  readonly precision: Precision;
  /** Declares them in a graph; to be called once. */
  declare(graph: Graph): Lookup;
  has(name: string): boolean;
  /** Weights in JavaScript memory, by reference; those in files are part of the program. */
  readonly feeds: Readonly<Record<string, HostTensor>>;
}

/** Weights for inference: how a program declares them, and what is bound to its session. */
export interface InferenceWeights {
  readonly weightsIn: WeightsIn;
  /** Weights in JavaScript memory, by reference; those in files are part of the program. */
  readonly feeds: Readonly<Record<string, HostTensor>>;
}

/** The weights as feeds of a program, sharing their memory. */
export function parameterFeeds({ weights }: Pick<Checkpoint, 'weights'>): Record<string, HostTensor> {
  return Object.fromEntries([...weights].map(([name, { data, shape }]) => [name, f32(data, shape)]));
}
