/** What every environment reads off the vectors that it has, whatever it did to refresh them. */
import type { VectorIndex } from '../vectors/index.js';
import type { Corpus } from './corpus.js';
import { scaledDcg } from './reward.js';
import type { RolloutBatch, RolloutReward } from './types.js';

/** Rewards by the vectors that an index holds: what every environment gives, whatever it did to refresh them. */
export async function rewards(
  index: VectorIndex,
  corpus: Corpus,
  batch: RolloutBatch,
  cut: number | undefined,
): Promise<RolloutReward[]> {
  const relevant = corpus.relevant(batch);
  // Of positives with equal scores the index ranks the first one first, the one of the smallest grade: a tie never helps.
  const ranks = await index.ranks(
    batch.vectors,
    relevant.map((own) => own.map(({ row }) => row)),
  );
  return relevant.map((own, rollout) => {
    const found = ranks[rollout] as readonly number[];
    const grades = own.map(({ grade }) => grade);
    return { reward: scaledDcg(found, grades, cut), rank: Math.min(...found) };
  });
}

/** The `k` nearest documents of each query [queries * dimension], best first. */
export async function nearestDocuments(
  index: VectorIndex,
  corpus: Corpus,
  queries: Float32Array,
  k: number,
): Promise<{ id: string; score: number }[][]> {
  const found = await index.search(queries, k);
  return Array.from({ length: queries.length / index.dimension }, (_, query) =>
    Array.from({ length: found.k }, (__, i) => ({
      id: corpus.id(found.rows[query * found.k + i] as number),
      score: found.scores[query * found.k + i] as number,
    })),
  );
}
