/** What generation takes: requests and the options of a batch, and prompts that the model has tokens and positions for. */
import { z } from 'zod';
import type { ModelConfig } from '../checkpoint/index.js';
import { InputError } from '../run/index.js';
import type { SamplingOptions } from './sampling.js';

/** How long completions are, and where they end. */
export interface LengthOptions {
  /** New tokens at most, the embed token included. */
  maxNewTokens: number;
  /** New tokens before one that ends the completion, at least. Default 0. */
  minNewTokens?: number;
  /** Token ids that end a completion; they are part of it. */
  stop: readonly number[];
  /** The embed token: ends a completion and yields its embedding. Default none. */
  embedToken?: number;
  /**
   * A completion that ends by length or with a stop token has an embedding too: that of the embed token in place of
   * the stop token, or after the last token. Default false.
   */
  forceEmbed?: boolean;
  /** Completions per prompt. Default 1. */
  samples?: number;
}

export interface GenerationRequest extends SamplingOptions, LengthOptions {
  prompt: readonly number[];
  /** Seed of the draws. Default 0. */
  seed?: number;
  /**
   * Each sample draws from the stream of (seed, index, sample), whoever else is being served: number `index` of a batch
   * with one seed gives the same tokens. Default 0.
   */
  index?: number;
  /** Requests of a higher priority are started first, those of one priority in their order. Default 0. */
  priority?: number;
  /** Aborting it frees the request's slots after the step at hand. */
  signal?: AbortSignal;
  /** Called with every token as it is drawn. An error thrown here fails the request. */
  onToken?: (event: TokenEvent) => void;
}

export interface TokenEvent {
  sample: number;
  token: number;
  /** See `Completion`. */
  logProbability: number;
}

export interface GenerateOptions extends SamplingOptions, LengthOptions {
  /** Seed of the draws; each (prompt, sample) has its own stream. Default 0. */
  seed?: number;
  /** A seed per prompt instead, with which each gives the tokens that it gives as a request by itself. */
  seeds?: readonly number[];
  /** Rows decoded at the same time at most. Default 128. */
  slots?: number;
  signal?: AbortSignal;
  /** Called with every token as it is drawn. */
  onToken?: (event: { prompt: number; sample: number; token: number }) => void;
  /** Called with every completion as it ends. */
  onFinished?: (event: { prompt: number; sample: number; completion: Completion }) => void;
}

export type FinishReason = 'embed' | 'stop' | 'length';

export interface Completion {
  tokens: number[];
  /** Log-probability of each token at the sampling temperature (at temperature 0: at temperature 1). */
  logProbabilities: number[];
  finish: FinishReason;
  /** Hidden state at the embed token, not normalised; only with finish `embed` or `forceEmbed`. */
  hidden?: Float32Array;
}

const count = z.int().positive();

/** The fields that requests and batches share. */
const shared = ({ vocabSize }: ModelConfig) => {
  const token = z.int().nonnegative().lt(vocabSize);
  return {
    maxNewTokens: count,
    minNewTokens: z.int().nonnegative().default(0),
    stop: z.array(token),
    embedToken: token.optional(),
    forceEmbed: z.boolean().default(false),
    samples: count.default(1),
    temperature: z.number().nonnegative().default(1),
    topK: z.int().nonnegative().default(0),
    topP: z.number().gt(0).max(1).default(1),
    minP: z.number().min(0).max(1).default(0),
    repetitionPenalty: z.number().gt(0).default(1),
  };
};

interface Ends {
  minNewTokens: number;
  maxNewTokens: number;
  forceEmbed: boolean;
  embedToken?: number | undefined;
}

/** The checks between fields. */
const consistent = <T extends z.ZodType<Ends>>(schema: T): T =>
  schema
    .refine(({ minNewTokens, maxNewTokens }) => minNewTokens <= maxNewTokens, {
      path: ['minNewTokens'],
      message: 'expected at most maxNewTokens',
    })
    .refine(({ forceEmbed, embedToken }) => !forceEmbed || embedToken !== undefined, {
      path: ['embedToken'],
      message: 'expected the embed token that forceEmbed needs',
    });

/** A request but its prompt, signal and callback, for a model. */
export const requestSchema = (config: ModelConfig) =>
  consistent(
    z.strictObject({
      ...shared(config),
      seed: z.int().default(0),
      index: z.int().nonnegative().default(0),
      priority: z.number().default(0),
    }),
  );

/** Rows that a batch decodes at the same time unless it is set. */
export const BATCH_SLOTS = 128;

/** The options of a batch but the signal and the callbacks, for a model. */
export const generateOptionsSchema = (config: ModelConfig) =>
  consistent(
    z.strictObject({
      ...shared(config),
      seed: z.int().default(0),
      seeds: z.array(z.int()).optional(),
      slots: count.default(BATCH_SLOTS),
    }),
  );

/** With all defaults filled in. */
export type ResolvedRequest = z.output<ReturnType<typeof requestSchema>> &
  Pick<GenerationRequest, 'prompt' | 'signal' | 'onToken'>;

/** @throws InputError for a prompt that is empty or has other tokens than the model. */
export function checkTokens(prompt: readonly number[], source: string, { vocabSize }: ModelConfig): void {
  if (prompt.length === 0) throw new InputError({ source, expected: 'tokens', found: 'none' });
  const at = prompt.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize));
  if (at < 0) return;
  const expected = `a token id from 0 to ${vocabSize - 1}`;
  throw new InputError({ source, field: `token ${at}`, expected, found: String(prompt[at]) });
}

/** @throws InputError for a prompt that `checkTokens` refuses, or that leaves too few positions. */
export function checkPrompt(
  prompt: readonly number[],
  name: string,
  options: string,
  { maxNewTokens, forceEmbed }: Pick<ResolvedRequest, 'maxNewTokens' | 'forceEmbed'>,
  config: ModelConfig,
): void {
  checkTokens(prompt, name, config);
  const most = config.maxPositions - prompt.length - (forceEmbed ? 1 : 0);
  if (maxNewTokens <= most) return;
  if (most < 1) {
    const expected = `fewer tokens than the ${config.maxPositions} positions of the model`;
    throw new InputError({ source: name, expected, found: String(prompt.length) });
  }
  throw new InputError({
    source: options,
    field: 'maxNewTokens',
    expected: `at most ${most}, beside the ${prompt.length} tokens of ${name} in the ${config.maxPositions} positions of the model`,
    found: String(maxNewTokens),
  });
}
