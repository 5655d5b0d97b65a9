/** From hidden states to embeddings: the state at the embed token, scaled to length 1. */
import { add, div, emit, Graph, gatherRows, mul, type Program, sqrt, sum, type Value } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { decoder, parameterInputs } from './decoder.js';
import { attendSequences, ropeInputs } from './sequence.js';

/**
 * How far the embeddings of one text may lie apart (Euclidean distance of unit vectors) when it is padded on the left,
 * on the right, on both sides or not at all, and whatever batch it is in. Measured: at most 6e-7, on models of width
 * 16 and 192; the rest is room for other machines' kernels.
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

export interface EmbeddingProgramOptions {
  /** Take batches padded anywhere: further inputs `mask` and `positions` [batch, length]. Default false. */
  masked?: boolean;
}

/** `ids` [batch, length] (padded on the right), `embed_rows` -> `embeddings` [embeds, hidden]. */
export function embeddingProgram(config: ModelConfig, options: EmbeddingProgramOptions = {}): Program {
  const graph = new Graph();
  const shape = ['batch', 'length'];
  const ids = graph.input('ids', 'int64', shape);
  const masked = options.masked ?? false;
  const padding = masked && {
    mask: graph.input('mask', 'int64', shape),
    positions: graph.input('positions', 'int64', shape),
  };
  const parameters = parameterInputs(graph, config);
  const attend = attendSequences(config, { ids, ...padding }, ropeInputs(graph, config));
  const hidden = decoder({ config, parameters, ids, attend, wanted: embedRows(graph) });
  graph.output('embeddings', normalizeRows(hidden));
  return emit(graph);
}
