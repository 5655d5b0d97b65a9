/**
 * The policy of Gui and Cheng (arXiv 2510.07048). The region of a step is what its rollouts find, the positives, and
 * the neighbours of the positives. Its stale documents are encoded and it is searched again, until nothing in it is
 * stale or the budget is spent. Outside the region only a slow sweep encodes the oldest documents.
 */
import { type RefreshPolicy, untilTarget } from './policy.js';
import type { RefreshStep } from './step.js';

export const refreshByRegion: RefreshPolicy = async (step, context) => {
  const { options, allowance, neighbours } = context;
  const { topK, staleness, rounds, sweep } = options.region;
  // With a target error the sweep takes what the target needs.
  const swept = allowance.target === undefined ? Math.round(sweep * allowance.documents) : 0;
  let round = 0;
  for (; round < rounds && step.left > swept; round++) {
    const region = await step.time('search', async () => [
      ...(await found(step, topK)),
      ...(await neighbours.of(step.positives())),
    ]);
    const old = region.filter((row) => step.version - step.store.version(row) > staleness);
    const encoded = await step.encode(old, 'region', { most: step.left - swept });
    if (encoded === 0) break;
  }
  const most = allowance.target === undefined ? swept : Number.POSITIVE_INFINITY;
  await untilTarget(step, context, (count) => step.encode(step.oldest(Math.min(count, most)), 'sweep'));
  return { rounds: round };
};

/** The documents that the rollouts find, most frequent first. */
async function found(step: RefreshStep, k: number): Promise<number[]> {
  if (step.relevant.length === 0) return [];
  const counts = new Map<number, number>();
  for (const row of (await step.store.search(step.rollouts, k)).rows) {
    counts.set(row, (counts.get(row) ?? 0) + 1);
  }
  return [...counts].sort(([a, x], [b, y]) => y - x || a - b).map(([row]) => row);
}
