/**
 * Group-relative advantages and the token weights of the loss normalisations. Sources: GRPO (Shao et al. 2024, arXiv
 * 2402.03300), DAPO (Yu et al. 2025, arXiv 2503.14476), Dr. GRPO (Liu et al. 2025, arXiv 2503.20783).
 */

export type AdvantageScaling = 'group' | 'batch' | 'none';
export type LossNormalization = 'dapo' | 'grpo' | 'dr_grpo';

/** A group whose rewards deviate less than this teaches nothing: its advantages would be rounding noise. */
export const ZERO_VARIANCE = 1e-6;
/** Keeps the division finite, as other trainers do. */
const EPSILON = 1e-4;

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

/** Standard deviation with Bessel's correction; 0 for fewer than two values. */
export function standardDeviation(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const center = mean(values);
  return Math.sqrt(values.reduce((total, value) => total + (value - center) ** 2, 0) / (values.length - 1));
}

export const hasVariance = (rewards: readonly number[]): boolean =>
  standardDeviation(rewards) > ZERO_VARIANCE;

/**
 * Rewards by group to advantages by group: the deviation from the group's mean, divided by the standard deviation
 * (+ 1e-4) of the group, of the whole batch, or by nothing. Zero-variance groups get zeros.
 */
export function advantages(groups: readonly (readonly number[])[], scaling: AdvantageScaling): number[][] {
  const batch = scaling === 'batch' ? standardDeviation(groups.flat()) : 0;
  return groups.map((rewards) => {
    if (!hasVariance(rewards)) return rewards.map(() => 0);
    const center = mean(rewards);
    const scale =
      scaling === 'none' ? 1 : (scaling === 'group' ? standardDeviation(rewards) : batch) + EPSILON;
    return rewards.map((reward) => (reward - center) / scale);
  });
}

/**
 * The weight of each token of each completion, so that the weighted sum of token losses is the loss:
 * `dapo` 1 / all tokens; `grpo` 1 / (tokens of the completion x completions); `dr_grpo` 1 / (completions x
 * maxNewTokens). A masked completion (length 0 here) counts as a completion, but has no tokens.
 *
 * @param lengths tokens per completion that enter the loss, 0 for a masked one.
 */
export function tokenWeights(
  lengths: readonly number[],
  normalization: LossNormalization,
  maxNewTokens: number,
): number[] {
  switch (normalization) {
    case 'dapo': {
      const total = lengths.reduce((a, b) => a + b, 0);
      return lengths.map((length) => (length === 0 ? 0 : 1 / total));
    }
    case 'grpo':
      return lengths.map((length) => (length === 0 ? 0 : 1 / (length * lengths.length)));
    case 'dr_grpo':
      return lengths.map((length) => (length === 0 ? 0 : 1 / (lengths.length * maxNewTokens)));
    default:
      normalization satisfies never;
      throw new Error(`internal: unknown normalisation ${normalization}`);
  }
}
