/**
 * Attention over whole sequences, for training and embedding, and the padded batches it takes. Sequences are padded on
 * the right: with causal attention no real token sees a padded one, so no padding mask is needed.
 */
import {
  add,
  attention,
  type Graph,
  type HostTensor,
  i64,
  iota,
  lessOrEqual,
  mul,
  reshape,
  rotary,
  type Value,
  where,
} from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import type { Attend } from './decoder.js';

/** Far below any score, yet finite. */
const HIDDEN = -1e9;

/** The angle tables as inputs shared by all models of a graph. */
export interface RopeInputs {
  cos: Value;
  sin: Value;
}

export function ropeInputs(graph: Graph, config: ModelConfig): RopeInputs {
  const shape = ['positions', config.headDim / 2];
  return { cos: graph.input('rope_cos', 'float32', shape), sin: graph.input('rope_sin', 'float32', shape) };
}

/** 0, 1, 2, ... in every row of int64 ids [batch, length]: ids times zero plus the index, without another input. */
export function positionsOf(ids: Value): Value {
  const { graph } = ids;
  const [, length = 1] = ids.shape;
  const zero = graph.constant({ dtype: 'int64', shape: [], data: BigInt64Array.of(0n) });
  return add(mul(ids, zero), reshape(iota(graph, length), [1, length]));
}

/** Causal attention over ids [batch, length], differentiable. Its dimensions are the symbols of the graph. */
export function attendSequences(config: ModelConfig, ids: Value, rope: RopeInputs): Attend {
  const { graph } = ids;
  const [, length = 1] = ids.shape;
  const index = iota(graph, length);
  const allowed = lessOrEqual(reshape(index, [1, 1, 1, 1, length]), reshape(index, [1, 1, 1, length, 1]));
  const bias = where(allowed, graph.scalar(0), graph.scalar(HIDDEN));
  const positions = positionsOf(ids);
  const turn = (x: Value, heads: number) => rotary(x, positions, rope.cos, rope.sin, heads);
  return (_, q, k, v) => {
    if (k === undefined || v === undefined) throw new Error('internal: expected q, k and v apart');
    return attention(turn(q, config.heads), turn(k, config.kvHeads), v, bias, {
      heads: config.heads,
      kvHeads: config.kvHeads,
      headDim: config.headDim,
    });
  };
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
