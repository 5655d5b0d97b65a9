/** Rollouts: a group of completions per query, their embeddings, and the rewards that the environment gives them. */
import { type PromptIds, reasoningPrompts } from '../checkpoint/index.js';
import { embeddingOf } from '../decoder/index.js';
import type { Environment, RefreshReport, RolloutBatch } from '../environment/index.js';
import type { Completion, Generator } from '../generate/index.js';
import type { Policy } from '../model/index.js';
import type { CompletionRecord } from '../run/index.js';
import type { TrainingQuery } from '../sft/index.js';
import type { ResolvedRlOptions } from './options.js';

export interface Rollout {
  query: TrainingQuery;
  prompt: readonly number[];
  /** The query was cut to fit into the prompt. */
  promptTruncated: boolean;
  completion: Completion;
  outcome: CompletionRecord['outcome'];
  /** Before the cost of tokens. */
  ranking: number;
  reward: number;
  rank: number | null;
}

export type Group = Rollout[];

export function outcomeOf(completion: Completion): CompletionRecord['outcome'] {
  switch (completion.finish) {
    case 'embed':
      return 'embedded';
    case 'length':
      return 'truncated';
    case 'stop':
      return 'no_embed_token';
    default:
      completion.finish satisfies never;
      throw new Error(`internal: unknown finish ${completion.finish}`);
  }
}

/** Samples a group per query. Rewards are 0 until `rewardRollouts`. */
export async function sampleGroups(
  policy: Pick<Policy, 'tokenizer' | 'prompts' | 'embedId' | 'stopIds'>,
  generator: Generator,
  queries: readonly TrainingQuery[],
  options: ResolvedRlOptions,
  seed: number,
  signal?: AbortSignal,
): Promise<Group[]> {
  const prompts = await reasoningPrompts(
    policy.tokenizer,
    policy.prompts,
    queries.map(({ text }) => text),
    { maxTokens: options.maxLength },
  );
  const completions = await generator.generate(
    prompts.map(({ ids }) => ids),
    {
      samples: options.groupSize,
      maxNewTokens: options.maxNewTokens,
      temperature: options.temperature,
      stop: policy.stopIds,
      embedToken: policy.embedId,
      seed,
      ...(signal && { signal }),
    },
  );
  return queries.map((query, i) => {
    const { ids, truncated } = prompts[i] as PromptIds;
    return (completions[i] as Completion[]).map((completion) => ({
      query,
      prompt: ids,
      promptTruncated: truncated,
      completion,
      outcome: outcomeOf(completion),
      ranking: 0,
      reward: 0,
      rank: null,
    }));
  });
}

/** The embeddings of the rollouts that have one, as the environment takes them. */
export function rolloutBatch(rollouts: readonly Rollout[], dimension: number): RolloutBatch {
  const embedded = rollouts.filter(({ completion }) => completion.hidden !== undefined);
  const vectors = new Float32Array(embedded.length * dimension);
  for (const [i, { completion }] of embedded.entries()) {
    vectors.set(embeddingOf(completion.hidden as Float32Array), i * dimension);
  }
  return {
    vectors,
    relevant: embedded.map(({ query }) => query.relevant),
    own: embedded.map(({ query }) => query.own),
  };
}

/**
 * Refreshes the environment and fills in rewards and ranks. Without an embedding the reward is 0; the cost of tokens
 * is taken off every completion.
 */
export async function rewardRollouts(
  rollouts: readonly Rollout[],
  environment: Environment,
  version: number,
  dimension: number,
  { tokenCost }: ResolvedRlOptions['reward'],
): Promise<{ refresh: RefreshReport; batch: RolloutBatch }> {
  const batch = rolloutBatch(rollouts, dimension);
  const refresh = await environment.refresh(version, batch);
  const rewards = batch.relevant.length > 0 ? await environment.reward(batch) : [];
  const embedded = rollouts.filter(({ completion }) => completion.hidden !== undefined);
  for (const [i, rollout] of embedded.entries()) {
    rollout.ranking = rewards[i]?.reward ?? 0;
    rollout.rank = rewards[i]?.rank ?? null;
  }
  for (const rollout of rollouts) {
    rollout.reward = rollout.ranking - tokenCost * rollout.completion.tokens.length;
  }
  return { refresh, batch };
}
