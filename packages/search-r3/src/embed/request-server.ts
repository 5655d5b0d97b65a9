/**
 * Serves single requests of concurrent callers: reasoning is written in the shared steps of the generator, and whatever
 * is known beforehand is encoded in the shared runs of the encoder.
 */
import { type PromptIds, requireReasoning } from '../checkpoint/index.js';
import { embeddingOf } from '../decoder/index.js';
import type { Model } from '../model/index.js';
import { InputError, InterruptedError, validate } from '../run/index.js';
import { EncodingQueue } from './encoding-queue.js';
import type { EmbedPrompts, PromptKind, Reserved } from './prompts.js';
import type { Reasoner } from './reasoner.js';
import {
  type EmbedRequest,
  type EmbedResult,
  type EmbedSettings,
  type ProbeRequest,
  probeSchema,
  type ResolvedRequest,
  requestSchema,
  shorterLengths,
  type WrittenReasoning,
} from './request.js';
import { fuseVectors } from './vectors.js';

/** Vectors of one way to embed the text, and what they were made from. */
interface Part {
  vectors: Float32Array[];
  truncated: boolean;
  promptTokens: number;
  reasoningTokens: number;
  written?: WrittenReasoning[];
}

/** Which prompt is wanted of a request. */
interface Wanted extends Pick<ResolvedRequest, 'text' | 'tokens' | 'maxLength' | 'strict'> {
  kind: PromptKind;
  reserved: Reserved;
}

/** A prompt and the tokens after it whose last one is embedded. */
interface Sequence {
  prompt: PromptIds;
  written: readonly number[];
  end: readonly number[];
}

const REQUEST = 'embed request';
const PROBE = 'probe request';

export class RequestServer {
  readonly #model: Model;
  readonly #prompts: EmbedPrompts;
  readonly #reasoner: Reasoner;
  readonly #queue: EncodingQueue;
  readonly #requests: ReturnType<typeof requestSchema>;
  readonly #probes: ReturnType<typeof probeSchema>;

  constructor(model: Model, prompts: EmbedPrompts, reasoner: Reasoner, dimension: number) {
    const { vocabSize } = model.config;
    const matryoshka = shorterLengths(model, dimension);
    const limits = { vocabSize, dimension, matryoshka, limits: prompts.limits, embedId: model.embedId };
    this.#model = model;
    this.#prompts = prompts;
    this.#reasoner = reasoner;
    this.#queue = new EncodingQueue(model);
    this.#requests = requestSchema(limits);
    this.#probes = probeSchema(limits);
  }

  async submit({ signal, onToken, ...plain }: EmbedRequest): Promise<EmbedResult> {
    const request = validate(this.#requests, plain, REQUEST);
    const { reasoning, role = 'query', fusion, directWeight, dimensions } = request;
    if (reasoning !== 'off') requireReasoning(this.#model);
    throwIfAborted(signal);
    const reserved = { source: REQUEST, field: 'maxNewTokens', tokens: request.maxNewTokens };
    // Nothing is awaited before this is queued, so that requests of one moment are encoded together.
    const prompt =
      reasoning === 'off' || fusion === 'direct+mean'
        ? this.#prompt({ ...request, kind: role, reserved })
        : undefined;
    const direct = prompt && this.#encoded(prompt.then(directSequence), dimensions, signal);
    let reasoned: Promise<Part> | undefined;
    if (reasoning === 'on') reasoned = this.#generated(request, reserved, prompt, { signal, onToken });
    else if (reasoning !== 'off') {
      const own = this.#after(this.#tokensOf(reasoning), (tokens) => ({
        ...request,
        kind: 'reasoning',
        reserved: { source: REQUEST, field: 'reasoning', tokens: tokens.length },
      }));
      reasoned = this.#encoded(own, dimensions, signal);
    }
    return resultOf(...(await Promise.all([direct, reasoned])), fusion, directWeight);
  }

  async probe({ signal, ...plain }: ProbeRequest): Promise<Float32Array> {
    const request = validate(this.#probes, plain, PROBE);
    const { written, maxNewTokens, dimensions } = request;
    requireReasoning(this.#model);
    throwIfAborted(signal);
    const tokens = typeof written === 'string' ? this.#tokensOf(written) : Promise.resolve(written);
    const sequence = this.#after(tokens, ({ length }) => {
      if (length > maxNewTokens) {
        const expected = `at most maxNewTokens, ${maxNewTokens} tokens`;
        throw new InputError({ source: PROBE, field: 'written', expected, found: String(length) });
      }
      const reserved = { source: PROBE, field: 'maxNewTokens', tokens: maxNewTokens };
      return { ...request, kind: 'reasoning', reserved };
    });
    const { vectors } = await this.#encoded(sequence, dimensions, signal);
    return vectors[0] as Float32Array;
  }

  /** The model reasons and embeds. @param ready what else has to succeed before it begins. */
  async #generated(
    request: ResolvedRequest,
    reserved: Reserved,
    ready: Promise<unknown> | undefined,
    { signal, onToken }: { [key in 'signal' | 'onToken']: EmbedSettings[key] | undefined },
  ): Promise<Part> {
    const { samples, maxNewTokens, minNewTokens, temperature, seed, dimensions } = request;
    const [prompt] = await Promise.all([this.#prompt({ ...request, kind: 'reasoning', reserved }), ready]);
    const streams =
      onToken &&
      Array.from({ length: samples }, (_, sample) =>
        this.#reasoner.pieces((piece) => onToken({ sample, piece })),
      );
    const generator = await this.#model.generator();
    throwIfAborted(signal);
    const completions = await generator.submit({
      prompt: prompt.ids,
      ...this.#reasoner.ending,
      ...{ samples, maxNewTokens, minNewTokens, temperature, seed },
      ...(signal && { signal }),
      ...(streams && { onToken: ({ sample, token }) => streams[sample]?.add(token) }),
    }).completions;
    for (const stream of streams ?? []) stream.end();
    return {
      vectors: completions.map((completion) => this.#reasoner.vector(completion, dimensions)),
      truncated: prompt.truncated,
      promptTokens: prompt.ids.length,
      reasoningTokens: completions.reduce((sum, { tokens }) => sum + tokens.length, 0),
      written: completions.map((completion) => this.#reasoner.read(completion)),
    };
  }

  /** The embedding at the end of a sequence. */
  async #encoded(
    sequence: Promise<Sequence>,
    dimensions: number,
    signal: AbortSignal | undefined,
  ): Promise<Part> {
    const ids = sequence.then(({ prompt, written, end }) => [...prompt.ids, ...written, ...end]);
    const [{ prompt, written }, embedding] = await Promise.all([sequence, this.#queue.encode(ids, signal)]);
    return {
      vectors: [embeddingOf(embedding, dimensions)],
      truncated: prompt.truncated,
      promptTokens: prompt.ids.length,
      reasoningTokens: written.length,
    };
  }

  /** Reasoning that is known, after its prompt and before the embed token. */
  async #after(
    tokens: Promise<readonly number[]>,
    wanted: (tokens: readonly number[]) => Wanted,
  ): Promise<Sequence> {
    const written = await tokens;
    return { prompt: await this.#prompt(wanted(written)), written, end: [this.#reasoner.embedId] };
  }

  /** The ids of reasoning that is no prompt: it cannot hold special tokens. */
  #tokensOf(reasoning: string): Promise<number[]> {
    const { tokenizer } = this.#model;
    return tokenizer.encode(tokenizer.escapeSpecialTokens(reasoning));
  }

  async #prompt({ text, tokens, maxLength, strict, kind, reserved }: Wanted): Promise<Readonly<PromptIds>> {
    const { source } = reserved;
    if (text !== undefined) {
      const room = await this.#prompts.room(kind, reserved);
      const limit = { maxTokens: Math.min(maxLength ?? this.#prompts.limits.maxLength, room), strict };
      const [prompt] = await this.#prompts.build([text], kind, limit, () => source);
      return prompt as Readonly<PromptIds>;
    }
    const { embedId } = this.#model;
    const end = kind === 'reasoning' || embedId === undefined ? [] : [embedId];
    const ids = [...(tokens ?? []), ...end];
    const most = Math.min(maxLength ?? Number.POSITIVE_INFINITY, this.#prompts.positions(kind, reserved));
    if (ids.length <= most) return { ids, truncated: false };
    const expected = `at most ${Math.max(0, most - end.length)} tokens`;
    throw new InputError({ source, field: 'tokens', expected, found: String(tokens?.length) });
  }
}

const directSequence = (prompt: PromptIds): Sequence => ({ prompt, written: [], end: [] });

function resultOf(
  direct: Part | undefined,
  reasoned: Part | undefined,
  fusion: ResolvedRequest['fusion'],
  directWeight: number,
): EmbedResult {
  const parts = [direct, reasoned].filter((part) => part !== undefined);
  const sum = (count: 'promptTokens' | 'reasoningTokens') =>
    parts.reduce((total, part) => total + part[count], 0);
  const written = reasoned?.written;
  return {
    vector: fuseVectors((reasoned ?? direct)?.vectors ?? [], direct?.vectors[0], fusion, directWeight),
    truncated: parts.some(({ truncated }) => truncated),
    usage: { promptTokens: sum('promptTokens'), reasoningTokens: sum('reasoningTokens') },
    ...(written && { reasoning: written }),
  };
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new InterruptedError('embed: stopped by the caller');
}
