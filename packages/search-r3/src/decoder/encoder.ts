/** Token sequences to embeddings in batches of similar length: what documents and direct queries are encoded with. */
import { floats, i64, Session } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { InterruptedError } from '../run/index.js';
import { embeddingProgram } from './embedding.js';
import { lengthFeeds } from './prompt-attention.js';
import { ropeTables } from './rope.js';
import { padRight } from './sequence.js';
import type { InferenceWeights } from './weights.js';

export interface EncodeOptions {
  /** Maximum number of tokens in one run, including padding. A longer sequence runs alone. Default 8,192. */
  maxTokens?: number;
  signal?: AbortSignal;
  /** Called after every run with the number of sequences done. */
  onProgress?: (done: number, total: number) => void;
}

/** Encodes with the parameters that it was created with. They may be updated in place between calls. */
export class SequenceEncoder {
  readonly #config: ModelConfig;
  readonly #session: Session;

  private constructor(config: ModelConfig, session: Session) {
    this.#config = config;
    this.#session = session;
  }

  static async create(
    config: ModelConfig,
    weights: InferenceWeights,
    options: { threads?: number } = {},
  ): Promise<SequenceEncoder> {
    const session = await Session.create(embeddingProgram(config, weights.weightsIn), {
      ...(options.threads !== undefined && { threads: options.threads }),
    });
    session.bind(weights.feeds);
    return new SequenceEncoder(config, session);
  }

  /** The hidden size. */
  get dimension(): number {
    return this.#config.hiddenSize;
  }

  /**
   * The embedding at the last token of each sequence: [sequences * hidden], rows of unit length. Sequences are grouped
   * by length to reduce padding, but the result keeps the order of the input.
   * @throws RangeError if a sequence is empty; InterruptedError if aborted.
   */
  async encode(
    sequences: readonly (readonly number[])[],
    options: EncodeOptions = {},
  ): Promise<Float32Array> {
    const { maxTokens = 8192 } = options;
    const width = this.#config.hiddenSize;
    const result = new Float32Array(sequences.length * width);
    const length = (i: number) => (sequences[i] as readonly number[]).length;
    for (const [i, sequence] of sequences.entries()) {
      if (sequence.length === 0) throw new RangeError(`encode: expected tokens in sequence ${i}, found none`);
    }
    const order = sequences.map((_, i) => i).sort((a, b) => length(b) - length(a) || a - b);
    for (let at = 0; at < order.length; ) {
      if (options.signal?.aborted) throw new InterruptedError('encode: stopped by the caller');
      const count = Math.max(1, Math.floor(maxTokens / length(order[at] as number)));
      const members = order.slice(at, at + count);
      const batch = padRight(
        members.map((member) => sequences[member] as readonly number[]),
        0,
      );
      const lengths = members.map((member) => length(member));
      const rows = members.map((member, row) => row * batch.length + length(member) - 1);
      const { inputs } = this.#session.program;
      const run = await this.#session.run({
        ids: batch.ids,
        ...(inputs.has('last_index') && lengthFeeds(lengths, batch.length)),
        embed_rows: i64(rows, [rows.length]),
        ...ropeTables(this.#config, batch.length),
      });
      const embeddings = floats(run.embeddings);
      for (const [row, member] of members.entries()) {
        result.set(embeddings.subarray(row * width, (row + 1) * width), member * width);
      }
      at += members.length;
      options.onProgress?.(at, order.length);
    }
    return result;
  }

  /** Computes with other arrays from now on, of those that it was created with. */
  bind(feeds: InferenceWeights['feeds']): void {
    this.#session.bind(feeds);
  }

  async dispose(): Promise<void> {
    await this.#session.dispose();
  }
}
