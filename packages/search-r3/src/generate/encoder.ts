/**
 * Token sequences to embeddings with the session of a generator: where a model is large, a session for encoding alone
 * would have the weights in memory a second time.
 */
import type { ModelConfig } from '../checkpoint/index.js';
import { type EncodeOptions, type Encoder, embeddingOf, encodeInRuns } from '../decoder/index.js';
import type { Decoding } from './decoding.js';

/** Tokens in one run at most: more gain no speed, but activations take memory, and generation waits for the run. */
export const RUN_TOKENS = 1024;

/**
 * Encodes beside whatever else the generator serves. A text has the same vector in every batch, within
 * `EMBEDDING_TOLERANCE`, and in float32 it is that of `SequenceEncoder`. In int8 the rounding of another kernel of
 * attention moves values from one step to the next: the mean cosine between the two is 0.999 at the shape of
 * Qwen2.5-0.5B, where that of int8 to float32 is 0.998.
 */
export class SharedEncoder implements Encoder {
  readonly #decoding: Decoding;
  readonly dimension: number;

  constructor({ hiddenSize }: ModelConfig, decoding: Decoding) {
    this.dimension = hiddenSize;
    this.#decoding = decoding;
  }

  encode(sequences: readonly (readonly number[])[], options: EncodeOptions = {}): Promise<Float32Array> {
    const maxTokens = Math.min(options.maxTokens ?? RUN_TOKENS, RUN_TOKENS);
    const width = this.dimension;
    return encodeInRuns(sequences, width, { ...options, maxTokens }, async (run) => {
      const hidden = await this.#decoding.encode(run);
      for (let at = 0; at < hidden.length; at += width) {
        hidden.set(embeddingOf(hidden.subarray(at, at + width)), at);
      }
      return hidden;
    });
  }

  /** Does nothing: the session is the generator's. */
  bind(): void {}

  /** Does nothing: the session is the generator's. */
  async dispose(): Promise<void> {}
}
