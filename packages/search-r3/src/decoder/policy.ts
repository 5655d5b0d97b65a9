/** A checkpoint made ready to embed and to be trained: with the embed token, prompts, and its weights as feeds. */
import {
  addEmbedToken,
  type Checkpoint,
  embedTokenId,
  loadWeights,
  type PromptOverrides,
  type Prompts,
  resolvePrompts,
  stopIds,
} from '../checkpoint/index.js';
import { InputError } from '../run/index.js';
import { fedWeights } from './float-weights.js';
import { parameterFeeds } from './parameter-feeds.js';
import type { InferenceWeights } from './weights.js';

/** A checkpoint that embeds. Its weights are changed in place by training. */
export interface Policy extends Checkpoint {
  prompts: Prompts;
  /** The id of the embed token. */
  embedId: number;
  /** Ids that end a generation without an embedding. */
  stopIds: readonly number[];
}

/** A checkpoint that has its prompts and embed token. @throws InputError for one that was never made a retriever. */
export function asPolicy(checkpoint: Checkpoint, source = 'checkpoint'): Policy {
  const { prompts, tokenizer } = checkpoint;
  if (prompts === undefined) {
    throw new InputError({
      source,
      expected: 'a checkpoint with prompts (search_r3.json)',
      found: 'a base model',
      remedy: 'Train it first: search-r3 sft.',
    });
  }
  return { ...checkpoint, prompts, embedId: embedTokenId(tokenizer, prompts), stopIds: stopIds(checkpoint) };
}

/**
 * Makes a base model a policy: adds the embed token where it is missing, and prompts where it has none or others are
 * given. The base stays as it is; arrays that did not have to grow are shared with it.
 */
export function makePolicy(checkpoint: Checkpoint, overrides?: PromptOverrides): Policy {
  const prompts =
    overrides === undefined ? (checkpoint.prompts ?? resolvePrompts()) : resolvePrompts(overrides);
  const { tokenizer, weights } = checkpoint;
  const grown: Checkpoint = {
    ...checkpoint,
    prompts,
    tokenizer: tokenizer.copy(),
    weights: new Map(weights),
  };
  addEmbedToken(grown);
  return asPolicy(grown);
}

/** A copy with weights of its own: what a policy was at this moment. */
export function frozenCopy<T extends Checkpoint>(checkpoint: T): T {
  const weights = [...checkpoint.weights].map(
    ([name, { data, shape }]) => [name, { data: data.slice(), shape }] as const,
  );
  return { ...checkpoint, weights: new Map(weights) };
}

/** The weights for inference, sharing their memory. */
export const memoryWeights = (checkpoint: Pick<Checkpoint, 'config' | 'weights'>): InferenceWeights => ({
  weightsIn: fedWeights(checkpoint.config),
  feeds: parameterFeeds(checkpoint),
});

/** Overwrites a policy's weights with those of a folder, in the arrays that sessions are bound to. */
export async function restoreWeights(folder: string, { config, weights }: Checkpoint): Promise<void> {
  for (const [name, { data }] of await loadWeights(folder, config)) weights.get(name)?.data.set(data);
}
