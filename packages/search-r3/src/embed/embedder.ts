/**
 * Texts to vectors: documents and queries directly, queries also after the model's own reasoning. What a vector was
 * made from (reasoning, token counts, truncation) comes with it.
 */
import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import {
  DEFAULT_LIMITS,
  type NameOfText,
  PromptCache,
  type PromptIds,
  requireReasoning,
} from '../checkpoint/index.js';
import { embeddingOf } from '../decoder/index.js';
import type { Completion } from '../generate/index.js';
import type { Model } from '../model/index.js';
import { InputError, InterruptedError, validate } from '../run/index.js';
import { TextPieces } from './text-pieces.js';

export interface EmbedOptions {
  /** Whether the texts are queries or documents. Default `query`. */
  role?: 'query' | 'document';
  /** Let the model reason before it embeds, which takes a prompt for it. Only for queries. Default false. */
  reasoning?: boolean;
  /**
   * Maximum length of the prompt in tokens, without reasoning; the model may limit it further. Default: the value that
   * the model was trained with, or 512 if that is unknown.
   */
  maxLength?: number;
  /** Reject text that does not fit, instead of cutting it. Default false. */
  strict?: boolean;
  /** Maximum length of the reasoning in tokens. Default: the value used in training, or 44 if that is unknown. */
  maxNewTokens?: number;
  /** Sampling temperature of the reasoning. 0 always picks the most probable token. Default 0. */
  temperature?: number;
  seed?: number;
  signal?: AbortSignal;
  /** The name of the text at an index, for errors. Default `text 0`, `text 1` and so on. */
  nameOf?: (index: number) => string;
  /** Called with the number of finished texts. */
  onProgress?: (done: number, total: number) => void;
  /** Called with each piece of reasoning as it is generated. Joined, the pieces of a text equal its `reasoning`. */
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
  /** Number of tokens: the prompt and, with reasoning, the generated tokens. */
  tokens: number;
  /** What the model wrote before the embed token. Only with `reasoning`. */
  reasoning?: string;
  /**
   * Whether the model itself ended its reasoning with the embed token. If it did not, the token was appended to what
   * the model wrote. Only with `reasoning`.
   */
  completed?: boolean;
}

const optionsSchema = z
  .strictObject({
    role: z.enum(['query', 'document']).default('query'),
    reasoning: z.boolean().default(false),
    maxLength: z.int().positive().optional(),
    strict: z.boolean().default(false),
    maxNewTokens: z.int().min(1).optional(),
    temperature: z.number().nonnegative().default(0),
    seed: z.int().default(0),
  })
  .refine(({ role, reasoning }) => role === 'query' || !reasoning, {
    path: ['reasoning'],
    message: 'expected false for documents: only queries are reasoned about',
  });

/** Number of texts that are tokenized and encoded together. Other work gets a turn between these pieces. */
const PIECE = 1024;

/** Embeds texts with a model. Training may update the weights in place between calls. */
export class Embedder {
  readonly model: Model;
  readonly #prompts: PromptCache;

  /** The model stays with the caller, who disposes of it. */
  constructor(model: Model) {
    this.model = model;
    this.#prompts = new PromptCache(model.tokenizer, model.prompts);
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
    const { maxLength, maxNewTokens } = this.model.limits ?? {};
    return {
      maxLength: maxLength ?? DEFAULT_LIMITS.maxLength,
      maxNewTokens: maxNewTokens ?? DEFAULT_LIMITS.maxNewTokens,
    };
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
    const room = await this.#room(role, reasoning ? maxNewTokens : undefined);
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
    const { signal, onProgress, onToken, nameOf, ...plain } = options;
    const given = validate(optionsSchema, plain, 'embed options');
    const { role, reasoning, strict, maxNewTokens = this.limits.maxNewTokens } = given;
    const { maxTokens } = await this.longestPrompt(given);
    const limit = { maxTokens, strict };
    yield* reasoning
      ? this.#reasoned(texts, limit, { ...given, maxNewTokens }, options)
      : this.#direct(texts, limit, role, options);
  }

  /**
   * The number of positions for a prompt, after subtracting the reasoning and the embed token that follows it.
   * @throws InputError if the prompt does not fit even without its text.
   */
  async #room(role: 'query' | 'document', maxNewTokens: number | undefined): Promise<number> {
    const { maxPositions } = this.model.config;
    const reasoned = maxNewTokens !== undefined;
    if (reasoned) requireReasoning(this.model);
    const [prompt] = await (reasoned ? this.#prompts.reasoning(['']) : this.#prompts.direct([''], role));
    const bare = (prompt as PromptIds).ids.length;
    const room = maxPositions - (reasoned ? maxNewTokens + 1 : 0);
    if (room >= bare) return room;
    const most = maxPositions - bare - 1;
    if (reasoned && most >= 1) {
      throw new InputError({
        source: 'embed options',
        field: 'maxNewTokens',
        expected: `at most ${most}, beside the ${bare} tokens of the prompt in the ${maxPositions} positions of the model`,
        found: String(maxNewTokens),
      });
    }
    throw new InputError({
      source: 'model',
      field: 'max_position_embeddings',
      expected: `room for the ${bare} tokens of its prompt${reasoned ? ' and for reasoning' : ''}`,
      found: String(maxPositions),
      remedy: 'It takes a model of more positions, or shorter prompts.',
    });
  }

  async *#direct(
    texts: readonly string[],
    limit: { maxTokens: number; strict: boolean },
    role: 'query' | 'document',
    options: EmbedOptions,
  ): AsyncGenerator<Embedding[]> {
    const { signal, onProgress } = options;
    const prompts = (start: number) =>
      this.#piece(texts, start, options, (piece, names) => this.#prompts.direct(piece, role, limit, names));
    // In strict mode, all texts are checked before any is encoded.
    if (limit.strict) for (const start of pieces(texts)) await prompts(start);
    for (const start of pieces(texts)) {
      const built = await prompts(start);
      const empty = built.findIndex(({ ids }) => ids.length === 0);
      if (empty >= 0) {
        const { nameOf = textName } = options;
        throw new InputError({
          source: nameOf(start + empty),
          expected: 'a text with tokens',
          found: 'none',
        });
      }
      const encoder = await this.model.encoder();
      const matrix = await encoder.encode(
        built.map(({ ids }) => ids),
        {
          ...(signal && { signal }),
          ...(onProgress && { onProgress: (done: number) => onProgress(start + done, texts.length) }),
        },
      );
      yield built.map(({ ids, truncated }, i) => ({
        vector: this.#row(matrix, i),
        truncated,
        tokens: ids.length,
      }));
    }
  }

  async *#reasoned(
    texts: readonly string[],
    limit: { maxTokens: number; strict: boolean },
    { maxNewTokens, temperature, seed }: { maxNewTokens: number; temperature: number; seed: number },
    options: EmbedOptions,
  ): AsyncGenerator<Embedding[]> {
    const { tokenizer, embedId, stopIds } = this.model;
    if (embedId === undefined) throw new Error('internal: a prompt for reasoning without an embed token');
    const all: Readonly<PromptIds>[] = [];
    for (const start of pieces(texts)) {
      const piece = await this.#piece(texts, start, options, (some, names) =>
        this.#prompts.reasoning(some, limit, names),
      );
      all.push(...piece);
    }
    const { signal, onToken, onProgress } = options;
    const generator = await this.model.generator();
    let done = 0;
    // Random draws depend on the index of a text in its call, so with sampling all texts are generated in one call.
    const size = temperature === 0 ? PIECE : texts.length;
    for (const start of pieces(texts, size)) {
      const built = all.slice(start, start + size);
      const streams =
        onToken &&
        built.map((_, i) => new TextPieces(tokenizer, (piece) => onToken({ text: start + i, piece })));
      const completions = await generator.generate(
        built.map(({ ids }) => ids),
        {
          maxNewTokens,
          temperature,
          seed,
          stop: stopIds,
          embedToken: embedId,
          forceEmbed: true,
          ...(signal && { signal }),
          ...(streams && {
            onToken: ({ prompt, token }: { prompt: number; token: number }) => {
              if (!this.#ends(token)) streams[prompt]?.add(token);
            },
          }),
          onFinished: ({ prompt }) => {
            streams?.[prompt]?.end();
            onProgress?.(++done, texts.length);
          },
        },
      );
      const written = completions.map(([completion]) => this.#written(completion as Completion));
      yield built.map(({ ids, truncated }, i) => {
        const completion = completions[i]?.[0];
        if (completion?.hidden === undefined)
          throw new Error('internal: a reasoned text without an embedding');
        return {
          vector: embeddingOf(completion.hidden, this.dimension),
          truncated,
          tokens: ids.length + completion.tokens.length,
          reasoning: tokenizer.decode(written[i] as number[]),
          completed: completion.finish === 'embed',
        };
      });
    }
  }

  /** The generated tokens, without the tokens that end the reasoning. */
  #written({ tokens }: Completion): number[] {
    return tokens.filter((token) => !this.#ends(token));
  }

  #ends(token: number): boolean {
    const { embedId, stopIds } = this.model;
    return token === embedId || stopIds.includes(token);
  }

  /** The prompts of one piece of the texts. Errors name the text that they are about. */
  async #piece(
    texts: readonly string[],
    start: number,
    { signal, nameOf = textName }: EmbedOptions,
    build: (piece: string[], nameOf: NameOfText) => Promise<Readonly<PromptIds>[]>,
  ): Promise<Readonly<PromptIds>[]> {
    await setImmediate();
    if (signal?.aborted) throw new InterruptedError('embed: stopped by the caller');
    return build(texts.slice(start, start + PIECE), (index) => nameOf(start + index));
  }

  #row(matrix: Float32Array, i: number): Float32Array {
    const width = this.model.config.hiddenSize;
    return embeddingOf(matrix.subarray(i * width, (i + 1) * width), this.dimension);
  }
}

const textName = (index: number) => `text ${index}`;

/** The index of the first text of each piece. */
const pieces = (texts: readonly string[], size = PIECE): number[] =>
  Array.from({ length: Math.ceil(texts.length / size) }, (_, i) => i * size);
