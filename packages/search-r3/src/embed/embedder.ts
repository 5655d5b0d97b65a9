/**
 * Texts to vectors: documents and queries directly, queries also after the model's own reasoning. What a vector was
 * made from (reasoning, token counts, truncation) comes with it.
 */
import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import type { PromptIds } from '../checkpoint/index.js';
import { embeddingOf } from '../decoder/index.js';
import type { Completion } from '../generate/index.js';
import type { Model } from '../model/index.js';
import { InterruptedError, validate } from '../run/index.js';
import { EmbedPrompts, type PromptKind } from './prompts.js';
import { Reasoner } from './reasoner.js';
import {
  dimensionsSchema,
  type EmbedRequest,
  type EmbedResult,
  type EmbedSettings,
  fusionFields,
  type ProbeRequest,
  shorterLengths,
} from './request.js';
import { RequestServer } from './request-server.js';
import { fuseVectors } from './vectors.js';

/** Settings of a request that hold for every text, and what only many texts need. */
export interface EmbedOptions
  extends Pick<
    EmbedSettings,
    | 'role'
    | 'samples'
    | 'fusion'
    | 'directWeight'
    | 'dimensions'
    | 'temperature'
    | 'seed'
    | 'maxNewTokens'
    | 'maxLength'
    | 'strict'
    | 'signal'
  > {
  /** Let the model reason before it embeds, which takes a prompt for it. Only for queries. Default false. */
  reasoning?: boolean;
  /** The name of the text at an index, for errors. Default `text 0`, `text 1` and so on. */
  nameOf?: (index: number) => string;
  /** Called with the number of finished texts. */
  onProgress?: (done: number, total: number) => void;
  /**
   * Called with each piece of reasoning, of the first sample, as it is generated. Joined, the pieces of a text equal its
   * `reasoning`.
   */
  onToken?: (event: { text: number; piece: string }) => void;
}

/** The options that determine the maximum length of a prompt. */
type Lengths = {
  [key in 'role' | 'reasoning' | 'maxLength' | 'maxNewTokens']: EmbedOptions[key] | undefined;
};

export interface Embedding {
  /** Has unit length. */
  vector: Float32Array;
  /** Whether the text was cut to fit. */
  truncated: boolean;
  /** Number of tokens: the prompts and, with reasoning, the tokens generated in all samples. */
  tokens: number;
  /** What the model wrote before the embed token, in the first sample. Only with `reasoning`. */
  reasoning?: string;
  /** What the model wrote in each sample. Only with several. */
  reasonings?: string[];
  /**
   * Whether the model itself ended its reasoning, in all samples, with the embed token. If it did not, the token was
   * appended to what the model wrote. Only with `reasoning`.
   */
  completed?: boolean;
}

const optionsSchema = (model: Model, dimension: number) =>
  z
    .strictObject({
      role: z.enum(['query', 'document']).default('query'),
      reasoning: z.boolean().default(false),
      maxLength: z.int().positive().optional(),
      strict: z.boolean().default(false),
      maxNewTokens: z.int().min(1).optional(),
      temperature: z.number().nonnegative().default(0),
      seed: z.int().default(0),
      ...fusionFields,
      dimensions: dimensionsSchema({ dimension, matryoshka: shorterLengths(model, dimension) }),
    })
    .refine(({ role, reasoning }) => role === 'query' || !reasoning, {
      path: ['reasoning'],
      message: 'expected false for documents: only queries are reasoned about',
    })
    .refine(({ samples, reasoning }) => samples === 1 || reasoning, {
      path: ['samples'],
      message: 'expected 1 without reasoning',
    })
    .refine(({ samples, temperature }) => samples === 1 || temperature > 0, {
      path: ['temperature'],
      message: 'expected more than 0, as samples would be equal otherwise',
    })
    .refine(({ fusion, reasoning }) => fusion === 'mean' || reasoning, {
      path: ['fusion'],
      message: 'expected "mean" without reasoning',
    });

/** Number of texts that are tokenized and embedded together. Other work gets a turn between these pieces. */
const PIECE = 1024;

/** What the texts of one call share. */
interface Batch {
  options: z.output<ReturnType<typeof optionsSchema>> & { maxNewTokens: number };
  signal: AbortSignal | undefined;
  onToken: EmbedOptions['onToken'] | undefined;
  /** Called with the number of texts done in a piece. */
  onProgress: ((done: number) => void) | undefined;
}

/** Embeds texts with a model. Training may update the weights in place between calls. */
export class Embedder {
  readonly model: Model;
  readonly #prompts: EmbedPrompts;
  readonly #reasoner: Reasoner;
  readonly #server: RequestServer;
  readonly #options: ReturnType<typeof optionsSchema>;

  /** The model stays with the caller, who disposes of it. */
  constructor(model: Model) {
    this.model = model;
    this.#prompts = new EmbedPrompts(model);
    this.#reasoner = new Reasoner(model);
    this.#server = new RequestServer(model, this.#prompts, this.#reasoner, this.dimension);
    this.#options = optionsSchema(model, this.dimension);
  }

  get dimension(): number {
    return this.model.dimensions ?? this.model.config.hiddenSize;
  }

  /** Whether the model has a prompt for reasoning. */
  get canReason(): boolean {
    return this.model.prompts.reasoning !== undefined;
  }

  /** The default values of the length options. */
  get limits(): { maxLength: number; maxNewTokens: number } {
    return this.#prompts.limits;
  }

  /**
   * Embeds one text beside whatever else is being served: concurrent requests share the model's runs, each with settings
   * of its own. The vector is that of `embed` with the same settings, within `EMBEDDING_TOLERANCE`.
   * @throws InputError for a bad request, before the model is used; InterruptedError when aborted, after the run at hand.
   */
  submit(request: EmbedRequest): Promise<EmbedResult> {
    return this.#server.submit(request);
  }

  /**
   * The vector that a query would have if its reasoning ended after what is written. With the `maxNewTokens` of the
   * request that wrote it, a long text is cut in the same place. Errors: as `submit`.
   */
  probe(request: ProbeRequest): Promise<Float32Array> {
    return this.#server.probe(request);
  }

  /**
   * The maximum length of a prompt in tokens: `maxTokens` with these options, and `room` if only the model and its
   * reasoning limit it.
   * @throws InputError if there is no room for a prompt.
   */
  async longestPrompt({
    role = 'query',
    reasoning = false,
    maxLength = this.limits.maxLength,
    maxNewTokens = this.limits.maxNewTokens,
  }: Partial<Lengths> = {}): Promise<{ maxTokens: number; room: number }> {
    const reserved = { source: 'embed options', field: 'maxNewTokens', tokens: maxNewTokens };
    const room = await this.#prompts.room(reasoning ? 'reasoning' : role, reserved);
    return { maxTokens: Math.min(maxLength, room), room };
  }

  /**
   * Embeddings in the order of the texts.
   * @throws InputError if options are invalid or, with `strict`, a text is too long.
   */
  async embed(texts: readonly string[], options: EmbedOptions = {}): Promise<Embedding[]> {
    const embeddings: Embedding[] = [];
    for await (const piece of this.stream(texts, options)) for (const one of piece) embeddings.push(one);
    return embeddings;
  }

  /**
   * Yields the embeddings of `embed` in pieces as they are finished, so that they need not all be in memory at once. No
   * work is done until the reader asks for the next piece.
   * @throws the errors of `embed`. All but InterruptedError come before the first embeddings.
   */
  async *stream(texts: readonly string[], options: EmbedOptions = {}): AsyncGenerator<Embedding[]> {
    const { signal, onProgress, onToken, nameOf = textName, ...plain } = options;
    const given = validate(this.#options, plain, 'embed options');
    const { role, reasoning, fusion, strict, maxNewTokens = this.limits.maxNewTokens } = given;
    const fused = fusion === 'direct+mean';
    const { maxTokens } = await this.longestPrompt(given);
    const direct = fused ? (await this.longestPrompt({ ...given, reasoning: false })).maxTokens : maxTokens;
    const kind: PromptKind = reasoning ? 'reasoning' : role;
    const prompts = async (start: number, kind: PromptKind, maxTokens: number) => {
      await setImmediate();
      if (signal?.aborted) throw new InterruptedError('embed: stopped by the caller');
      const piece = texts.slice(start, start + PIECE);
      return this.#prompts.build(piece, kind, { maxTokens, strict }, (index) => nameOf(start + index));
    };
    // All texts are checked before any is embedded.
    for (const start of strict || reasoning ? pieces(texts) : []) {
      await prompts(start, kind, maxTokens);
      if (fused) await prompts(start, role, direct);
    }
    for (const start of pieces(texts)) {
      const batch: Batch = {
        options: { ...given, maxNewTokens },
        signal,
        onToken: onToken && (({ text, piece }) => onToken({ text: start + text, piece })),
        onProgress: onProgress && ((done) => onProgress(start + done, texts.length)),
      };
      const built = await prompts(start, kind, maxTokens);
      if (!reasoning) {
        yield await this.#direct(built, batch);
        continue;
      }
      // Progress counts the texts once, by the part that takes long.
      const silent = { ...batch, onProgress: undefined };
      const beside = fused ? await this.#direct(await prompts(start, role, direct), silent) : undefined;
      yield await this.#reasoned(built, beside, batch);
    }
  }

  async #direct(
    prompts: readonly Readonly<PromptIds>[],
    { options: { dimensions }, signal, onProgress }: Batch,
  ): Promise<Embedding[]> {
    const encoder = await this.model.encoder();
    const matrix = await encoder.encode(
      prompts.map(({ ids }) => ids),
      { ...(signal && { signal }), ...(onProgress && { onProgress }) },
    );
    const width = encoder.dimension;
    return prompts.map(({ ids, truncated }, i) => ({
      vector: embeddingOf(matrix.subarray(i * width, (i + 1) * width), dimensions),
      truncated,
      tokens: ids.length,
    }));
  }

  async #reasoned(
    prompts: readonly Readonly<PromptIds>[],
    direct: readonly Embedding[] | undefined,
    { options, signal, onToken, onProgress }: Batch,
  ): Promise<Embedding[]> {
    const { maxNewTokens, temperature, seed, samples, dimensions, fusion, directWeight } = options;
    const generator = await this.model.generator();
    const streams =
      onToken && prompts.map((_, text) => this.#reasoner.pieces((piece) => onToken({ text, piece })));
    let done = 0;
    const completions = await generator.generate(
      prompts.map(({ ids }) => ids),
      {
        ...this.#reasoner.ending,
        ...{ maxNewTokens, temperature, samples },
        // A text draws the same wherever it stands, as a request by itself does.
        seeds: prompts.map(() => seed),
        ...(signal && { signal }),
        ...(streams && {
          onToken: ({ prompt, sample, token }) => sample === 0 && streams[prompt]?.add(token),
        }),
        onFinished: ({ prompt, sample }) => {
          if (sample === 0) streams?.[prompt]?.end();
          if (++done % samples === 0) onProgress?.(done / samples);
        },
      },
    );
    return prompts.map(({ ids, truncated }, i) => {
      const own = completions[i] as Completion[];
      const written = own.map((completion) => this.#reasoner.read(completion));
      const vectors = own.map((completion) => this.#reasoner.vector(completion, dimensions));
      const other = direct?.[i];
      const reasonings = written.map(({ text }) => text);
      return {
        vector: fuseVectors(vectors, other?.vector, fusion, directWeight),
        truncated: truncated || other?.truncated === true,
        tokens: own.reduce((sum, { tokens }) => sum + tokens.length, ids.length + (other?.tokens ?? 0)),
        reasoning: reasonings[0] as string,
        ...(samples > 1 && { reasonings }),
        completed: written.every(({ completed }) => completed),
      };
    });
  }
}

const textName = (index: number) => `text ${index}`;

/** The index of the first text of each piece. */
const pieces = (texts: readonly string[]): number[] =>
  Array.from({ length: Math.ceil(texts.length / PIECE) }, (_, i) => i * PIECE);
