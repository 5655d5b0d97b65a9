/** Runs the decoder over a cache: the tokens of some slots are read, and the states and scores after them come back. */
import { f32, type HostTensor, i64, Session } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { fusesAttention, type InferenceWeights, padRight, ropeTables } from '../decoder/index.js';
import { InputError } from '../run/index.js';
import { type CacheViews, KeyValueCache, passingViews } from './cache.js';
import { generationProgram } from './program.js';

/** Tokens that a slot reads. Together, slots read one token each, or from their beginning on. */
export interface Read {
  tokens: readonly number[];
  /** Tokens that the slot holds. */
  past: number;
}

/** What was read, by row; valid until the next run. */
export interface ReadResult {
  /** States after the last token of each, [rows, hidden]. */
  hidden: Float32Array;
  /** Scores of the next token (logits), [rows, vocabulary]. */
  scores: Float32Array;
}

export class Decoding {
  readonly cache: KeyValueCache;
  readonly #config: ModelConfig;
  readonly #session: Session;
  #rotations = 0;
  #hidden = new Float32Array(0);
  #scores = new Float32Array(0);

  private constructor(config: ModelConfig, session: Session, cacheBytes: number) {
    this.#config = config;
    this.#session = session;
    this.cache = new KeyValueCache(config, cacheBytes);
  }

  /** Errors: InputError for heads that cached attention can not take. */
  static async create(
    config: ModelConfig,
    weights: InferenceWeights,
    { cacheBytes, threads }: { cacheBytes: number; threads?: number },
  ): Promise<Decoding> {
    if (!fusesAttention(config)) {
      const found = String(config.headDim);
      throw new InputError({ source: 'config.json', field: 'head_dim', expected: 'a multiple of 8', found });
    }
    const session = await Session.create(
      generationProgram(config, weights.weightsIn),
      threads === undefined ? {} : { threads },
    );
    session.bind(weights.feeds);
    return new Decoding(config, session, cacheBytes);
  }

  /**
   * Reads into the slots from `first` on. Row `i` of the result is that of `reads[order[i]]`. Several tokens can follow
   * earlier ones in one slot only.
   */
  async run(first: number, reads: readonly Read[], order = [...reads.keys()]): Promise<ReadResult> {
    const { hiddenSize, vocabSize } = this.#config;
    const batch = reads.length;
    if (this.#hidden.length < batch * hiddenSize) {
      this.#hidden = new Float32Array(batch * hiddenSize);
      this.#scores = new Float32Array(batch * vocabSize);
    }
    const result = {
      hidden: this.#hidden.subarray(0, batch * hiddenSize),
      scores: this.#scores.subarray(0, batch * vocabSize),
    };
    await this.#read(reads, order, this.cache.capacity, this.cache.view(first, batch), result);
    return result;
  }

  /** States after the last tokens of prompts, [prompts, hidden], a new array. The cache stays as it is. */
  async encode(prompts: readonly (readonly number[])[]): Promise<Float32Array> {
    const { hiddenSize, vocabSize } = this.#config;
    const length = Math.max(...prompts.map((prompt) => prompt.length));
    const hidden = new Float32Array(prompts.length * hiddenSize);
    await this.#read(
      prompts.map((tokens) => ({ tokens, past: 0 })),
      [...prompts.keys()],
      length,
      passingViews(this.#config, prompts.length, length),
      // ONNX Runtime computes outputs that nobody asks for too, and its integer kernels need one row at least.
      { hidden, scores: new Float32Array(vocabSize) },
    );
    return hidden;
  }

  /** Reads into caches of `capacity` tokens. The first rows get scores, as many as there is room for. */
  async #read(
    reads: readonly Read[],
    order: readonly number[],
    capacity: number,
    views: CacheViews,
    { hidden, scores }: ReadResult,
  ): Promise<void> {
    const { ids, batch, length } = padRight(
      reads.map(({ tokens }) => tokens),
      0,
    );
    if (this.#rotations < capacity) {
      this.#session.bind(ropeTables(this.#config, capacity));
      this.#rotations = capacity;
    }
    const { hiddenSize, vocabSize } = this.#config;
    const scored = scores.length / vocabSize;
    const totals = reads.map(({ tokens, past }) => past + tokens.length);
    const lastToken = (i: number) => i * length + (reads[i] as Read).tokens.length - 1;
    const feeds: Record<string, HostTensor> = {
      ...views.feeds,
      ids,
      rows: i64(order.map(lastToken), [batch]),
      scored: i64([...Array(scored).keys()], [scored]),
      last_index: { dtype: 'int32', shape: [batch], data: Int32Array.from(totals, (total) => total - 1) },
      total: { dtype: 'int32', shape: [], data: Int32Array.of(Math.max(...totals)) },
    };
    if (this.#session.program.inputs.has('positions')) {
      const positions = reads.flatMap(({ past }) => Array.from({ length }, (_, i) => past + i));
      feeds.positions = i64(positions, [batch, length]);
    }
    await this.#session.runInPlace(feeds, {
      ...views.outputs,
      hidden: f32(hidden, [batch, hiddenSize]),
      scores: f32(scores, [scored, vocabSize]),
    });
  }

  /** Computes with other arrays from now on, of those that it was created with. */
  bind(feeds: InferenceWeights['feeds']): void {
    this.#session.bind(feeds);
  }

  /** Gives the memory of cache and results back until they are needed again. */
  release(): void {
    this.cache.release();
    this.#hidden = new Float32Array(0);
    this.#scores = new Float32Array(0);
  }

  async dispose(): Promise<void> {
    await this.#session.dispose();
  }
}
