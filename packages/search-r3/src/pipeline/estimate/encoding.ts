/** Rehearses the embedding of texts without reasoning, as `SequenceEncoder` does it. */
import { addWork, NO_WORK, Rehearsal, type Work } from 'onnx-grad';
import type { ModelConfig } from '../../checkpoint/index.js';
import { embeddingProgram, type InferenceWeights } from '../../decoder/index.js';

/** Texts whose prompts are sorted and encoded together. */
const PIECE = 1024;
const MAX_TOKENS = 8192;

export class EncodingRehearsal {
  readonly #rehearsal: Rehearsal;

  readonly #sizes: Record<string, number>;

  /** @param sizes of symbols that the weights are declared with. */
  constructor(
    config: ModelConfig,
    weightsIn: InferenceWeights['weightsIn'],
    sizes: Readonly<Record<string, number>> = {},
  ) {
    this.#sizes = sizes;
    this.#rehearsal = new Rehearsal(embeddingProgram(config, weightsIn));
  }

  get resident(): number {
    return this.#rehearsal.resident;
  }

  /** Bytes of weights in files that the session holds. */
  get weights(): number {
    return this.#rehearsal.weights;
  }

  get sessions(): { count: number; kernels: number } {
    return { count: 1, kernels: this.#rehearsal.kernels };
  }

  /**
   * `count` texts of these lengths, each again and again, in runs of `maxTokens` padded tokens.
   * @param lengths are cut already.
   */
  encode(lengths: readonly number[], count: number, maxTokens = MAX_TOKENS): Work {
    if (lengths.length === 0 || count === 0) return NO_WORK;
    const piece = Math.min(count, PIECE);
    const sorted = Array.from({ length: piece }, (_, i) => lengths[i % lengths.length] ?? 1).sort(
      (a, b) => b - a,
    );
    let total = NO_WORK;
    for (let at = 0; at < sorted.length; ) {
      const length = sorted[at] ?? 1;
      const batch = Math.min(sorted.length - at, Math.max(1, Math.floor(maxTokens / length)));
      const sizes = { ...this.#sizes, batch, length, embeds: batch, positions: length };
      total = addWork(total, this.#rehearsal.run(sizes).work);
      at += batch;
    }
    return addWork(NO_WORK, total, count / piece);
  }
}
