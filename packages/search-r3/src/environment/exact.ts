/** The oracle among environments: every refresh encodes the whole corpus, so every reward is exact. */
import { InputError, type State } from '../run/index.js';
import { ExactIndex } from '../vectors/index.js';
import { scaledDcg } from './reward.js';
import type {
  AuditReport,
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
}

export class ExactEnvironment implements Environment {
  readonly documents: readonly string[];
  readonly #encode: EncodeDocuments;
  readonly #index: ExactIndex;
  readonly #rows: ReadonlyMap<string, number>;
  readonly #cut: number | undefined;
  /** The policy version of the vectors; none are there before the first refresh. */
  #version = -1;

  private constructor(
    documents: readonly string[],
    encode: EncodeDocuments,
    index: ExactIndex,
    cut: number | undefined,
  ) {
    this.documents = documents;
    this.#encode = encode;
    this.#index = index;
    this.#rows = new Map(documents.map((id, row) => [id, row]));
    this.#cut = cut;
  }

  /** Errors: InputError for an empty corpus. */
  static async create(
    documents: readonly string[],
    encode: EncodeDocuments,
    options: ExactEnvironmentOptions,
  ): Promise<ExactEnvironment> {
    if (documents.length === 0) {
      throw new InputError({
        source: 'environment',
        field: 'documents',
        expected: 'at least one',
        found: 'none',
      });
    }
    const index = await ExactIndex.create(options.dimension, { capacity: documents.length });
    return new ExactEnvironment(documents, encode, index, options.cut);
  }

  async refresh(version: number): Promise<RefreshReport> {
    const start = performance.now();
    if (version === this.#version) return { encoded: { full: 0 }, seconds: 0 };
    this.#index.setAll(await this.#encode(this.documents), this.documents.length);
    this.#version = version;
    return { encoded: { full: this.documents.length }, seconds: (performance.now() - start) / 1000 };
  }

  async search(vectors: Float32Array, k: number): Promise<{ id: string; score: number }[][]> {
    const { rows, scores } = await this.#index.search(vectors, k);
    const count = vectors.length / this.#index.dimension;
    const found = Math.min(k, this.documents.length);
    return Array.from({ length: count }, (_, query) =>
      Array.from({ length: found }, (_, i) => ({
        id: this.documents[rows[query * found + i] as number] as string,
        score: scores[query * found + i] as number,
      })),
    );
  }

  async reward({ vectors, relevant }: RolloutBatch): Promise<RolloutReward[]> {
    // Of positives with equal scores the index ranks the first one first: a tie never helps.
    const ascending = relevant.map((grades) => [...grades].sort(([, a], [, b]) => a - b));
    const ranks = await this.#index.ranks(
      vectors,
      ascending.map((grades) => grades.map(([id]) => this.#row(id))),
    );
    return ascending.map((grades, i) => {
      const own = ranks[i] as readonly number[];
      const reward = scaledDcg(
        own,
        grades.map(([, grade]) => grade),
        this.#cut,
      );
      return { reward, rank: Math.min(...own) };
    });
  }

  async audit(): Promise<AuditReport> {
    return { rewardError: 0, interval: [0, 0], encoded: 0 };
  }

  state(): State {
    const { dimension } = this.#index;
    const vectors = new Float32Array(this.#version < 0 ? 0 : this.documents.length * dimension);
    for (let row = 0; row * dimension < vectors.length; row++)
      vectors.set(this.#index.vector(row), row * dimension);
    return { metadata: { kind: 'exact', version: this.#version }, arrays: { vectors } };
  }

  async restore(state: State): Promise<void> {
    const { version } = state.metadata as { version: number };
    const vectors = state.arrays.vectors;
    const expected = version < 0 ? 0 : this.documents.length * this.#index.dimension;
    if (!(vectors instanceof Float32Array) || vectors.length !== expected) {
      throw new InputError({
        source: 'environment state',
        field: 'vectors',
        expected: `${expected} numbers`,
        found: String(vectors?.length),
      });
    }
    if (version >= 0) this.#index.setAll(vectors, this.documents.length);
    this.#version = version;
  }

  async dispose(): Promise<void> {
    await this.#index.dispose();
  }

  #row(id: string): number {
    const row = this.#rows.get(id);
    if (row === undefined) throw new RangeError(`reward: the relevant document ${id} is not in the corpus`);
    return row;
  }
}
