/** How many sessions of training programs are kept, each with its memory. */
import type { ModelConfig } from '../checkpoint/index.js';

/** Padded tokens in one run, unless told otherwise. */
export const MAX_TOKENS = 8192;

/**
 * Bytes of activations up to which sessions of several training programs are kept. The arena of each keeps what it once
 * needed, so those of a large model take turns.
 */
const KEPT_BYTES = 2 ** 30;

/** Whether the sessions of training programs are kept side by side. */
function keepsSessions(
  { layers, hiddenSize, intermediateSize }: ModelConfig,
  { maxTokens = MAX_TOKENS }: { maxTokens?: number },
): boolean {
  // About what the backward pass of a layer needs of each token.
  const numbers = 16 * hiddenSize + 3 * intermediateSize;
  return maxTokens * layers * numbers * Float32Array.BYTES_PER_ELEMENT <= KEPT_BYTES;
}

/** Whose turn it is among the training programs of an engine. */
export class Turns {
  readonly #keepsAll: boolean;
  #last: string | undefined;

  constructor(config: ModelConfig, options: { maxTokens?: number }) {
    this.#keepsAll = keepsSessions(config, options);
  }

  /** The program whose session has to go before that of `key` runs; undefined for none. */
  next(key: string): string | undefined {
    const last = this.#last;
    this.#last = key;
    return last === key || this.#keepsAll ? undefined : last;
  }
}
