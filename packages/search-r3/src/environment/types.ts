/**
 * What stage 2 needs of a corpus whose embeddings move with the policy. The exact environment encodes everything anew at
 * every step; the selective one encodes little and promises the same rewards within an error that it measures.
 */
import type { State } from '../run/index.js';

/** Encodes documents with the policy as it is now: rows of a matrix in the order of the ids, each of length 1. */
export type EncodeDocuments = (ids: readonly string[]) => Promise<Float32Array>;

/** The embeddings of one step's rollouts and what each is to find. */
export interface RolloutBatch {
  /** [rollouts * dimension], unit rows. */
  vectors: Float32Array;
  /** Per rollout: the documents that answer its query, with their grades (above 0). Removed ones are left out. */
  relevant: readonly ReadonlyMap<string, number>[];
}

/**
 * Why a document was encoded: `full` with the whole corpus, `changed` because it was added or its text is another one,
 * `positives` as the answer of a rollout, `random` to keep the drift map honest, `value` for what it may change in the
 * rewards, `region` as one near a rollout or a positive, `sweep` as one of the oldest, `audit` to measure the error.
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
  /** Their tokens, where the environment was told the lengths. */
  tokens: Partial<Record<Cause, number>>;
  /** How often documents were chosen by what was known so far. */
  rounds: number;
  /** Mean absolute error of the rewards, as the environment expects it; 0 where everything is fresh. */
  expectedError: number;
  /**
   * Of a corpus that is too large to be looked at as a whole, the share of the positives, each once per rollout, that
   * stand behind what is looked at: they count neither for the expected error nor for audits.
   */
  positivesUnseen?: number;
  /** Share of the true nearest documents that the approximate index found, where one is used and was checked. */
  recall?: number;
  seconds: number;
  /** The same by part. */
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
  /** Stale documents that stand on the wrong side of a positive in the ranking of some rollout. */
  misplaced: Estimate;
  /** Documents and tokens encoded for the audit. */
  encoded: number;
  tokens: number;
  /** The interval passes the bound that was set. */
  exceeded: boolean;
}

/** Documents by id; texts are the encoder's affair. */
export interface CorpusChange {
  added?: readonly string[];
  /** Of another text from now on. */
  changed?: readonly string[];
  removed?: readonly string[];
}

/**
 * A corpus that follows the policy. One step: `refresh`, then `reward` (and `search`), now and then `audit`; `change`
 * between steps.
 */
export interface Environment {
  /** Those that are there, removed ones not. */
  readonly documents: readonly string[];
  has(id: string): boolean;
  /**
   * Adds, changes and removes documents. Added and changed ones are found from the next refresh on, removed ones never
   * again. Errors: RangeError for an id that is there already, or not there.
   */
  change(change: CorpusChange): void;
  /**
   * Brings the vectors that matter for these rollouts up to the policy of `version`. Errors: RangeError for rollouts that
   * do not fit; InputError where the encoder gave a document, which it names, no vector of finite numbers. Nothing of that
   * call of the encoder is kept, what came before it stays, and the refresh may be repeated.
   */
  refresh(version: number, rollouts: RolloutBatch): Promise<RefreshReport>;
  /**
   * The `k` nearest documents of each query vector, best first. Scores are cosines; of documents that a large corpus
   * moves without touching them within a hundredth.
   */
  search(vectors: Float32Array, k: number): Promise<{ id: string; score: number }[][]>;
  /**
   * Rewards of rollouts by the vectors as they are. Relevant documents that were removed do not count. Errors: RangeError
   * for a relevant document that never was there, and for a rollout without any that still is; InputError for one that
   * was added or changed since the last refresh, and so has no vector yet.
   */
  reward(rollouts: RolloutBatch): Promise<RolloutReward[]>;
  /**
   * How far the rewards may be from those of a corpus encoded afresh, after a refresh at the same version for the same
   * rollouts. Documents that have no vector yet are left out. Errors: as `reward`.
   */
  audit(version: number, rollouts: RolloutBatch): Promise<AuditReport>;
  /** Everything a resumed run needs to go on with the same vectors. */
  state(): State;
  restore(state: State): Promise<void>;
  dispose(): Promise<void>;
}
