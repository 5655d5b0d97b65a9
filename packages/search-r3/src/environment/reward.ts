/** The reward of a ranking (Search-R3, arXiv 2510.07048): DCG divided by the ideal DCG, in [0, 1]. */
import { idealDcg } from '../evaluate/index.js';

/** The gain of a relevant document at a rank, before grades and scaling. */
export const discount = (rank: number, cut = Number.POSITIVE_INFINITY): number =>
  rank <= cut ? 1 / Math.log2(rank + 1) : 0;

/**
 * Scaled DCG with linear gain.
 *
 * @param ranks ranks of the relevant documents from 1, with ties counted against them.
 * @param grades their grades, all above 0.
 * @param cut only ranks up to this count, also in the ideal. Default none.
 */
export function scaledDcg(
  ranks: readonly number[],
  grades: readonly number[],
  cut = Number.POSITIVE_INFINITY,
): number {
  const gained = ranks.reduce((total, rank, i) => total + (grades[i] as number) * discount(rank, cut), 0);
  const ideal = idealDcg(grades, cut);
  return ideal === 0 ? 0 : gained / ideal;
}
