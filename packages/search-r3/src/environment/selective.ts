/**
 * The selective environment keeps every document's vector and the policy version that encoded it. At each step it
 * re-encodes a few documents, chosen so that the rewards stay close to those of a freshly encoded corpus.
 */
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { AnalyzerChoice } from '../evaluate/index.js';
import { randomStream, type State, validate } from '../run/index.js';
import { AnnIndex, ExactIndex } from '../vectors/index.js';
import { auditSample, estimateErrors } from './audit.js';
import { Budget } from './budget.js';
import { type Closeup, candidatesOf, lookClosely, ranksOf } from './closeup.js';
import { Corpus, corpusStateSchema } from './corpus.js';
import { DriftModel, WordVectors, wordCountsSchema } from './drift/index.js';
import { Neighbours } from './neighbours.js';
import { type ResolvedSelectiveOptions, type SelectiveOptions, selectiveOptionsSchema } from './options.js';
import { type Refreshed, type RefreshPolicy, refreshAtRandom } from './policy.js';
import { assertEncoded, assertRollouts, nearestDocuments, rewards } from './ranking.js';
import { refreshByRegion } from './region-policy.js';
import { RefreshStep, type StepContext } from './step.js';
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
import { Uncertainty, uncertaintyStateSchema } from './uncertainty.js';
import { refreshByValue } from './value-policy.js';

/** What the environment needs to know about the documents. */
export interface SelectiveSources {
  dimension: number;
  encode: EncodeDocuments;
  /** Length of a document in tokens, for the reports. */
  tokens?: (id: string) => number;
  /**
   * Text of a document, for the part of the drift's kernel that compares words. Without it, only vectors are compared.
   */
  text?: (id: string) => string;
  /** How texts become words. Default `auto`. */
  analyzer?: AnalyzerChoice;
}

const POLICIES: Record<ResolvedSelectiveOptions['policy'], RefreshPolicy> = {
  value: refreshByValue,
  region: refreshByRegion,
  random: refreshAtRandom,
};

const metadataSchema = z.strictObject({
  kind: z.literal('selective'),
  corpus: corpusStateSchema,
  budget: z.strictObject({
    correction: z.number(),
    last: z.number().nullable(),
    version: z.int(),
    spent: z.int(),
  }),
  uncertainty: uncertaintyStateSchema,
  refreshed: z.int(),
  expected: z.number(),
  neighbours: z.strictObject({ graph: z.unknown(), changed: z.array(z.int()) }),
  words: wordCountsSchema.optional(),
});

interface Parts {
  corpus: Corpus;
  store: VectorStore;
  scratch: ExactIndex;
  drift: DriftModel;
  words: WordVectors | undefined;
}

export class SelectiveEnvironment implements Environment {
  readonly options: ResolvedSelectiveOptions;
  readonly #parts: Parts;
  readonly #context: StepContext;
  readonly #neighbours: Neighbours;
  readonly #uncertainty: Uncertainty;
  readonly #budget: Budget;
  /** The version of the last refresh. */
  #refreshed = -1;
  /** Expected error after the last refresh. */
  #expected = 0;
  /** The close-up after the last refresh, with a copy of its rollouts; undefined once anything changes. */
  #seen: { version: number; batch: RolloutBatch; closeup: Closeup } | undefined;

  private constructor(options: ResolvedSelectiveOptions, parts: Parts, sources: SelectiveSources) {
    const { corpus, store } = parts;
    this.options = options;
    this.#parts = parts;
    this.#context = { corpus, store, encode: sources.encode, tokens: sources.tokens };
    this.#neighbours = new Neighbours(store.index, options.region.neighbours);
    store.onChange = (rows) => this.#neighbours.changed(rows);
    this.#uncertainty = new Uncertainty(options.value);
    this.#budget = new Budget(options.budget);
  }

  /** @throws InputError for an empty corpus, duplicate ids and invalid options. */
  static async create(
    documents: readonly string[],
    sources: SelectiveSources,
    options: SelectiveOptions = {},
  ): Promise<SelectiveEnvironment> {
    const resolved = validate(selectiveOptionsSchema, options, 'environment options');
    const corpus = new Corpus(documents);
    const { dimension, text } = sources;
    const words =
      text === undefined || !resolved.drift.kernel || resolved.drift.words === 0
        ? undefined
        : new WordVectors((row) => text(corpus.id(row)), corpus.rows(), sources.analyzer);
    const parts = {
      corpus,
      store: await VectorStore.create(
        dimension,
        documents.length,
        resolved.index === 'ann' ? resolved.graphFrom : undefined,
      ),
      scratch: await ExactIndex.create(dimension),
      drift: await DriftModel.create(dimension, resolved.drift, words),
      words,
    };
    return new SelectiveEnvironment(resolved, parts, sources);
  }

  get documents(): readonly string[] {
    return this.#parts.corpus.documents;
  }

  has(id: string): boolean {
    return this.#parts.corpus.has(id);
  }

  /**
   * A document's vector, the policy version that encoded it, and whether the drift map has moved it since. Undefined
   * for a document that has no vector yet.
   */
  provenance(id: string): { vector: Float32Array; version: number; predicted: boolean } | undefined {
    const { corpus, store } = this.#parts;
    const row = corpus.row(id);
    if (row === undefined || !store.has(row)) return undefined;
    return { vector: store.vector(row), version: store.version(row), predicted: store.isPredicted(row) };
  }

  change(change: CorpusChange): void {
    const { corpus, store, words } = this.#parts;
    const { added, changed, removed } = corpus.change(change);
    this.#seen = undefined;
    store.reserve(corpus.size);
    for (const row of [...added, ...changed, ...removed]) {
      store.forget(row);
      words?.forget(row);
    }
  }

  async refresh(version: number, batch: RolloutBatch): Promise<RefreshReport> {
    const start = performance.now();
    const { corpus, store } = this.#parts;
    const step = this.#step(version, batch, 'refresh');
    this.#seen = undefined;
    const moved = version === this.#refreshed;
    const missing = corpus.rows().filter((row) => !store.has(row));
    await step.encode(missing, this.#refreshed < 0 ? 'full' : 'changed', { free: true });
    const allowance = this.#budget.allow(version, corpus.live);
    step.left = allowance.documents;
    await step.encode(step.positives(), 'positives', { free: true });
    const { rounds, closeup } = await this.#refreshStale(step, allowance, moved);
    this.#budget.spend(allowance.documents - step.left);
    this.#refreshed = version;
    if (!step.hasStale()) await store.flatten();
    const left = closeup ?? (await this.#look(step));
    const { expectedError, unseen } = left;
    const inPart = store.live > this.options.value.candidates;
    this.#seen = { version, batch: copyOf(batch), closeup: left };
    this.#expected = expectedError;
    const seconds = (performance.now() - start) / 1000;
    const { encoded, tokens, parts } = step;
    const recall = store.index instanceof AnnIndex ? store.index.recall?.recall : undefined;
    return {
      encoded,
      tokens,
      rounds,
      expectedError: expectedError * this.#budget.correction,
      ...(inPart && { positivesUnseen: unseen }),
      ...(recall !== undefined && { recall }),
      seconds,
      parts,
    };
  }

  search(vectors: Float32Array, k: number): Promise<{ id: string; score: number }[][]> {
    return nearestDocuments(this.#parts.store, this.#parts.corpus, vectors, k);
  }

  async reward(batch: RolloutBatch): Promise<RolloutReward[]> {
    const { store, corpus } = this.#parts;
    const closeup = this.#closeupFor(batch);
    // In a large corpus the close-up already has most ranks, which saves a scan; a graph has to be searched more
    // deeply.
    const known =
      closeup !== undefined && store.live > this.options.value.candidates && store.index instanceof ExactIndex
        ? ranksOf(closeup, corpus.relevant(batch))
        : [];
    return rewards(store, corpus, batch, this.options.cut, known);
  }

  /** Judges the rewards before it; the documents it encodes help later steps. */
  async audit(version: number, batch: RolloutBatch): Promise<AuditReport> {
    const { corpus, store } = this.#parts;
    const step = this.#step(version, batch, 'audit');
    assertEncoded(store, corpus, step.relevant);
    const closeup =
      (this.#seen?.version === version ? this.#closeupFor(batch) : undefined) ?? (await this.#look(step));
    this.#seen = undefined;
    const near = new Set(closeup.rows);
    const far = step.stale().filter((row) => !near.has(row));
    const { documents, bound } = this.options.audit;
    const sample = auditSample(closeup, far, documents, step.random);
    const sampled = sample.rows;
    const ages = sampled.map((row) => version - store.version(row));
    const before = await store.gather(sampled);
    const predicted = await this.#scores(step, before);
    const encoded = await step.encode(sampled, 'audit', { free: true });
    const after = await store.gather(sampled);
    const truth = await this.#scores(step, after);
    const growth = (age: number) => this.#uncertainty.growth(age);
    const { rewardError, misplaced } = estimateErrors(
      {
        closeup,
        sample,
        predicted,
        errors: truth.map((value, i) => value - (predicted[i] as number)),
        losses: sampled.map((_, i) => 1 - dotOfRows(before, after, i, store.dimension)),
        growth: {
          sampled: ages.map(growth),
          rows: closeup.rows.map((row) => growth(version - store.version(row))),
        },
        rollouts: step.relevant.length,
        cut: this.options.cut,
      },
      step.random,
    );
    // Before anything is known about errors, an expected error of 0 means nothing.
    if (this.#uncertainty.learnt) this.#budget.audited(this.#expected, rewardError.estimate);
    return {
      rewardError: rewardError.estimate,
      interval: rewardError.interval,
      misplaced,
      encoded,
      tokens: step.tokens.audit ?? 0,
      exceeded: rewardError.interval[1] > bound,
    };
  }

  state(): State {
    const { corpus, store, words } = this.#parts;
    const { arrays, ...neighbours } = this.#neighbours.state();
    return {
      metadata: {
        kind: 'selective',
        corpus: corpus.state(),
        budget: this.#budget.state(),
        uncertainty: this.#uncertainty.state(),
        refreshed: this.#refreshed,
        expected: this.#expected,
        neighbours,
        ...(words !== undefined && { words: words.state() }),
      } satisfies z.infer<typeof metadataSchema>,
      arrays: { ...store.arrays(corpus.size), ...arrays },
    };
  }

  async restore(state: State): Promise<void> {
    const metadata = validate(metadataSchema, state.metadata, 'environment state');
    const { corpus, store, words } = this.#parts;
    if (metadata.words !== undefined) words?.restore(metadata.words);
    corpus.restore(metadata.corpus);
    store.restore(state.arrays, corpus.size);
    this.#budget.restore(metadata.budget);
    this.#uncertainty.restore(metadata.uncertainty);
    this.#refreshed = metadata.refreshed;
    this.#expected = metadata.expected;
    this.#seen = undefined;
    this.#neighbours.restore(metadata.neighbours.graph, metadata.neighbours.changed, state.arrays);
  }

  async dispose(): Promise<void> {
    const { store, scratch, drift } = this.#parts;
    await store.dispose();
    await scratch.dispose();
    await drift.dispose();
  }

  #step(version: number, batch: RolloutBatch, label: string): RefreshStep {
    if (version < this.#refreshed) {
      throw new RangeError(`${label}: expected a version from ${this.#refreshed} on, found ${version}`);
    }
    assertRollouts(batch, this.#parts.store.dimension, label);
    const random = randomStream(this.options.seed, 'environment', label, version);
    return new RefreshStep(this.#context, version, batch, random);
  }

  async #refreshStale(
    step: RefreshStep,
    allowance: ReturnType<Budget['allow']>,
    moved: boolean,
  ): Promise<Refreshed> {
    const { policy } = this.options;
    const { drift, scratch } = this.#parts;
    const uncertainty = this.#uncertainty;
    const context = { options: this.options, allowance, drift, uncertainty, scratch, moved };
    const look = () => this.#look(step);
    return POLICIES[policy](step, { ...context, look, neighbours: this.#neighbours });
  }

  /** The close-up after the last refresh, if it was for these rollouts. */
  #closeupFor(batch: RolloutBatch): Closeup | undefined {
    return this.#seen !== undefined && isDeepStrictEqual(copyOf(batch), this.#seen.batch)
      ? this.#seen.closeup
      : undefined;
  }

  /** A close look by the current vectors. */
  #look(step: RefreshStep): Promise<Closeup> {
    const { store, scratch } = this.#parts;
    return step.time('value', async () =>
      lookClosely(
        step,
        await candidatesOf(step, step.rollouts, this.options.value.candidates),
        async (stale) => store.gather(stale),
        this.#uncertainty,
        scratch,
        this.options.cut,
      ),
    );
  }

  /** Scores [rollouts * rows] of a matrix of vectors. */
  async #scores(step: RefreshStep, vectors: Float32Array): Promise<Float32Array> {
    const { scratch } = this.#parts;
    if (vectors.length === 0 || step.relevant.length === 0) return new Float32Array();
    scratch.setAll(vectors, vectors.length / scratch.dimension);
    return scratch.scores(step.rollouts);
  }
}

/** The dot product of a row of two matrices, in double precision: it is close to 1, and the difference matters. */
function dotOfRows(a: Float32Array, b: Float32Array, row: number, dimension: number): number {
  let sum = 0;
  for (let k = row * dimension; k < (row + 1) * dimension; k++) sum += (a[k] as number) * (b[k] as number);
  return sum;
}

/** A copy, so that callers may write their next rollouts into the same memory. */
const copyOf = ({ vectors, relevant, own = [] }: RolloutBatch): RolloutBatch => ({
  vectors: vectors.slice(),
  relevant: relevant.map((grades) => new Map(grades)),
  own: [...own],
});
