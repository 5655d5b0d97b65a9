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

/** Token sequences to embeddings. */
export interface Encoder {
  /** The hidden size. */
  readonly dimension: number;
  /**
   * The embedding at the last token of each sequence: [sequences * hidden], rows of unit length. Sequences are grouped
   * by length to reduce padding, but the result keeps the order of the input.
   * @throws RangeError if a sequence is empty; InterruptedError if aborted.
   */
  encode(sequences: readonly (readonly number[])[], options?: EncodeOptions): Promise<Float32Array>;
  /** Computes with other arrays from now on, of those that it was created with. */
  bind(feeds: InferenceWeights['feeds']): void;
  dispose(): Promise<void>;
}

/** Encodes with the parameters that it was created with. They may be updated in place between calls. */
export class SequenceEncoder implements Encoder {
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

  get dimension(): number {
    return this.#config.hiddenSize;
  }

  encode(sequences: readonly (readonly number[])[], options: EncodeOptions = {}): Promise<Float32Array> {
    return encodeInRuns(sequences, this.dimension, options, (run) => this.#run(run));
  }

  async #run(sequences: readonly (readonly number[])[]): Promise<Float32Array> {
    const { ids, length } = padRight(sequences, 0);
    const rows = sequences.map((sequence, row) => row * length + sequence.length - 1);
    const lengths = sequences.map((sequence) => sequence.length);
    const { embeddings } = await this.#session.run({
      ids,
      ...(this.#session.program.inputs.has('last_index') && lengthFeeds(lengths, length)),
      embed_rows: i64(rows, [rows.length]),
      ...ropeTables(this.#config, length),
    });
    return floats(embeddings);
  }

  bind(feeds: InferenceWeights['feeds']): void {
    this.#session.bind(feeds);
  }

  async dispose(): Promise<void> {
    await this.#session.dispose();
  }
}

/**
 * What `Encoder.encode` does, by runs of sequences of similar length, the longest first.
 * @param run gives the embeddings of its sequences, [sequences * width].
 */
export async function encodeInRuns(
  sequences: readonly (readonly number[])[],
  width: number,
  { maxTokens = 8192, signal, onProgress }: EncodeOptions,
  run: (sequences: readonly (readonly number[])[]) => Promise<Float32Array>,
): Promise<Float32Array> {
  const result = new Float32Array(sequences.length * width);
  for (const [i, sequence] of sequences.entries()) {
    if (sequence.length === 0) throw new RangeError(`encode: expected tokens in sequence ${i}, found none`);
  }
  const order = [...sequences.entries()].sort(([i, a], [j, b]) => b.length - a.length || i - j);
  for (let at = 0; at < order.length; ) {
    if (signal?.aborted) throw new InterruptedError('encode: stopped by the caller');
    const [, longest] = order[at] as (typeof order)[number];
    const members = order.slice(at, at + Math.max(1, Math.floor(maxTokens / longest.length)));
    const embeddings = await run(members.map(([, sequence]) => sequence));
    for (const [row, [i]] of members.entries()) {
      result.set(embeddings.subarray(row * width, (row + 1) * width), i * width);
    }
    at += members.length;
    onProgress?.(at, order.length);
  }
  return result;
}
