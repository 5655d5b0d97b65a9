/**
 * Value of information: how much a document's stale vector may change the rewards. It is the probability that the true
 * score is on the other side of a positive's score than the predicted one, times the worth of one place at the
 * positive's rank, summed over rollouts and positives.
 */
import { idealDcg } from '../evaluate/index.js';
import { discount } from './reward.js';
import { tangent } from './uncertainty.js';

/** A positive in the ranking of a rollout. */
export interface Boundary {
  rollout: number;
  score: number;
  /** From 1. */
  rank: number;
  /** Its grade divided by the ideal DCG: the factor on the discount of its rank. */
  weight: number;
  /** Reward lost if one more document ranks before it. */
  loss: number;
  /** Reward gained if one fewer does. */
  gain: number;
}

/** The boundary of a positive of `grade` in a ranking whose positives have `grades`. */
export function boundaryOf(
  rollout: number,
  { score, rank }: { score: number; rank: number },
  grade: number,
  grades: readonly number[],
  cut?: number,
): Boundary {
  const weight = grade / idealDcg(grades, cut);
  const worth = (at: number) => weight * discount(at, cut);
  return {
    rollout,
    score,
    rank,
    weight,
    loss: worth(rank) - worth(rank + 1),
    gain: rank > 1 ? worth(rank - 1) - worth(rank) : 0,
  };
}

/** Gaps of more than this many standard deviations count as never crossed. */
const REACH = 6;

/**
 * Degrees of freedom of the errors as Student's t: their deviation is estimated from few documents and differs between
 * documents. 12,810 measured errors had a kurtosis of 3.2, and 0.0044 of them were beyond 3 deviations (normal
 * distribution: 0.0027; this one: 0.0040). This matters for the sum of many small probabilities, which is compared with
 * a target, but not for the order of the values.
 */
const DEGREES = 34;

export interface Valuation {
  /** By document. */
  values: Float64Array;
  /** Expected absolute error of the reward, averaged over the rollouts. */
  expectedError: number;
}

/**
 * The values of documents.
 *
 * The expected error of a rollout counts the places by which its positives may move: the sum of the crossing
 * probabilities if they are few, less where movements up and down cancel. These probabilities are those of Student's t.
 *
 * @param scores [rollouts * documents].
 * @param deviations by document, the standard deviation that a score of 0 has; 0 for documents known exactly.
 */
export function valuate(
  scores: Float32Array,
  deviations: Float32Array,
  boundaries: readonly Boundary[],
  rollouts: number,
): Valuation {
  const count = deviations.length;
  const values = new Float64Array(count);
  let error = 0;
  for (const { rollout, score, loss, gain } of boundaries) {
    const start = rollout * count;
    let up = 0;
    let down = 0;
    let variance = 0;
    for (let i = 0; i < count; i++) {
      if (deviations[i] === 0) continue;
      const own = scores[start + i] as number;
      const deviation = (deviations[i] as number) * tangent(own);
      const gap = own - score;
      if (Math.abs(gap) > REACH * deviation) continue;
      const distance = Math.abs(gap) / deviation;
      const before = gap >= 0;
      values[i] = (values[i] as number) + upperTail(distance) * (before ? gain : loss);
      const probability = upperTail(asNormal(distance));
      variance += probability * (1 - probability);
      if (before) up += probability;
      else down += probability;
    }
    const places = Math.min(up + down, Math.sqrt(variance + (up - down) ** 2));
    if (up + down > 0) error += (places * (up * gain + down * loss)) / (up + down);
  }
  return { values, expectedError: rollouts === 0 ? 0 : error / rollouts };
}

const SCALE = DEGREES / (DEGREES - 2);
const WALLACE = (8 * DEGREES + 1) / (8 * DEGREES + 3);

/**
 * The z that a standard normal exceeds as often as Student's t, scaled to variance 1, exceeds `distance` (Wallace 1959,
 * Annals of Mathematical Statistics 30(4)).
 */
const asNormal = (distance: number): number =>
  WALLACE * Math.sqrt(DEGREES * Math.log1p((SCALE * distance * distance) / DEGREES));

/** P(Z > z) of a standard normal, z >= 0, within 1e-7 (Abramowitz and Stegun 1964, 26.2.17). */
function upperTail(z: number): number {
  const t = 1 / (1 + 0.2316419 * z);
  const sum =
    t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return Math.exp((-z * z) / 2) * 0.3989422804014327 * sum;
}
