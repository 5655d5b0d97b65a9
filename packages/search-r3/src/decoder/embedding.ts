/** From hidden states to embeddings: the state at one token, scaled to length 1, and cut if the model says so. */
import { add, div, emit, Graph, gatherRows, mul, type Program, sqrt, sum, type Value } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { decoder } from './decoder.js';
import { attendPrompts } from './prompt-attention.js';
import { ropeInputs } from './sequence.js';
import type { WeightsIn } from './weights.js';

/**
 * How far the embeddings of one text may lie apart (Euclidean distance of unit vectors) whatever batch it is in.
 * Measured in float32: at most 6e-7, on models of width 16 and 192; the rest is room for other machines' kernels.
 */
export const EMBEDDING_TOLERANCE = 1e-5;

/** Rows scaled to length 1: [rows, width]. A zero row stays zero. */
export function normalizeRows(x: Value): Value {
  const squares = sum(mul(x, x), [-1], true);
  return div(x, sqrt(add(squares, x.graph.scalar(1e-24))));
}

/** The input `embed_rows` [embeds]: positions of embed tokens among batch * length. */
export const embedRows = (graph: Graph): Value => graph.input('embed_rows', 'int64', ['embeds']);

/** Embeddings [embeds, hidden] of unit length at `embedRows`. */
export function embeddingsAt(hidden: Value): Value {
  return normalizeRows(gatherRows(hidden, embedRows(hidden.graph)));
}

/**
 * The embedding of a hidden state: its first `dimensions` numbers (all by default; Matryoshka embeddings, Kusupati et
 * al. 2022, arXiv 2205.13147), scaled to length 1. A zero vector stays zero.
 */
export function embeddingOf(hidden: Float32Array, dimensions = hidden.length): Float32Array {
  const cut = hidden.subarray(0, dimensions);
  const length = Math.sqrt(cut.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? cut.slice() : cut.map((value) => value / length);
}

/**
 * `ids` [batch, length] padded on the right, `last_index` and `total` (see `attendPrompts`), `embed_rows` ->
 * `embeddings` [embeds, hidden].
 */
export function embeddingProgram(config: ModelConfig, weightsIn: WeightsIn): Program {
  const graph = new Graph();
  const ids = graph.input('ids', 'int64', ['batch', 'length']);
  const attend = attendPrompts(config, ids, ropeInputs(graph, config));
  const hidden = decoder({ config, weights: weightsIn(graph), ids, attend, wanted: embedRows(graph) });
  graph.output('embeddings', normalizeRows(hidden));
  return emit(graph);
}
