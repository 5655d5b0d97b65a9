/** Makes a checkpoint ready to embed and to be trained: with prompts and an embed token. */
import {
  addEmbedToken,
  type Checkpoint,
  embedTokenId,
  isTrainable,
  type PromptOverrides,
  type Prompts,
  presetFormat,
  resolvePrompts,
  stopIds,
  type TrainingPrompts,
} from '../checkpoint/index.js';
import { InputError } from '../run/index.js';

/** A checkpoint that embeds. */
export interface EmbeddingModel extends Checkpoint {
  prompts: Prompts;
  /** The id of the embed token; undefined if the embedding is read at the last token of the prompt. */
  embedId: number | undefined;
  /** Ids that end a generation without an embedding. */
  stopIds: readonly number[];
}

/** A checkpoint that embeds at its embed token, at once or after reasoning. Training changes its weights in place. */
export interface Policy extends EmbeddingModel {
  prompts: TrainingPrompts;
  embedId: number;
}

/**
 * Makes any checkpoint embed: without prompts it gets those of the preset `topics`, and an embed token that the tokenizer
 * lacks is added. The checkpoint stays as it is; arrays that did not have to grow are shared with it.
 */
export function makeEmbeddingModel(checkpoint: Checkpoint): EmbeddingModel {
  if (checkpoint.prompts === undefined) {
    return makeEmbeddingModel({ ...checkpoint, ...presetFormat('topics') });
  }
  const grown = withEmbedToken(checkpoint);
  const { prompts } = checkpoint;
  const { embedToken } = prompts;
  const embedId = embedToken === undefined ? undefined : embedTokenId(grown.tokenizer, embedToken);
  return { ...grown, prompts, embedId, stopIds: stopIds(grown) };
}

/**
 * A checkpoint that has its prompts and embed token.
 * @throws InputError for one without prompts, or with prompts that training does not take.
 */
export function asPolicy(checkpoint: Checkpoint, source = 'checkpoint'): Policy {
  const { prompts, preset, tokenizer } = checkpoint;
  if (prompts === undefined || !isTrainable(prompts)) {
    throw untrainable(source, prompts, preset);
  }
  const embedId = embedTokenId(tokenizer, prompts.embedToken);
  return { ...checkpoint, prompts, embedId, stopIds: stopIds(checkpoint) };
}

/** The error for prompts that training does not take. */
export const untrainable = (source: string, prompts: Prompts | undefined, preset?: string): InputError =>
  new InputError({
    source,
    field: 'prompts',
    expected: 'conversations that end with an embed token, one of them after reasoning',
    found:
      prompts === undefined ? 'none' : `others${preset === undefined ? '' : `, of the preset ${preset}`}`,
    remedy: 'Train the model first: search-r3 sft.',
  });

/**
 * Makes a base model a policy: adds the embed token where it is missing, and prompts where it has none or others are
 * given. The base stays as it is; arrays that did not have to grow are shared with it.
 * @throws InputError for a base whose own prompts are none for training, unless others are given.
 */
export function makePolicy(checkpoint: Checkpoint, overrides?: PromptOverrides): Policy {
  if (overrides !== undefined) {
    const prompts = resolvePrompts(overrides);
    return asPolicy(withEmbedToken({ ...checkpoint, prompts, preset: undefined }));
  }
  const format = checkpoint.prompts === undefined ? presetFormat('search-r3') : {};
  return asPolicy(withEmbedToken({ ...checkpoint, ...format }));
}

/** A copy whose tokenizer and weights have the embed token of its prompts, if these name one. */
function withEmbedToken(checkpoint: Checkpoint): Checkpoint {
  const { prompts, tokenizer, weights } = checkpoint;
  if (prompts?.embedToken === undefined) return checkpoint;
  const grown = { ...checkpoint, tokenizer: tokenizer.copy(), weights: new Map(weights) };
  addEmbedToken(grown);
  return grown;
}

/** A copy with weights of its own, which stay as they are now when the checkpoint is trained. */
export function frozenCopy<T extends Checkpoint>(checkpoint: T): T {
  const weights = [...checkpoint.weights].map(
    ([name, { data, shape }]) => [name, { data: data.slice(), shape }] as const,
  );
  return { ...checkpoint, weights: new Map(weights) };
}
