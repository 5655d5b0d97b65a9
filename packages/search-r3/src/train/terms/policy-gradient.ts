/**
 * Clipped policy gradient per token (Shao et al. 2024, arXiv 2402.03300; asymmetric clipping of Yu et al. 2025, arXiv
 * 2503.14476): -weight min(r A, clip(r) A), r = exp(log p - old log p), log p at the sampling temperature; plus beta
 * times the k3 estimate exp(d) - d - 1, d = reference log p - log p (Schulman 2020). Where the sampler computes otherwise
 * than the trainer, each token counts min(exp(old log p - log p of the sampler), cap) times: truncated importance sampling
 * (Ionides 2008; for language models Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL
 * training").
 */
import {
  add,
  clip,
  crossEntropy,
  exp,
  f32,
  type Graph,
  type HostTensor,
  minimum,
  mul,
  neg,
  stopGradient,
  sub,
  type Value,
} from 'onnx-grad';
import { type LabelTerm, perLabel, weighted } from './term.js';

export interface PolicyGradientOptions {
  clipLow: number;
  clipHigh: number;
  /** Weight of the k3 estimate of KL to the reference; 0 leaves it out. */
  beta: number;
  /**
   * Correct for a sampler of other arithmetic, each token by at most so much. The old log-probabilities are then those of
   * the first update on the rollouts. Default: they are the sampler's.
   */
  importanceCap?: number | undefined;
}

/** Log-probability at the reference of the row that stands for none: exp(reference - own) must stay finite. */
const IMPOSSIBLE = -1e4;

/** Log-probabilities [rows] of targets at the temperature of the input `inverse_temperature` []. */
export function targetLogProbabilities(graph: Graph): (logits: Value, targets: Value) => Value {
  const inverse = graph.input('inverse_temperature', 'float32', []);
  return (logits, targets) => neg(crossEntropy(mul(logits, inverse), targets));
}

export const inverseTemperature = (temperature: number): Record<string, HostTensor> => ({
  inverse_temperature: f32(Float32Array.of(1 / temperature), []),
});

/** Outputs `logProbabilities` and with beta `kl` [labels]. */
export const policyGradientTerm = ({
  clipLow,
  clipHigh,
  beta,
  importanceCap,
}: PolicyGradientOptions): LabelTerm => ({
  outputs: [
    { name: 'logProbabilities' },
    ...(beta > 0 ? [{ name: 'kl', weight: ({ klWeight = 0 }) => klWeight }] : []),
  ],
  reads: () => true,
  declare({ graph, weights }) {
    const float = (name: string) => graph.input(name, 'float32', ['labels']);
    const at = targetLogProbabilities(graph);
    return {
      values: ({ logits, targets }) => at(logits, targets),
      loss(logProbabilities) {
        graph.output('logProbabilities', logProbabilities);
        const advantages = float('advantages');
        const given = float('old_log_probabilities');
        const corrected = importanceCap !== undefined;
        const old = corrected ? oldOf(graph, logProbabilities, given) : given;
        const ratio = exp(sub(logProbabilities, old));
        const clipped = clip(ratio, 1 - clipLow, 1 + clipHigh);
        const surrogate = minimum(mul(ratio, advantages), mul(clipped, advantages));
        const counted = corrected
          ? mul(surrogate, importance(old, float('sampler_log_probabilities'), importanceCap))
          : surrogate;
        const loss = neg(weighted(weights(), counted));
        if (beta === 0) return loss;
        const difference = sub(float('reference_log_probabilities'), logProbabilities);
        const k3 = sub(sub(exp(difference), difference), graph.scalar(1));
        graph.output('kl', k3);
        return add(loss, mul(graph.scalar(beta), weighted(float('kl_weights'), k3)));
      },
    };
  },
  feeds({ parts, temperature, first }) {
    const rows = parts.flat();
    return {
      ...inverseTemperature(temperature),
      advantages: perLabel(rows, ({ advantage = 0 }) => advantage),
      old_log_probabilities: perLabel(rows, ({ oldLogProbability = 0 }) => oldLogProbability),
      ...(importanceCap !== undefined && {
        first_update: f32(Float32Array.of(first ? 1 : 0), []),
        sampler_log_probabilities: perLabel(rows, ({ samplerLogProbability = 0 }) => samplerLogProbability),
      }),
      ...(beta > 0 && {
        reference_log_probabilities: perLabel(
          rows,
          ({ referenceLogProbability = 0 }) => referenceLogProbability,
          IMPOSSIBLE,
        ),
        kl_weights: perLabel(rows, ({ klWeight = 0 }) => klWeight),
      }),
    };
  },
});

/** In the first update, 1 in the input `first_update` [], the own log-probabilities without a gradient; else the given ones. */
function oldOf(graph: Graph, own: Value, given: Value): Value {
  const first = graph.input('first_update', 'float32', []);
  const difference = stopGradient(sub(own, given));
  return add(given, mul(first, difference));
}

/** How much each token counts. */
const importance = (old: Value, sampler: Value, cap: number): Value =>
  minimum(exp(sub(old, sampler)), old.graph.scalar(cap));
