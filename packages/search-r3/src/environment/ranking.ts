/** Rewards and searches by the vectors of a store; both environments use them. */
import { InputError } from '../run/index.js';
import { completed, pickQueries } from '../vectors/queries.js';
import { type Corpus, type GradedRow, withoutOwn } from './corpus.js';
import { scaledDcg } from './reward.js';
import type { VectorStore } from './store.js';
import type { RolloutBatch, RolloutReward } from './types.js';

/** @throws RangeError unless there is one finite vector per rollout with judgements. */
export function assertRollouts({ vectors, relevant }: RolloutBatch, dimension: number, label: string): void {
  if (vectors.length !== relevant.length * dimension) {
    throw new RangeError(
      `${label}: expected ${relevant.length} rollouts of ${dimension} numbers, found ${vectors.length} numbers`,
    );
  }
  const at = vectors.findIndex((value) => !Number.isFinite(value));
  if (at === -1) return;
  const rollout = Math.floor(at / dimension);
  throw new RangeError(`${label}: expected finite numbers, found ${vectors[at]} in rollout ${rollout}`);
}

/** @throws InputError if a relevant document has no vector yet. */
export function assertEncoded(
  store: VectorStore,
  corpus: Corpus,
  relevant: readonly (readonly GradedRow[])[],
): void {
  const waiting = relevant.flat().find(({ row }) => !store.has(row));
  if (waiting === undefined) return;
  throw new InputError({
    source: 'environment',
    field: `the document ${corpus.id(waiting.row)}`,
    expected: 'a vector',
    found: 'none, because it has not been encoded since it was added or changed',
    remedy: 'Call refresh first.',
  });
}

/** Ranks of the relevant documents of a rollout, given those of all its rows: its own document takes no place. */
function ranksWithoutOwn(ranks: readonly number[], rows: readonly GradedRow[]): readonly number[] {
  const [own, ...others] = ranks;
  if (own === undefined || rows[0]?.grade !== 0) return ranks;
  return others.map((rank) => (rank > own ? rank - 1 : rank));
}

/**
 * Rewards by the vectors of a store.
 *
 * @param known by rollout, the ranks of its relevant documents in the order of `Corpus.relevant`, its own document left
 *   out, if already known.
 */
export async function rewards(
  store: VectorStore,
  corpus: Corpus,
  batch: RolloutBatch,
  cut: number | undefined,
  known: readonly (readonly number[] | undefined)[] = [],
): Promise<RolloutReward[]> {
  const { dimension } = store;
  assertRollouts(batch, dimension, 'reward');
  const relevant = corpus.relevant(batch);
  assertEncoded(store, corpus, relevant);
  // Of positives with equal scores the store ranks the first, which has the smallest grade, first: a tie never helps.
  const ranks = await completed<readonly number[]>(
    relevant.map((_, rollout) => known[rollout]),
    async (open) => {
      const rows = open.map((rollout) => relevant[rollout] as GradedRow[]);
      const found = await store.ranks(
        pickQueries(batch.vectors, open, dimension),
        rows.map((own) => own.map(({ row }) => row)),
      );
      return found.map((own, i) => ranksWithoutOwn(own, rows[i] as GradedRow[]));
    },
  );
  return relevant.map((rows, rollout) => {
    const found = ranks[rollout] as readonly number[];
    const grades = withoutOwn(rows).map(({ grade }) => grade);
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
