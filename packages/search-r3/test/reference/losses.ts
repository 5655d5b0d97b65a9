/**
 * Reference losses and rewards of both training stages in float64, in the terms of the papers they come from.
 * Rows are the first axis throughout; a loss is a scalar tensor. Where a paper leaves the reduction open, the doc
 * comment states the one used here.
 */
import {
  add,
  constant,
  div,
  exp,
  gatherRows,
  logSoftmax,
  matmul,
  maximum,
  mean,
  minimum,
  mul,
  neg,
  pick,
  slice,
  sqrt,
  sub,
  sum,
  type Tensor,
  transpose,
  where,
} from './tape.js';

/** Each row divided by its Euclidean length. */
export const normaliseRows = (x: Tensor): Tensor => div(x, sqrt(sum(mul(x, x), [-1], true)));

/** sum(weights x values) / sum(weights); equal weights by default. */
function weightedMean(values: Tensor, weights: readonly number[] = Array.from(values.data, () => 1)): Tensor {
  const total = weights.reduce((a, b) => a + b, 0);
  return div(sum(mul(values, constant(weights))), total);
}

/** -log softmax(logits)[target] of the rows [N, V], averaged by `weights`. */
export function crossEntropy(
  logits: Tensor,
  targets: readonly number[],
  weights?: readonly number[],
): Tensor {
  return weightedMean(neg(pick(logSoftmax(logits), targets)), weights);
}

/**
 * KL(base || policy) = sum_v p_base(v) (log p_base(v) - log p_policy(v)) per row, averaged by `weights`. Both
 * distributions are the softmax over the first `vocabulary` columns only: what the policy gives to tokens the base
 * has never had (the embed token) does not count. No gradient flows to the base.
 */
export function klToBase(
  baseLogits: Tensor,
  policyLogits: Tensor,
  vocabulary: number,
  weights?: readonly number[],
): Tensor {
  const base = logSoftmax(
    constant(slice(baseLogits, -1, 0, vocabulary).data, [baseLogits.shape[0]!, vocabulary]),
  );
  const policy = logSoftmax(slice(policyLogits, -1, 0, vocabulary));
  return weightedMean(sum(mul(exp(base), sub(base, policy)), [-1]), weights);
}

/**
 * InfoNCE (van den Oord et al. 2018) from query to documents: cross-entropy of softmax(cosine / temperature) at
 * `positives[q]`, averaged over the queries by `weights`. `excluded[q][d]` takes a false negative out of the
 * denominator; the positive itself always stays.
 */
export function infoNce(
  queries: Tensor,
  documents: Tensor,
  positives: readonly number[],
  temperature: number,
  excluded?: readonly (readonly boolean[])[],
  weights?: readonly number[],
): Tensor {
  const cosines = matmul(normaliseRows(queries), transpose(normaliseRows(documents), [1, 0]));
  const [rows, width] = cosines.shape as [number, number];
  const kept = Array.from({ length: rows * width }, (_, i) => {
    const [query, document] = [Math.floor(i / width), i % width];
    return document === positives[query] || !(excluded?.[query]?.[document] ?? false);
  });
  return crossEntropy(where(kept, div(cosines, temperature), -Infinity), positives, weights);
}

/**
 * Triplet margin (Schroff et al. 2015) on cosines: max(0, margin - cos(a, p) + cos(a, n)) averaged over the rows. With
 * unit vectors |a - p|^2 = 2 - 2 cos, so this is half of their loss at twice the margin.
 */
export function tripletMargin(
  anchors: Tensor,
  positives: Tensor,
  negatives: Tensor,
  margin: number,
  weights?: readonly number[],
): Tensor {
  const anchor = normaliseRows(anchors);
  const near = sum(mul(anchor, normaliseRows(positives)), [-1]);
  const far = sum(mul(anchor, normaliseRows(negatives)), [-1]);
  return weightedMean(maximum(add(sub(far, near), margin), 0), weights);
}

/**
 * log softmax(logits / temperature) at the tokens of `tokens` from index `start` on, [tokens.length - start]: row t of
 * the logits [T, V] predicts token t + 1.
 */
export function tokenLogProbs(
  logits: Tensor,
  tokens: readonly number[],
  start: number,
  temperature: number,
): Tensor {
  const rows = Array.from({ length: tokens.length - start }, (_, i) => start - 1 + i);
  return pick(logSoftmax(div(gatherRows(logits, rows), temperature)), tokens.slice(start));
}

/** Schulman's k3 estimator of KL(policy || reference) per token: r - log r - 1 with r = p_reference / p_policy. */
export function k3(logProbs: Tensor, referenceLogProbs: Tensor): Tensor {
  const logRatio = sub(referenceLogProbs, logProbs);
  return sub(sub(exp(logRatio), logRatio), 1);
}

export type LossNormalisation = 'dapo' | 'grpo' | 'dr_grpo';

export interface PolicyGradientRow {
  /** Per completion token, under the policy being trained, [tokens]. */
  readonly logProbs: Tensor;
  /** The same tokens when they were sampled. */
  readonly oldLogProbs: readonly number[];
  /** The same tokens under the reference model; needed where beta is not 0. */
  readonly referenceLogProbs?: readonly number[];
  readonly advantage: number;
  /** A truncated completion taken out of the loss: no token of it counts, the sequence itself still does. */
  readonly masked?: boolean;
}

export interface PolicyGradientOptions {
  readonly epsilonLow: number;
  readonly epsilonHigh: number;
  readonly beta: number;
  readonly normalisation: LossNormalisation;
  /** The longest completion allowed, for `dr_grpo`. */
  readonly maxCompletionLength: number;
}

/** -min(ratio A, clip(ratio, 1 - low, 1 + high) A) + beta k3, for every token of one completion. */
export function policyGradientTokens(row: PolicyGradientRow, options: PolicyGradientOptions): Tensor {
  const ratio = exp(sub(row.logProbs, constant(row.oldLogProbs)));
  const clipped = minimum(maximum(ratio, 1 - options.epsilonLow), 1 + options.epsilonHigh);
  const loss = neg(minimum(mul(ratio, row.advantage), mul(clipped, row.advantage)));
  if (options.beta === 0) return loss;
  if (row.referenceLogProbs === undefined) throw new RangeError('beta needs the reference log-probabilities');
  return add(loss, mul(k3(row.logProbs, constant(row.referenceLogProbs)), options.beta));
}

/**
 * The clipped policy-gradient loss over a batch of completions, reduced as one of
 * `grpo` (Shao et al. 2024): mean over the tokens of each sequence, then mean over the sequences;
 * `dapo` (Yu et al. 2025): sum over all tokens / number of tokens in the batch;
 * `dr_grpo` (Liu et al. 2025): sum over all tokens / (sequences x maximal completion length).
 * Sequences that are masked count as sequences of no token.
 */
export function policyGradientLoss(
  rows: readonly PolicyGradientRow[],
  options: PolicyGradientOptions,
): Tensor {
  const used = rows.filter((row) => row.masked !== true);
  const tokens = used.reduce((total, row) => total + row.oldLogProbs.length, 0);
  const terms = used.map((row) => {
    const losses = policyGradientTokens(row, options);
    switch (options.normalisation) {
      case 'grpo':
        return div(mean(losses), rows.length);
      case 'dapo':
        return div(sum(losses), tokens);
      case 'dr_grpo':
        return div(sum(losses), rows.length * options.maxCompletionLength);
      default:
        throw options.normalisation satisfies never;
    }
  });
  return terms.reduce((total, term) => add(total, term), constant(0));
}

/** Mean and standard deviation with Bessel's correction, torch's default. */
function moments(values: readonly number[]): { mean: number; std: number } {
  const average = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((total, value) => total + (value - average) ** 2, 0);
  return { mean: average, std: Math.sqrt(squares / (values.length - 1)) };
}

/**
 * Reward minus the mean of its group, divided by (standard deviation + 1e-4) of its group (Shao et al. 2024) or of the
 * whole batch, or left as it is (Liu et al. 2025).
 */
export function groupAdvantages(
  groups: readonly (readonly number[])[],
  scale: 'group' | 'batch' | 'none',
): number[][] {
  const batch = moments(groups.flat());
  return groups.map((rewards) => {
    const group = moments(rewards);
    const divisor = scale === 'none' ? 1 : (scale === 'group' ? group : batch).std + 1e-4;
    return rewards.map((reward) => (reward - group.mean) / divisor);
  });
}

/**
 * DCG of the ranking by `scores`, divided by the DCG of the best ranking possible: linear gain over log2(rank + 1)
 * (Jarvelin and Kekalainen 2002), both cut at `cutoff` ranks (uncut by default). Among equal scores the document with
 * the lower gain comes first, so that a tie never helps. `gains[d]` is 0 for what is not judged; 0 without any gain.
 */
export function dcgReward(
  scores: readonly number[],
  gains: readonly number[],
  cutoff: number = scores.length,
): number {
  const dcg = (order: readonly number[]): number =>
    order.slice(0, cutoff).reduce((total, d, i) => total + gains[d]! / Math.log2(i + 2), 0);
  const documents = scores.map((_, d) => d);
  const ranked = documents.toSorted((a, b) => scores[b]! - scores[a]! || gains[a]! - gains[b]!);
  const ideal = dcg(documents.toSorted((a, b) => gains[b]! - gains[a]!));
  return ideal === 0 ? 0 : dcg(ranked) / ideal;
}
