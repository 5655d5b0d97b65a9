/**
 * Attention over whole sequences, for training and embedding, and the padded batches it takes. Sequences are padded on
 * the right: with causal attention no real token sees a padded one, so no padding mask is needed. A mask can be given
 * for batches padded otherwise.
 */
import {
  add,
  attention,
  cast,
  type Graph,
  type HostTensor,
  i64,
  iota,
  lessOrEqual,
  mul,
  reshape,
  rotary,
  sub,
  type Value,
  where,
} from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import type { Attend } from './decoder.js';

/** Far below any score, yet finite: a row that sees nothing gives a mean instead of NaN. */
const HIDDEN = -1e9;

export interface SequenceInputs {
  /** int64 [batch, length]; its dimensions are the symbols of the graph. */
  ids: Value;
  /** int64 [batch, length]: 1 for real tokens, 0 for padding. Without it, padding is on the right. */
  mask?: Value;
  /** int64 [batch, length], needed with a mask; otherwise 0, 1, 2, ... in every row. */
  positions?: Value;
}

/** The angle tables as inputs shared by all models of a graph. */
export interface RopeInputs {
  cos: Value;
  sin: Value;
}

export function ropeInputs(graph: Graph, config: ModelConfig): RopeInputs {
  const shape = ['positions', config.headDim / 2];
  return { cos: graph.input('rope_cos', 'float32', shape), sin: graph.input('rope_sin', 'float32', shape) };
}

/** Causal attention over a batch of sequences, differentiable. */
export function attendSequences(config: ModelConfig, inputs: SequenceInputs, rope: RopeInputs): Attend {
  const { ids } = inputs;
  const { graph } = ids;
  const [batch = 1, length = 1] = ids.shape;
  const index = iota(graph, length);
  const allowed = lessOrEqual(reshape(index, [1, 1, 1, 1, length]), reshape(index, [1, 1, 1, length, 1]));
  let bias = where(allowed, graph.scalar(0), graph.scalar(HIDDEN));
  if (inputs.mask !== undefined) {
    const padding = mul(sub(graph.scalar(1), cast(inputs.mask, 'float32')), graph.scalar(HIDDEN));
    bias = add(bias, reshape(padding, [batch, 1, 1, 1, length]));
  }
  // Ids times zero plus 0, 1, 2, ...: positions of every row without another input.
  const zero = graph.constant({ dtype: 'int64', shape: [], data: BigInt64Array.of(0n) });
  const positions = inputs.positions ?? add(mul(ids, zero), reshape(index, [1, length]));
  const turn = (x: Value, heads: number) => rotary(x, positions, rope.cos, rope.sin, heads);
  return (_, q, k, v) =>
    attention(turn(q, config.heads), turn(k, config.kvHeads), v, bias, {
      heads: config.heads,
      kvHeads: config.kvHeads,
      headDim: config.headDim,
    });
}

/** Token sequences as one right-padded batch. */
export interface TokenBatch {
  ids: HostTensor;
  batch: number;
  length: number;
}

/** Pads sequences on the right with `pad`. */
export function padRight(sequences: readonly (readonly number[])[], pad: number): TokenBatch {
  const length = Math.max(1, ...sequences.map((sequence) => sequence.length));
  const ids = new Array<number>(sequences.length * length).fill(pad);
  for (const [row, sequence] of sequences.entries()) {
    for (const [i, id] of sequence.entries()) ids[row * length + i] = id;
  }
  return { ids: i64(ids, [sequences.length, length]), batch: sequences.length, length };
}
