/**
 * Clipped policy gradient per token (Shao et al. 2024, arXiv 2402.03300; asymmetric clipping of Yu et al. 2025, arXiv
 * 2503.14476): -weight min(r A, clip(r) A), r = exp(log p - old log p), log p at the sampling temperature; plus beta
 * times the k3 estimate exp(d) - d - 1, d = reference log p - log p (Schulman 2020).
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
  sub,
  type Value,
} from 'onnx-grad';
import { type LabelTerm, perLabel, weighted } from './term.js';

export interface PolicyGradientOptions {
  clipLow: number;
  clipHigh: number;
  /** Weight of the k3 estimate of KL to the reference; 0 leaves it out. */
  beta: number;
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
export const policyGradientTerm = ({ clipLow, clipHigh, beta }: PolicyGradientOptions): LabelTerm => ({
  outputs: [
    { name: 'logProbabilities' },
    ...(beta > 0 ? [{ name: 'kl', weight: ({ klWeight = 0 }) => klWeight }] : []),
  ],
  rows: 'labels',
  reads: () => true,
  declare({ graph, weights }) {
    const float = (name: string) => graph.input(name, 'float32', ['labels']);
    const at = targetLogProbabilities(graph);
    return {
      values: ({ logits, targets }) => at(logits, targets),
      loss(logProbabilities) {
        graph.output('logProbabilities', logProbabilities);
        const advantages = float('advantages');
        const ratio = exp(sub(logProbabilities, float('old_log_probabilities')));
        const clipped = clip(ratio, 1 - clipLow, 1 + clipHigh);
        const surrogate = minimum(mul(ratio, advantages), mul(clipped, advantages));
        const loss = neg(weighted(weights(), surrogate));
        if (beta === 0) return loss;
        const difference = sub(float('reference_log_probabilities'), logProbabilities);
        const k3 = sub(sub(exp(difference), difference), graph.scalar(1));
        graph.output('kl', k3);
        return add(loss, mul(graph.scalar(beta), weighted(float('kl_weights'), k3)));
      },
    };
  },
  placed: ({ parts }) => parts.flat(),
  feeds({ parts, temperature }) {
    const rows = parts.flat();
    return {
      ...inverseTemperature(temperature),
      advantages: perLabel(rows, ({ advantage = 0 }) => advantage),
      old_log_probabilities: perLabel(rows, ({ oldLogProbability = 0 }) => oldLogProbability),
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
