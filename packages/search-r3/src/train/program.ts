/**
 * One training program: the decoder over one or more padded batches, the terms of the loss, and the gradients of what
 * is trained. Several batches (groups) let short and long sequences share a program without padding the short ones.
 */
import {
  add,
  concat,
  type Dim,
  emit,
  Graph,
  gradients,
  mul,
  type Program,
  product,
  sum,
  type Value,
} from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import {
  attendSequences,
  type DecoderWeights,
  decoder,
  embeddingsAt,
  embedRows,
  type InferenceWeights,
  normalizeRows,
  type RopeInputs,
  ropeInputs,
  type TrainingWeights,
} from '../decoder/index.js';
import { contrastiveLoss } from './contrastive.js';
import { labelLoss } from './head.js';
import type { Objective } from './terms/index.js';
import { targetLogProbabilities } from './terms/policy-gradient.js';

export interface TrainingProgramOptions {
  objective: Objective;
  /** Padded batches per run. */
  groups: number;
  /** In how many parts the labelled rows pass the head (see `headParts`); 0 leaves the terms on labels out. */
  parts: number;
  /**
   * Where the gradient of the embeddings comes from: the terms in the graph, or given (`embedding_gradients`
   * [embeds, hidden]) when the embeddings of a large batch are spread over several runs. `none` leaves them out.
   */
  embeddings: 'inGraph' | 'given' | 'none';
  /** Recompute activations per layer in the backward pass. */
  checkpoint: boolean;
}

export const gradientName = (parameter: string) => `gradient:${parameter}`;
export const idsName = (group: number) => `ids_${group}`;
/** The dimension of a group's tokens, padding included. */
export const tokensOf = (group: number): Dim => product(`batch_${group}`, `length_${group}`);
/** Positions of a group, among its batch * length, whose hidden states are needed. */
export const wantedName = (group: number) => `wanted_${group}`;

/** Wanted hidden states of all groups, [wanted, hidden]: those of a group after those of the groups before it. */
function hiddenStates(
  graph: Graph,
  config: ModelConfig,
  weights: DecoderWeights,
  rope: RopeInputs,
  { groups, checkpoint }: TrainingProgramOptions,
): Value {
  const parts = Array.from({ length: groups }, (_, group) => {
    const ids = graph.input(idsName(group), 'int64', [`batch_${group}`, `length_${group}`]);
    return decoder({
      config,
      weights,
      ids,
      attend: attendSequences(config, ids, rope),
      checkpoint,
      wanted: graph.input(wantedName(group), 'int64', [wantedName(group)]),
    });
  });
  return parts.length === 1 ? (parts[0] as Value) : concat(parts, 0, 'wanted');
}

/**
 * Loss and gradients of the rows of `label_rows_0`, ... and `embed_rows`, which count the wanted hidden states. To be
 * run in place: the gradients may be as large as the model, and a copy of each would be made.
 * Outputs: `loss`, `embeddings`, those of the terms, and `gradient:NAME` for everything that is trained.
 */
export function trainingProgram(
  config: ModelConfig,
  training: TrainingWeights,
  options: TrainingProgramOptions,
): Program {
  const graph = new Graph();
  const declared = training.declare(graph, { dropout: true });
  const rope = ropeInputs(graph, config);
  const { objective, parts } = options;
  const hidden = hiddenStates(graph, config, declared.weights, rope, options);
  const losses: Value[] = [];
  if (parts > 0) losses.push(labelLoss({ graph, config, declared, rope, hidden, objective, parts }));
  if (options.embeddings !== 'none') {
    const embeddings = embeddingsAt(hidden);
    graph.output('embeddings', embeddings);
    if (options.embeddings === 'inGraph') losses.push(contrastiveLoss(embeddings, objective));
    else {
      const given = graph.input('embedding_gradients', 'float32', ['embeds', config.hiddenSize]);
      losses.push(sum(mul(given, embeddings)));
    }
  }
  const loss = losses.reduce((total, term) => add(total, term));
  graph.output('loss', loss);
  const names = [...declared.trained.keys()];
  for (const [i, gradient] of gradients(loss, [...declared.trained.values()]).entries()) {
    graph.output(gradientName(names[i] as string), gradient);
  }
  return emit(graph, { inPlace: true });
}

/** The terms on embeddings alone: `embeddings` [embeds, width] -> `loss`, its outputs, and `embedding_gradients`. */
export function contrastiveProgram(width: number, objective: Objective): Program {
  const graph = new Graph();
  const embeddings = graph.input('embeddings', 'float32', ['embeds', width]);
  const loss = contrastiveLoss(embeddings, objective);
  graph.output('loss', loss);
  const [gradient] = gradients(loss, [embeddings]);
  graph.output('embedding_gradients', gradient as Value);
  return emit(graph);
}

/** Hidden states [labels, hidden] of `ids` [batch, length] at `label_rows`: `hidden`. */
export function labelStatesProgram(config: ModelConfig, given: TrainingWeights | InferenceWeights): Program {
  const graph = new Graph();
  const weights = declaredWeights(graph, given);
  const rope = ropeInputs(graph, config);
  const ids = graph.input('ids', 'int64', ['batch', 'length']);
  const wanted = graph.input('label_rows', 'int64', ['labels']);
  const attend = attendSequences(config, ids, rope);
  graph.output('hidden', decoder({ config, weights, ids, attend, wanted }));
  return emit(graph);
}

/** Log-probabilities of `label_targets` after `hidden` [labels, hidden] at a temperature: `logProbabilities` [labels]. */
export function logProbabilityProgram(
  config: ModelConfig,
  given: TrainingWeights | InferenceWeights,
): Program {
  const graph = new Graph();
  const weights = declaredWeights(graph, given);
  const hidden = graph.input('hidden', 'float32', ['labels', config.hiddenSize]);
  const targets = graph.input('label_targets', 'int64', ['labels']);
  const at = targetLogProbabilities(graph);
  graph.output('logProbabilities', at(weights.logits(hidden), targets));
  return emit(graph);
}

const declaredWeights = (graph: Graph, given: TrainingWeights | InferenceWeights): DecoderWeights =>
  'declare' in given ? given.declare(graph).weights : given.weightsIn(graph);

/** `ids` [batch, length], `embed_rows` -> `embeddings` [embeds, hidden], by the arithmetic of the training program. */
export function pieceProgram(config: ModelConfig, training: TrainingWeights): Program {
  const graph = new Graph();
  const ids = graph.input('ids', 'int64', ['batch', 'length']);
  const { weights } = training.declare(graph, { dropout: true });
  const attend = attendSequences(config, ids, ropeInputs(graph, config));
  const hidden = decoder({ config, weights, ids, attend, wanted: embedRows(graph) });
  graph.output('embeddings', normalizeRows(hidden));
  return emit(graph);
}
