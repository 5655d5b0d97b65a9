/**
 * The terms of the losses as graphs. Every term is a weighted sum. The caller computes the weights over the whole batch
 * (means, masks, normalisation), so that a batch can be run in pieces with the same result.
 */
import {
  add,
  clip,
  crossEntropy,
  exp,
  type Graph,
  gatherElements,
  gatherRows,
  logSoftmax,
  matmul,
  minimum,
  mul,
  neg,
  relu,
  reshape,
  slice,
  stopGradient,
  sub,
  sum,
  type Value,
} from 'onnx-grad';

const weighted = (weights: Value, values: Value): Value => sum(mul(weights, values));

/** What the labelled positions are: inputs `label_rows`, `label_targets`, `label_weights`, all [labels]. */
export interface LabelInputs {
  rows: Value;
  targets: Value;
  weights: Value;
}

export function labelInputs(graph: Graph): LabelInputs {
  return {
    rows: graph.input('label_rows', 'int64', ['labels']),
    targets: graph.input('label_targets', 'int64', ['labels']),
    weights: graph.input('label_weights', 'float32', ['labels']),
  };
}

/** Cross-entropy: sum of weights times -log p(target). Output `label_losses` [labels]. */
export function crossEntropyTerm(logits: Value, labels: LabelInputs): Value {
  const losses = crossEntropy(logits, labels.targets);
  logits.graph.output('label_losses', losses);
  return weighted(labels.weights, losses);
}

/**
 * KL(base || policy) over the first `vocabulary` columns, both renormalised there: the new token is none of the base's
 * business. `policy` [rows, classes] carries gradient, `base` [rows, classes of the base] does not. Inputs `kl_weights`;
 * output `kl_losses` [kl_rows].
 */
export function klTerm(policy: Value, base: Value, vocabulary: number): Value {
  const { graph } = policy;
  const columns = (x: Value) => (x.shape[1] === vocabulary ? x : slice(x, 1, 0, vocabulary));
  const logBase = stopGradient(logSoftmax(columns(base)));
  const logPolicy = logSoftmax(columns(policy));
  const losses = sum(mul(exp(logBase), sub(logBase, logPolicy)), [-1]);
  graph.output('kl_losses', losses);
  return weighted(graph.input('kl_weights', 'float32', ['kl_rows']), losses);
}

export interface ContrastiveTermOptions {
  /** Temperature of InfoNCE; the paper's tau. */
  temperature: number;
  /** Margin of the triplet term, on cosines. */
  margin: number;
}

/**
 * InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) from anchors to documents over cosine / temperature, and the triplet
 * margin (Schroff et al. 2015, arXiv 1503.03832) on cosines. Inputs by position among the embeddings [embeds, width]
 * (unit rows): `anchors` [anchors], `documents` [documents]; by column among the documents: `positives` and
 * `negatives` [anchors]; `contrastive_mask` [anchors, documents] (0, or very negative for false negatives);
 * `info_nce_weights` and `triplet_weights` [anchors]. Outputs `info_nce_losses`, `triplet_losses` [anchors].
 */
export function contrastiveTerm(embeddings: Value, { temperature, margin }: ContrastiveTermOptions): Value {
  const { graph } = embeddings;
  const index = (name: string, dim: string) => graph.input(name, 'int64', [dim]);
  const float = (name: string, ...dims: string[]) => graph.input(name, 'float32', dims);
  const anchors = gatherRows(embeddings, index('anchors', 'anchor_count'));
  const documents = gatherRows(embeddings, index('documents', 'document_count'));
  const positives = index('positives', 'anchor_count');
  const negatives = index('negatives', 'anchor_count');
  const cosines = matmul(anchors, documents, { transB: true });
  const masked = add(
    mul(cosines, graph.scalar(1 / temperature)),
    float('contrastive_mask', 'anchor_count', 'document_count'),
  );
  const infoNce = crossEntropy(masked, positives);
  const cosine = (columns: Value) =>
    reshape(gatherElements(cosines, reshape(columns, ['anchor_count', 1])), ['anchor_count']);
  const triplet = relu(add(sub(cosine(negatives), cosine(positives)), graph.scalar(margin)));
  graph.output('info_nce_losses', infoNce);
  graph.output('triplet_losses', triplet);
  return add(
    weighted(float('info_nce_weights', 'anchor_count'), infoNce),
    weighted(float('triplet_weights', 'anchor_count'), triplet),
  );
}

export interface PolicyGradientTermOptions {
  clipLow: number;
  clipHigh: number;
  /** Weight of the k3 estimate of KL to the reference; 0 leaves the term out. */
  beta: number;
}

/**
 * Clipped policy gradient per token (Shao et al. 2024, arXiv 2402.03300; asymmetric clipping of Yu et al. 2025, arXiv
 * 2503.14476): -weight min(r A, clip(r) A), r = exp(log p - old log p), log p at the sampling temperature; plus beta
 * times the k3 estimate exp(d) - d - 1, d = reference log p - log p (Schulman 2020). Inputs [labels]: `advantages`,
 * `old_log_probabilities`, with beta `reference_log_probabilities` and `kl_weights`; `inverse_temperature` [].
 * Outputs `log_probabilities` and with beta `kl_losses` [labels].
 */
export function policyGradientTerm(
  logits: Value,
  labels: LabelInputs,
  { clipLow, clipHigh, beta }: PolicyGradientTermOptions,
): Value {
  const { graph } = logits;
  const float = (name: string) => graph.input(name, 'float32', ['labels']);
  const scaled = mul(logits, graph.input('inverse_temperature', 'float32', []));
  const logProbabilities = neg(crossEntropy(scaled, labels.targets));
  graph.output('log_probabilities', logProbabilities);
  const advantages = float('advantages');
  const ratio = exp(sub(logProbabilities, float('old_log_probabilities')));
  const surrogate = minimum(mul(ratio, advantages), mul(clip(ratio, 1 - clipLow, 1 + clipHigh), advantages));
  const loss = neg(weighted(labels.weights, surrogate));
  if (beta === 0) return loss;
  const difference = sub(float('reference_log_probabilities'), logProbabilities);
  const k3 = sub(sub(exp(difference), difference), graph.scalar(1));
  graph.output('kl_losses', k3);
  return add(loss, mul(graph.scalar(beta), weighted(float('kl_weights'), k3)));
}
