/** What every environment reads off the vectors that it has, whatever it did to refresh them. */
import { completed, pickQueries } from '../vectors/queries.js';
import type { Corpus, GradedRow } from './corpus.js';
import { scaledDcg } from './reward.js';
import type { VectorStore } from './store.js';
import type { RolloutBatch, RolloutReward } from './types.js';

/**
 * Rewards by the vectors that a store holds: what every environment gives, whatever it did to refresh them.
 *
 * @param known by rollout, the ranks of its relevant documents, as `Corpus.relevant` has them, where these are known.
 */
export async function rewards(
  store: VectorStore,
  corpus: Corpus,
  batch: RolloutBatch,
  cut: number | undefined,
  known: readonly (readonly number[] | undefined)[] = [],
): Promise<RolloutReward[]> {
  const relevant = corpus.relevant(batch);
  const { dimension } = store;
  if (batch.vectors.length !== relevant.length * dimension) {
    throw new RangeError(
      `reward: expected ${relevant.length} rollouts of ${dimension} numbers, found ${batch.vectors.length} numbers`,
    );
  }
  // Of positives with equal scores the store ranks the first one first, the one of the smallest grade: a tie never helps.
  const ranks = await completed<readonly number[]>(
    relevant.map((_, rollout) => known[rollout]),
    (open) =>
      store.ranks(
        pickQueries(batch.vectors, open, dimension),
        open.map((rollout) => (relevant[rollout] as GradedRow[]).map(({ row }) => row)),
      ),
  );
  return relevant.map((own, rollout) => {
    const found = ranks[rollout] as readonly number[];
    const grades = own.map(({ grade }) => grade);
    return { reward: scaledDcg(found, grades, cut), rank: Math.min(...found) };
  });
}

/** The `k` nearest documents of each query [queries * dimension], best first. */
export async function nearestDocuments(
  store: VectorStore,
  corpus: Corpus,
  queries: Float32Array,
  k: number,
): Promise<{ id: string; score: number }[][]> {
  const found = await store.search(queries, k);
  return Array.from({ length: queries.length / store.dimension }, (_, query) =>
    Array.from({ length: found.k }, (__, i) => ({
      id: corpus.id(found.rows[query * found.k + i] as number),
      score: found.scores[query * found.k + i] as number,
    })),
  );
}
