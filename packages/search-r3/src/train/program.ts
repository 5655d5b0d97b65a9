/**
 * One training program: the decoder over one or more padded batches, the terms of the loss, and the gradients of all
 * parameters. Several batches (groups) let short and long sequences share a program without padding the short ones.
 */
import {
  add,
  concat,
  emit,
  Graph,
  gatherRows,
  gradients,
  mul,
  type Program,
  sum,
  type Value,
} from 'onnx-grad';
import type { Checkpoint, ModelConfig } from '../checkpoint/index.js';
import {
  attendSequences,
  type DecoderWeights,
  decoder,
  embeddingsAt,
  embedRows,
  floatWeights,
  type InferenceWeights,
  lookupIn,
  normalizeRows,
  parameterInputs,
  ropeInputs,
  type TrainingWeights,
} from '../decoder/index.js';
import {
  type ContrastiveTermOptions,
  contrastiveTerm,
  crossEntropyTerm,
  klTerm,
  labelInputs,
  type PolicyGradientTermOptions,
  policyGradientTerm,
} from './terms.js';

export interface ObjectiveOptions {
  /** What the labelled positions mean: imitation (stage 1) or policy gradient (stage 2). */
  tokens: { kind: 'crossEntropy' } | ({ kind: 'policyGradient' } & PolicyGradientTermOptions);
  /** KL(base || policy). */
  baseKl?: BaseKlOptions;
  contrastive: ContrastiveTermOptions;
}

export interface BaseKlOptions {
  /** The number of tokens that the base knows. */
  vocabulary: number;
  /**
   * The base, with weights of its own, which are frozen inputs of the same program. Default: what is trained without its
   * adapter, on the same inputs.
   */
  base?: Pick<Checkpoint, 'config' | 'weights'> | undefined;
}

export interface TrainingProgramOptions extends ObjectiveOptions {
  /** Padded batches per run. */
  groups: number;
  /**
   * Where the gradient of the embeddings comes from: the contrastive term in the graph, or given (`embedding_gradients`
   * [embeds, hidden]) when the embeddings of a large batch are spread over several runs.
   */
  embeddings: 'inGraph' | 'given';
  /** Recompute activations per layer in the backward pass. */
  checkpoint: boolean;
}

/** The prefix of the parameters of a base with weights of its own. */
export const BASE_PREFIX = 'base.';
export const gradientName = (parameter: string) => `gradient:${parameter}`;
export const idsName = (group: number) => `ids_${group}`;
/** Positions of a group, among its batch * length, whose hidden states are needed. */
export const wantedName = (group: number) => `wanted_${group}`;

/** Wanted hidden states of all groups, [wanted, hidden]: those of a group after those of the groups before it. */
function hiddenStates(
  graph: Graph,
  config: ModelConfig,
  weights: DecoderWeights,
  rope: ReturnType<typeof ropeInputs>,
  groups: number,
  checkpoint: boolean,
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
 * Loss and gradients of the rows of `label_rows` and `embed_rows`, which count the wanted hidden states. To be run in place: the gradients are as large as the model, and a copy of each would be made.
 * Outputs: `loss`, `embeddings`, those of the terms, and `gradient:NAME` for every trained parameter.
 */
export function trainingProgram(
  config: ModelConfig,
  training: TrainingWeights,
  options: TrainingProgramOptions,
): Program {
  const graph = new Graph();
  const { weights, base: frozen, trained } = training.declare(graph);
  const rope = ropeInputs(graph, config);
  const { tokens, baseKl } = options;
  const hidden = hiddenStates(graph, config, weights, rope, options.groups, options.checkpoint);
  const labels = labelInputs(graph);
  const scores = weights.logits(gatherRows(hidden, labels.rows));

  let loss: Value;
  switch (tokens.kind) {
    case 'crossEntropy':
      loss = crossEntropyTerm(scores, labels);
      break;
    case 'policyGradient':
      loss = policyGradientTerm(scores, labels, tokens);
      break;
    default:
      tokens satisfies never;
      throw new Error('internal: unknown token term');
  }
  if (baseKl !== undefined) {
    const base = baseWeights(graph, config, frozen, baseKl);
    const ids = graph.input('base_ids', 'int64', ['base_batch', 'base_length']);
    const states = decoder({
      ...base,
      ids,
      attend: attendSequences(base.config, ids, rope),
      wanted: graph.input('base_rows', 'int64', ['kl_rows']),
    });
    const baseScores = base.weights.logits(states);
    const policyScores = gatherRows(scores, graph.input('kl_labels', 'int64', ['kl_rows']));
    loss = add(loss, klTerm(policyScores, baseScores, baseKl.vocabulary));
  }
  const embeddings = embeddingsAt(hidden);
  graph.output('embeddings', embeddings);
  if (options.embeddings === 'inGraph') {
    loss = add(loss, contrastiveTerm(embeddings, options.contrastive));
  } else {
    const given = graph.input('embedding_gradients', 'float32', ['embeds', config.hiddenSize]);
    loss = add(loss, sum(mul(given, embeddings)));
  }
  graph.output('loss', loss);
  const names = [...trained.keys()];
  for (const [i, gradient] of gradients(loss, [...trained.values()]).entries()) {
    graph.output(gradientName(names[i] as string), gradient);
  }
  return emit(graph, { inPlace: true });
}

/** The base of the KL term: a model of its own, or the frozen part of the one that is trained. */
function baseWeights(
  graph: Graph,
  config: ModelConfig,
  frozen: DecoderWeights | undefined,
  { base }: BaseKlOptions,
): { config: ModelConfig; weights: DecoderWeights } {
  if (base !== undefined) {
    const parameters = parameterInputs(graph, base.config, BASE_PREFIX);
    return {
      config: base.config,
      weights: floatWeights(base.config, lookupIn(parameters), { trained: true }),
    };
  }
  if (frozen !== undefined) return { config, weights: frozen };
  throw new RangeError('training program: all weights are trained, so the KL term needs a base of its own');
}

/** The contrastive term alone: `embeddings` [embeds, width] -> `loss`, its outputs, and `embedding_gradients`. */
export function contrastiveProgram(width: number, options: ContrastiveTermOptions): Program {
  const graph = new Graph();
  const embeddings = graph.input('embeddings', 'float32', ['embeds', width]);
  const loss = contrastiveTerm(embeddings, options);
  graph.output('loss', loss);
  const [gradient] = gradients(loss, [embeddings]);
  graph.output('embedding_gradients', gradient as Value);
  return emit(graph);
}

/** Log-probabilities of labelled tokens of `ids` [batch, length] at a temperature: `log_probabilities` [labels]. */
export function logProbabilityProgram(
  config: ModelConfig,
  given: TrainingWeights | InferenceWeights,
): Program {
  const graph = new Graph();
  const weights = 'declare' in given ? given.declare(graph).weights : given.weightsIn(graph);
  const rope = ropeInputs(graph, config);
  const ids = graph.input('ids', 'int64', ['batch', 'length']);
  const labels = labelInputs(graph);
  const attend = attendSequences(config, ids, rope);
  const hidden = decoder({ config, weights, ids, attend, wanted: labels.rows });
  const scores = weights.logits(hidden);
  policyGradientTerm(scores, labels, { clipLow: 0, clipHigh: 0, beta: 0 });
  return emit(graph);
}

/** `ids` [batch, length], `embed_rows` -> `embeddings` [embeds, hidden], by the arithmetic of the training program. */
export function pieceProgram(config: ModelConfig, training: TrainingWeights): Program {
  const graph = new Graph();
  const ids = graph.input('ids', 'int64', ['batch', 'length']);
  const { weights } = training.declare(graph);
  const attend = attendSequences(config, ids, ropeInputs(graph, config));
  const hidden = decoder({ config, weights, ids, attend, wanted: embedRows(graph) });
  graph.output('embeddings', normalizeRows(hidden));
  return emit(graph);
}
