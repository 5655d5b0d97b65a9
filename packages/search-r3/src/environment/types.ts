/**
 * The environment of stage 2: a corpus whose embeddings move with the policy. The exact environment re-encodes
 * everything at every step; the selective one encodes a few documents and measures the error this causes in the
 * rewards.
 */
import type { State } from '../run/index.js';

/** Encodes documents with the current policy: unit rows of a matrix, in the order of the ids. */
export type EncodeDocuments = (ids: readonly string[]) => Promise<Float32Array>;

/** The embeddings of one step's rollouts and the documents each should find. */
export interface RolloutBatch {
  /** [rollouts * dimension], unit rows. */
  vectors: Float32Array;
  /** By rollout: the documents that answer its query, with grades above 0. Removed documents are ignored. */
  relevant: readonly ReadonlyMap<string, number>[];
  /** Per rollout: the document that is its query, which is left out of its ranking. Default none. */
  own?: readonly (string | undefined)[];
}

/**
 * Why a document was encoded: `full` with the whole corpus; `changed` because it was added or its text changed;
 * `positives` because it answers a rollout's query; `random` so that the drift map is not learned from chosen documents
 * alone; `value` because it may change the rewards; `region` because it is near a rollout or a positive; `sweep`
 * because it is one of the oldest; `audit` to measure the error.
 */
export const CAUSES = [
  'full',
  'changed',
  'positives',
  'random',
  'value',
  'region',
  'sweep',
  'audit',
] as const;
export type Cause = (typeof CAUSES)[number];

export interface RefreshReport {
  /** Documents encoded by this refresh, by cause. */
  encoded: Partial<Record<Cause, number>>;
  /** Their tokens, if the environment knows the lengths. */
  tokens: Partial<Record<Cause, number>>;
  /** Rounds of choosing documents. */
  rounds: number;
  /** Expected mean absolute error of the rewards; 0 if everything is fresh. */
  expectedError: number;
  /**
   * In a corpus too large to look at as a whole, the share of positives, counted once per rollout, that rank behind the
   * documents looked at: they count neither for the expected error nor for audits.
   */
  positivesUnseen?: number;
  /** Share of the true nearest documents that the approximate index found, if there is one and it was checked. */
  recall?: number;
  seconds: number;
  /** Seconds by part. */
  parts: Record<string, number>;
}

export interface RolloutReward {
  /** Scaled DCG in [0, 1]. */
  reward: number;
  /** Rank of the best relevant document, from 1. */
  rank: number;
}

export interface Estimate {
  estimate: number;
  /** 95 % interval. */
  interval: readonly [number, number];
}

export interface AuditReport {
  /** Estimate of the mean absolute error of the rewards, and its 95 % interval. */
  rewardError: number;
  interval: readonly [number, number];
  /** Stale documents on the wrong side of a positive in the ranking of some rollout. */
  misplaced: Estimate;
  /** Documents and tokens encoded for the audit. */
  encoded: number;
  tokens: number;
  /** Whether the interval exceeds the bound. */
  exceeded: boolean;
}

/** A change of the corpus, by ids; the encoder has the texts. */
export interface CorpusChange {
  added?: readonly string[];
  /** Documents whose text changed. */
  changed?: readonly string[];
  removed?: readonly string[];
}

/**
 * A corpus that follows the policy. A step calls `refresh`, then `reward` (and `search`), and sometimes `audit`.
 * `change` is called between steps.
 */
export interface Environment {
  /** Ids of the current documents. */
  readonly documents: readonly string[];
  has(id: string): boolean;
  /**
   * Adds, changes and removes documents. Added and changed ones can be found after the next refresh; removed ones
   * cannot be found any more.
   * @throws RangeError for an added id that is already in the corpus, or another id that is not.
   */
  change(change: CorpusChange): void;
  /**
   * Updates the vectors that matter for these rollouts to the policy of `version`.
   * @throws RangeError for rollouts of the wrong size, and InputError naming a document for which the encoder returned
   * no finite vector. Nothing from that call of the encoder is stored, earlier results are, and the refresh may be
   * repeated.
   */
  refresh(version: number, rollouts: RolloutBatch): Promise<RefreshReport>;
  /**
   * The `k` nearest documents of each query vector, best first. Scores are cosines, within a hundredth for documents
   * that were moved with their frame, as in large corpora.
   */
  search(vectors: Float32Array, k: number): Promise<{ id: string; score: number }[][]>;
  /**
   * Rewards of rollouts by the current vectors. Removed relevant documents do not count.
   * @throws RangeError for an unknown relevant document and for a rollout that has none left; InputError for one that
   * was added or changed since the last refresh and has no vector yet.
   */
  reward(rollouts: RolloutBatch): Promise<RolloutReward[]>;
  /**
   * Estimates how far the rewards are from those of a freshly encoded corpus, after a refresh at the same version for
   * the same rollouts. Documents without a vector are left out. Errors: as `reward`.
   */
  audit(version: number, rollouts: RolloutBatch): Promise<AuditReport>;
  /** Everything a resumed run needs to continue with the same vectors. */
  state(): State;
  restore(state: State): Promise<void>;
  dispose(): Promise<void>;
}
