/** Generation with one model: for concurrent requests, and for whole batches whose composition is fixed. */
import { z } from 'zod';
import type { ModelConfig } from '../checkpoint/index.js';
import type { Encoder, InferenceWeights } from '../decoder/index.js';
import { InputError, validate } from '../run/index.js';
import { Decoding } from './decoding.js';
import { SharedEncoder } from './encoder.js';
import {
  type Completion,
  checkPrompt,
  checkTokens,
  type GenerateOptions,
  type GenerationRequest,
  generateOptionsSchema,
  type ResolvedRequest,
  requestSchema,
} from './options.js';
import { Sampler } from './sampler.js';
import { Scheduler } from './scheduler.js';
import { Job, type JobHooks, type Lot, type Submission } from './submission.js';

export interface GeneratorOptions {
  /** Rows that concurrent requests decode at the same time at most. Default 64. */
  slots?: number;
  /**
   * Prompt tokens of concurrent requests that are read between two steps at most; longer prompts are read in pieces.
   * Default 512.
   */
  stepTokens?: number;
  /** Memory of the cache in bytes; a request that needs more is served by itself. Default 2 GiB. */
  cacheBytes?: number;
  /** Threads inside one operator. Default: ONNX Runtime's choice (physical cores). */
  threads?: number;
}

/** Memory of the cache unless it is set, in bytes. */
export const DEFAULT_CACHE_BYTES = 2 ** 31;

const optionsSchema = z.strictObject({
  slots: z.int().positive().default(64),
  stepTokens: z.int().positive().default(512),
  cacheBytes: z.int().positive().default(DEFAULT_CACHE_BYTES),
  threads: z.int().positive().optional(),
});

/** Prompt tokens of a batch read in one run: activations of prompts take much more memory than those of single tokens. */
export const BATCH_TOKENS = 8192;

/** Generates with the parameters it was created on; they may be updated in place while nothing is being generated. */
export class Generator {
  /** Encodes with the same weights in memory; runs of it and steps of generation take turns. */
  readonly encoder: Encoder;
  readonly #config: ModelConfig;
  readonly #decoding: Decoding;
  readonly #sampler: Sampler;
  readonly #scheduler: Scheduler;
  /** Of the requests that are submitted one by one. */
  readonly #lot: Lot;

  private constructor(config: ModelConfig, decoding: Decoding, options: z.output<typeof optionsSchema>) {
    const { slots, stepTokens, cacheBytes, threads } = options;
    this.encoder = new SharedEncoder(config, decoding);
    this.#config = config;
    this.#decoding = decoding;
    this.#sampler = new Sampler(config.vocabSize, threads === undefined ? {} : { threads });
    this.#scheduler = new Scheduler(config, decoding, this.#sampler, cacheBytes);
    this.#lot = { slots, stepTokens, eager: false };
  }

  /** Errors: InputError for bad options and for heads that cached attention can not take. */
  static async create(
    config: ModelConfig,
    weights: InferenceWeights,
    options: GeneratorOptions = {},
  ): Promise<Generator> {
    const resolved = validate(optionsSchema, options, 'generator options');
    const { cacheBytes, threads } = resolved;
    const decoding = await Decoding.create(config, weights, {
      cacheBytes,
      ...(threads !== undefined && { threads }),
    });
    return new Generator(config, decoding, resolved);
  }

  /**
   * Generates for one prompt beside whatever else is being served. Errors: InputError for bad settings, and for a prompt
   * that is empty, holds what is no token of the model, or leaves too few of its positions.
   */
  submit(request: GenerationRequest): Submission {
    const { prompt, signal, onToken, ...plain } = request;
    const settings = validate(requestSchema(this.#config), plain, 'generation request');
    checkPrompt(prompt, 'prompt', 'generation request', settings, this.#config);
    return this.#add(
      { ...settings, prompt, ...(signal && { signal }), ...(onToken && { onToken }) },
      this.#lot,
    );
  }

  /**
   * The hidden state that the embed token would have after these tokens, not normalised. Errors: InputError as `submit`
   * throws it, InterruptedError when aborted.
   */
  async probe(
    tokens: readonly number[],
    { embedToken, signal }: { embedToken: number; signal?: AbortSignal },
  ): Promise<Float32Array> {
    checkTokens(tokens, 'prompt', this.#config);
    checkPrompt(
      [...tokens, embedToken],
      'prompt',
      'probe',
      { maxNewTokens: 0, forceEmbed: false },
      this.#config,
    );
    const settings = validate(
      requestSchema(this.#config),
      { maxNewTokens: 1, stop: [], embedToken },
      'probe',
    );
    const request = { ...settings, prompt: [...tokens, embedToken], maxNewTokens: 0 };
    const [completion] = await this.#add({ ...request, ...(signal && { signal }) }, this.#lot).completions;
    return completion?.hidden as Float32Array;
  }

  /**
   * Completions by prompt and sample. Which rows run together depends on nothing but the arguments, so the same call
   * gives the same numbers to the last bit: batches take turns with each other and with requests. Errors: InputError for
   * bad options and for prompts that `submit` refuses; InterruptedError when aborted.
   */
  async generate(prompts: readonly (readonly number[])[], options: GenerateOptions): Promise<Completion[][]> {
    const { signal, onToken, onFinished, ...plain } = options;
    const given = validate(generateOptionsSchema(this.#config), plain, 'generate options');
    for (const [i, prompt] of prompts.entries()) {
      checkPrompt(prompt, `prompt ${i}`, 'generate options', given, this.#config);
    }
    const { slots, seed, seeds, ...settings } = given;
    if (seeds !== undefined && seeds.length !== prompts.length) {
      throw new InputError({
        source: 'generate options',
        field: 'seeds',
        expected: `one per prompt, ${prompts.length}`,
        found: String(seeds.length),
      });
    }
    const lot: Lot = { slots, stepTokens: BATCH_TOKENS, eager: true };
    const jobs = prompts.map((prompt, i) => {
      const own = seeds === undefined ? { seed, index: i } : { seed: seeds[i] as number, index: 0 };
      return this.#add(
        {
          ...settings,
          ...own,
          prompt,
          priority: 0,
          ...(signal && { signal }),
          ...(onToken && { onToken: ({ sample, token }) => onToken({ prompt: i, sample, token }) }),
        },
        lot,
        onFinished && ((sample, completion) => onFinished({ prompt: i, sample, completion })),
      );
    });
    try {
      return await Promise.all(jobs.map(({ completions }) => completions));
    } catch (error) {
      for (const job of jobs) job.cancel();
      await Promise.allSettled(jobs.map(({ completions }) => completions));
      throw error;
    }
  }

  /** Computes with other arrays from now on, of those that it was created with. Not while something is generated. */
  bind(feeds: InferenceWeights['feeds']): void {
    this.#decoding.bind(feeds);
  }

  /** Ends all requests with an InterruptedError and releases the memory. */
  async dispose(): Promise<void> {
    await this.#scheduler.stop();
    await this.#sampler.dispose();
    await this.#decoding.dispose();
  }

  #add(request: ResolvedRequest, lot: Lot, onFinished?: JobHooks['onFinished']): Job {
    const job = new Job(request, lot, {
      onFinished,
      read: (tokens, embedToken, signal) =>
        this.probe(tokens, signal === undefined ? { embedToken } : { embedToken, signal }),
    });
    this.#scheduler.add(job);
    return job;
  }
}
