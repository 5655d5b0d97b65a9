/** The exact environment: every refresh encodes the whole corpus, so the rewards are exact. */
import { z } from 'zod';
import { type State, validate } from '../run/index.js';
import { Corpus, corpusStateSchema } from './corpus.js';
import { encodeChecked } from './encoded.js';
import { nearestDocuments, rewards } from './ranking.js';
import { VectorStore } from './store.js';
import type {
  AuditReport,
  CorpusChange,
  EncodeDocuments,
  Environment,
  RefreshReport,
  RolloutBatch,
  RolloutReward,
} from './types.js';

export interface ExactEnvironmentOptions {
  dimension: number;
  /** Cut of the DCG. Default none. */
  cut?: number;
  /** Length of a document in tokens, for the report. */
  tokens?: (id: string) => number;
}

const metadataSchema = z.object({ kind: z.literal('exact'), corpus: corpusStateSchema });

export class ExactEnvironment implements Environment {
  readonly #corpus: Corpus;
  readonly #encode: EncodeDocuments;
  readonly #store: VectorStore;
  readonly #options: ExactEnvironmentOptions;

  private constructor(
    corpus: Corpus,
    encode: EncodeDocuments,
    store: VectorStore,
    options: ExactEnvironmentOptions,
  ) {
    this.#corpus = corpus;
    this.#encode = encode;
    this.#store = store;
    this.#options = options;
  }

  /** @throws InputError for an empty corpus. */
  static async create(
    documents: readonly string[],
    encode: EncodeDocuments,
    options: ExactEnvironmentOptions,
  ): Promise<ExactEnvironment> {
    const corpus = new Corpus(documents);
    const store = await VectorStore.create(options.dimension, documents.length);
    return new ExactEnvironment(corpus, encode, store, options);
  }

  get documents(): readonly string[] {
    return this.#corpus.documents;
  }

  has(id: string): boolean {
    return this.#corpus.has(id);
  }

  change(change: CorpusChange): void {
    const { added, changed, removed } = this.#corpus.change(change);
    this.#store.reserve(this.#corpus.size);
    for (const row of [...added, ...changed, ...removed]) this.#store.forget(row);
  }

  async refresh(version: number): Promise<RefreshReport> {
    const start = performance.now();
    const rows = this.#corpus.rows().filter((row) => this.#store.version(row) !== version);
    const ids = rows.map((row) => this.#corpus.id(row));
    if (rows.length > 0) {
      await this.#store.put(rows, await encodeChecked(this.#encode, ids, this.#options.dimension), version);
    }
    const { tokens } = this.#options;
    const seconds = (performance.now() - start) / 1000;
    return {
      encoded: { full: rows.length },
      tokens: tokens === undefined ? {} : { full: ids.reduce((total, id) => total + tokens(id), 0) },
      rounds: rows.length > 0 ? 1 : 0,
      expectedError: 0,
      seconds,
      parts: { encode: seconds },
    };
  }

  search(vectors: Float32Array, k: number): Promise<{ id: string; score: number }[][]> {
    return nearestDocuments(this.#store, this.#corpus, vectors, k);
  }

  reward(batch: RolloutBatch): Promise<RolloutReward[]> {
    return rewards(this.#store, this.#corpus, batch, this.#options.cut);
  }

  async audit(): Promise<AuditReport> {
    const none = { estimate: 0, interval: [0, 0] } as const;
    return { rewardError: 0, interval: [0, 0], misplaced: none, encoded: 0, tokens: 0, exceeded: false };
  }

  state(): State {
    return {
      metadata: { kind: 'exact', corpus: this.#corpus.state() },
      arrays: this.#store.arrays(this.#corpus.size),
    };
  }

  async restore(state: State): Promise<void> {
    const { corpus } = validate(metadataSchema, state.metadata, 'environment state');
    this.#corpus.restore(corpus);
    this.#store.restore(state.arrays, this.#corpus.size);
  }

  async dispose(): Promise<void> {
    await this.#store.dispose();
  }
}
