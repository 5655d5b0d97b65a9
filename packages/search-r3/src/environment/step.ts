/** The state of one refresh: what is stale, what may still be encoded, what has been, and the pairs for the drift. */
import { evenly, type RandomStream } from '../run/index.js';
import type { Corpus, GradedRow } from './corpus.js';
import type { RowPairs } from './drift/index.js';
import { encodeChecked } from './encoded.js';
import { sampleRows } from './sample.js';
import { NEVER, type VectorStore } from './store.js';
import type { Cause, EncodeDocuments, RolloutBatch } from './types.js';

/** What all steps of an environment work on. */
export interface StepContext {
  corpus: Corpus;
  store: VectorStore;
  encode: EncodeDocuments;
  /** Length of a document in tokens. */
  tokens?: ((id: string) => number) | undefined;
}

/** Documents encoded at once, so that memory never holds a large corpus twice. */
const BLOCK = 8192;

/** Maximum number of pairs to learn from: beyond several pairs per dimension the map does not improve. */
const PAIRS = 4096;

export class RefreshStep {
  readonly version: number;
  readonly corpus: Corpus;
  readonly store: VectorStore;
  /** [rollouts * dimension]. */
  readonly rollouts: Float32Array;
  /** Relevant documents by rollout, without removed ones. */
  readonly relevant: readonly (readonly GradedRow[])[];
  readonly random: RandomStream;
  /** Documents and tokens encoded, by cause. */
  readonly encoded: Partial<Record<Cause, number>> = {};
  readonly tokens: Partial<Record<Cause, number>> = {};
  /** Seconds by part. */
  readonly parts: Record<string, number> = {};
  /** Documents that may still be encoded. */
  left = 0;
  readonly #context: StepContext;
  readonly #pairs: { row: number; old: Float32Array; age: number }[] = [];

  constructor(context: StepContext, version: number, batch: RolloutBatch, random: RandomStream) {
    this.#context = context;
    this.corpus = context.corpus;
    this.store = context.store;
    this.version = version;
    this.rollouts = batch.vectors;
    this.relevant = this.corpus.relevant(batch);
    this.random = random;
  }

  isStale(row: number): boolean {
    return this.store.version(row) !== this.version;
  }

  /** Rows of the documents that have a vector, ascending: an audit may precede the refresh that encodes the others. */
  rows(): number[] {
    return this.corpus.rows().filter((row) => this.store.has(row));
  }

  hasStale(): boolean {
    return this.corpus.rows().some((row) => this.store.has(row) && this.isStale(row));
  }

  /** Rows of stale documents, ascending. */
  stale(): number[] {
    return this.rows().filter((row) => this.isStale(row));
  }

  /** Distinct rows of the positives of all rollouts. */
  positives(): number[] {
    return [...new Set(this.relevant.flatMap((own) => own.map(({ row }) => row)))];
  }

  /** The oldest stale rows; of the same age, smaller rows first. */
  oldest(count: number): number[] {
    if (count <= 0) return [];
    const byVersion = new Map<number, number[]>();
    for (const row of this.stale()) {
      const version = this.store.version(row);
      const own = byVersion.get(version);
      if (own === undefined) byVersion.set(version, [row]);
      else own.push(row);
    }
    const versions = [...byVersion.keys()].sort((a, b) => a - b);
    return versions.flatMap((version) => byVersion.get(version) as number[]).slice(0, count);
  }

  /** Random stale rows. */
  sample(count: number): number[] {
    return sampleRows(this.random, this.stale(), count);
  }

  /**
   * Encodes the stale ones of `rows`, the first ones if the budget or `most` does not allow all. `free` ones are
   * encoded in any case, but use up budget. Returns the number encoded.
   */
  async encode(
    rows: readonly number[],
    cause: Cause,
    { free = false, most = Number.POSITIVE_INFINITY } = {},
  ): Promise<number> {
    const wanted = [...new Set(rows)].filter((row) => this.isStale(row));
    const chosen = wanted.slice(0, free ? wanted.length : Math.max(0, Math.min(this.left, most)));
    if (chosen.length === 0) return 0;
    const ids = chosen.map((row) => this.corpus.id(row));
    const known = chosen.filter((row) => this.store.version(row) !== NEVER);
    const vectors = await this.store.gather(known);
    const { dimension } = this.store;
    for (const [i, row] of known.entries()) {
      const old = vectors.subarray(i * dimension, (i + 1) * dimension);
      this.#pairs.push({ row, old, age: this.version - this.store.version(row) });
    }
    for (let start = 0; start < chosen.length; start += BLOCK) {
      const block = ids.slice(start, start + BLOCK);
      const encoded = await this.time('encode', () => encodeChecked(this.#context.encode, block, dimension));
      await this.store.put(chosen.slice(start, start + BLOCK), encoded, this.version);
    }
    this.left = Math.max(0, this.left - chosen.length);
    this.encoded[cause] = (this.encoded[cause] ?? 0) + chosen.length;
    const { tokens } = this.#context;
    if (tokens !== undefined) {
      this.tokens[cause] = ids.reduce((total, id) => total + tokens(id), this.tokens[cause] ?? 0);
    }
    return chosen.length;
  }

  /**
   * Old and new vectors of the documents that this refresh encoded again, with their ages in steps; evenly spaced ones
   * if there are more than can be learned from.
   */
  async pairs(): Promise<RowPairs & { ages: readonly number[] }> {
    const pairs = evenly(this.#pairs, PAIRS);
    const rows = pairs.map(({ row }) => row);
    const { dimension } = this.store;
    const old = new Float32Array(rows.length * dimension);
    for (const [i, pair] of pairs.entries()) old.set(pair.old, i * dimension);
    const fresh = await this.store.gather(rows);
    return { rows, count: rows.length, dimension, old, fresh, ages: pairs.map(({ age }) => age) };
  }

  /** Runs `work` and adds its time to a part. */
  async time<T>(part: string, work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work();
    } finally {
      this.parts[part] = (this.parts[part] ?? 0) + (performance.now() - start) / 1000;
    }
  }
}
