/**
 * What stage 2 needs of a corpus whose embeddings move with the policy. The exact environment here encodes everything
 * anew at every step; others may encode less and promise the same rewards within an error they measure.
 */
import type { State } from '../run/index.js';

/** Encodes documents with the policy as it is now: rows of a matrix in the order of the ids. */
export type EncodeDocuments = (ids: readonly string[]) => Promise<Float32Array>;

/** The embeddings of one step's rollouts and what each is to find. */
export interface RolloutBatch {
  /** [rollouts * dimension], unit rows. */
  vectors: Float32Array;
  /** Per rollout: the documents that answer its query, with their grades (above 0). */
  relevant: readonly ReadonlyMap<string, number>[];
}

export interface RefreshReport {
  /** Documents encoded by this refresh, by cause. */
  encoded: Record<string, number>;
  seconds: number;
}

export interface RolloutReward {
  /** Scaled DCG in [0, 1]. */
  reward: number;
  /** Rank of the best relevant document, from 1. */
  rank: number;
}

export interface AuditReport {
  /** Estimate of the mean absolute error of the rewards, and its 95 % interval. */
  rewardError: number;
  interval: readonly [number, number];
  /** Documents encoded for the audit. */
  encoded: number;
}

/** A corpus that follows the policy. One step: `refresh`, then `reward` (and `search`), now and then `audit`. */
export interface Environment {
  readonly documents: readonly string[];
  /** Brings the vectors that matter for these rollouts up to the policy of `version`. */
  refresh(version: number, rollouts: RolloutBatch): Promise<RefreshReport>;
  /** The `k` nearest documents of each query vector, best first. */
  search(vectors: Float32Array, k: number): Promise<{ id: string; score: number }[][]>;
  /** Rewards of rollouts by the vectors as they are. Errors: RangeError for a relevant document that is not there. */
  reward(rollouts: RolloutBatch): Promise<RolloutReward[]>;
  /** How far the rewards may be from those of a corpus encoded afresh. */
  audit(version: number, rollouts: RolloutBatch): Promise<AuditReport>;
  /** Everything a resumed run needs to go on with the same vectors. */
  state(): State;
  restore(state: State): Promise<void>;
  dispose(): Promise<void>;
}
