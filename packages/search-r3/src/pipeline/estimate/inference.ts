/** Rehearses what a model is used for: encoding as `SequenceEncoder` or `SharedEncoder` do it, and generation. */
import { addWork, NO_WORK, Rehearsal, type Work } from 'onnx-grad';
import { type ModelConfig, parameterCount } from '../../checkpoint/index.js';
import { embeddingProgram, fusesAttention, type InferenceWeights } from '../../decoder/index.js';
import { type GenerationPlan, GenerationRehearsal, RUN_TOKENS } from '../../generate/index.js';
import { SHARED_FROM } from '../../model/index.js';
import { KERNEL_BYTES, SESSION_BYTES } from './constants.js';
import type { Part } from './parts.js';

/** Texts whose prompts are sorted and encoded together. */
const PIECE = 1024;
const MAX_TOKENS = 8192;

/** Memory of sessions besides what is between their nodes. */
export const sessionBytes = (sessions: { count: number; kernels: number }): number =>
  sessions.count * SESSION_BYTES + sessions.kernels * KERNEL_BYTES;

export class InferenceRehearsal {
  readonly #config: ModelConfig;
  readonly #weightsIn: InferenceWeights['weightsIn'];
  readonly #sizes: Readonly<Record<string, number>>;
  #encoder: Rehearsal | undefined;
  #generator: GenerationRehearsal | undefined;

  /** @param sizes of symbols that the weights are declared with. */
  constructor(
    config: ModelConfig,
    weightsIn: InferenceWeights['weightsIn'],
    sizes: Readonly<Record<string, number>> = {},
  ) {
    this.#config = config;
    this.#weightsIn = weightsIn;
    this.#sizes = sizes;
  }

  /** What the sessions take that were used. */
  get parts(): Part[] {
    const [encoder, generator] = [this.#encoder, this.#generator];
    const encoding = encoder && [
      { name: 'weights packed to encode', bytes: encoder.weights },
      { name: 'encoding', bytes: encoder.resident + sessionBytes({ count: 1, kernels: encoder.kernels }) },
    ];
    const generation = generator && [
      { name: 'key/value cache', bytes: generator.cache },
      { name: 'weights packed to generate', bytes: generator.weights },
      { name: 'generation', bytes: generator.resident + sessionBytes(generator.sessions) },
    ];
    return [...(encoding ?? []), ...(generation ?? [])];
  }

  generate(plan: GenerationPlan): Work {
    return this.#generation().generate(plan);
  }

  /**
   * `count` texts of these lengths, each again and again, in runs of `maxTokens` padded tokens.
   * @param lengths are cut already.
   */
  encode(lengths: readonly number[], count: number, maxTokens = MAX_TOKENS): Work {
    if (lengths.length === 0 || count === 0) return NO_WORK;
    const shared = parameterCount(this.#config) >= SHARED_FROM && fusesAttention(this.#config);
    const most = shared ? Math.min(maxTokens, RUN_TOKENS) : maxTokens;
    const piece = Math.min(count, PIECE);
    const sorted = Array.from({ length: piece }, (_, i) => lengths[i % lengths.length] ?? 1).sort(
      (a, b) => b - a,
    );
    let total = NO_WORK;
    for (let at = 0; at < sorted.length; ) {
      const length = sorted[at] ?? 1;
      const batch = Math.min(sorted.length - at, Math.max(1, Math.floor(most / length)));
      total = addWork(total, shared ? this.#generation().encode(batch, length) : this.#run(batch, length));
      at += batch;
    }
    return addWork(NO_WORK, total, count / piece);
  }

  #run(batch: number, length: number): Work {
    this.#encoder ??= new Rehearsal(embeddingProgram(this.#config, this.#weightsIn));
    return this.#encoder.run({ ...this.#sizes, batch, length, embeds: batch, positions: length }).work;
  }

  #generation(): GenerationRehearsal {
    this.#generator ??= new GenerationRehearsal(this.#config, this.#weightsIn, this.#sizes);
    return this.#generator;
  }
}
