/** Rollouts made by hand, and an environment that says what they are worth: the reward is the first coordinate. */
import type { AuditReport, Environment, RefreshReport, RolloutBatch } from 'search-r3/environment';
import type { Completion, FinishReason } from 'search-r3/generate';
import type { Group, Rollout } from 'search-r3/rl';
import { outcomeOf } from 'search-r3/rl';
import type { TrainingQuery } from 'search-r3/sft';
import { policy } from './support.js';

/** A completion of `length` tokens; with a reward it ends with the embed token. */
export function completion(length: number, outcome: number | Exclude<FinishReason, 'embed'>): Completion {
  const tokens = Array.from({ length }, (_, i) => 3 + ((5 * i + length) % 11));
  const logProbabilities = tokens.map((_, i) => -0.5 - i / 10);
  if (typeof outcome !== 'number') {
    if (outcome === 'stop') tokens[length - 1] = policy.stopIds[0]!;
    return { tokens, logProbabilities, finish: outcome };
  }
  tokens[length - 1] = policy.embedId;
  const hidden = new Float32Array(policy.config.hiddenSize);
  // Not of unit length: the rollout has to see to that.
  hidden[0] = 3 * outcome;
  hidden[1] = 3 * Math.sqrt(1 - outcome ** 2);
  return { tokens, logProbabilities, finish: 'embed', hidden };
}

/** Rewarded rollouts of one query; the reward of what did not embed is 0. */
export const group = (
  query: TrainingQuery,
  prompt: readonly number[],
  completions: readonly Completion[],
): Group =>
  completions.map((own): Rollout => {
    const reward = own.hidden === undefined ? 0 : own.hidden[0]! / 3;
    return {
      query,
      prompt,
      promptTruncated: false,
      completion: own,
      outcome: outcomeOf(own),
      ranking: reward,
      reward,
      rank: null,
    };
  });

export interface CraftedEnvironment extends Environment {
  /** Versions it was refreshed to, and audited at. */
  refreshed: number[];
  audited: number[];
  /** Rollouts of every reward call. */
  rewarded: RolloutBatch[];
}

const NO_ERROR: AuditReport = {
  rewardError: 0,
  interval: [0, 0],
  misplaced: { estimate: 0, interval: [0, 0] },
  encoded: 0,
  tokens: 0,
  exceeded: false,
};

/** Reports what it is told to; documents named in `gone` are not there. */
export function craftedEnvironment({
  audit,
  refresh,
  gone = [],
}: {
  audit?: Partial<AuditReport>;
  refresh?: Partial<RefreshReport>;
  gone?: readonly string[];
} = {}): CraftedEnvironment {
  const calls = { refreshed: [] as number[], audited: [] as number[], rewarded: [] as RolloutBatch[] };
  const width = policy.config.hiddenSize;
  return {
    ...calls,
    documents: [],
    has: (id) => !gone.includes(id),
    change: () => {},
    refresh: async (version) => {
      calls.refreshed.push(version);
      return { encoded: {}, tokens: {}, rounds: 0, expectedError: 0, seconds: 0, parts: {}, ...refresh };
    },
    search: async () => [],
    reward: async (batch) => {
      calls.rewarded.push(batch);
      return batch.relevant.map((_, i) => ({ reward: batch.vectors[i * width]!, rank: 1 }));
    },
    audit: async (version) => {
      calls.audited.push(version);
      return { ...NO_ERROR, ...audit };
    },
    state: () => ({ metadata: null, arrays: {} }),
    restore: async () => {},
    dispose: async () => {},
  };
}
