/** The reward of a ranking: discounted cumulative gain, scaled to [0, 1] by the ideal one (design section 5). */

const discount = (rank: number): number => 1 / Math.log2(rank + 1);

/**
 * Scaled DCG with linear gain.
 *
 * @param ranks 1-based ranks of the relevant documents, ties counted against them.
 * @param grades their grades, all above 0.
 * @param cut only ranks up to this count, in the ideal too. Default none.
 */
export function scaledDcg(
  ranks: readonly number[],
  grades: readonly number[],
  cut = Number.POSITIVE_INFINITY,
): number {
  let gained = 0;
  for (const [i, rank] of ranks.entries()) if (rank <= cut) gained += (grades[i] as number) * discount(rank);
  const ideal = [...grades]
    .sort((a, b) => b - a)
    .reduce((total, grade, i) => (i < cut ? total + grade * discount(i + 1) : total), 0);
  return ideal === 0 ? 0 : gained / ideal;
}
