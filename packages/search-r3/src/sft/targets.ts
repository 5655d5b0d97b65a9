/**
 * Self-distilled reasoning targets: the base model writes one reasoning per training query, which is used unfiltered.
 * Imitating them preserves the ability to reason while the model learns to embed. A target is sampled when training
 * reaches its query, together with those of later queries, so that the generator has large batches. The seed depends on
 * the id of the query alone, so it does not matter when a target is sampled, or with which others.
 */
import { reasoningPrompts } from '../checkpoint/index.js';
import type { Model, Policy } from '../model/index.js';
import { type ProgressReporter, ProgressTracker, randomStream } from '../run/index.js';
import type { TrainingQuery } from './data.js';
import type { ResolvedSftOptions } from './options.js';

/** Tokens of a query's reasoning, without embed or end tokens, by query id. */
export type ReasoningTargets = Map<string, number[]>;

export interface TargetOptions {
  /** Targets that are there already. */
  known?: ReadonlyMap<string, number[]>;
  /** Called with the targets of each piece before any of them is used; may keep them. */
  onSampled?: (piece: ReasoningTargets) => Promise<void>;
  /** What progress is shown under. Default `reasoning targets`. */
  stage?: string;
  progress?: ProgressReporter;
  signal?: AbortSignal;
}

type SamplingOptions = Pick<ResolvedSftOptions, 'reasoning' | 'seed' | 'maxLength'>;

/** Queries sampled together. */
const PIECE = 128;

/** Samples targets in the order in which training needs them. */
export class TargetSampler {
  /** The targets sampled so far. */
  readonly targets: ReasoningTargets;
  readonly #base: Model<Policy>;
  readonly #total: number;
  readonly #options: SamplingOptions;
  readonly #how: TargetOptions;
  /** Queries that have no target yet, with their places in the order. */
  readonly #missing: (readonly [number, TrainingQuery])[];

  /**
   * @param base must keep its weights until the last target is sampled. Then its sessions are freed.
   * @param order each query once.
   */
  constructor(
    base: Model<Policy>,
    order: readonly TrainingQuery[],
    options: SamplingOptions,
    how: TargetOptions = {},
  ) {
    this.targets = new Map(how.known);
    this.#base = base;
    this.#total = order.length;
    this.#options = options;
    this.#how = how;
    this.#missing = [...order.entries()].filter(([, { id }]) => !this.targets.has(id));
  }

  /** Samples until the first `count` queries have their targets. @throws InterruptedError when aborted. */
  async reach(count: number): Promise<void> {
    while ((this.#missing[0]?.[0] ?? count) < count) {
      const piece = await this.#sample(this.#missing.slice(0, PIECE).map(([, query]) => query));
      await this.#how.onSampled?.(piece);
      for (const [id, tokens] of piece) this.targets.set(id, tokens);
      this.#missing.splice(0, piece.size);
    }
    if (this.#missing.length === 0) await this.dispose();
  }

  /** Frees the sessions of the base. */
  dispose(): Promise<void> {
    return this.#base.release();
  }

  async #sample(queries: readonly TrainingQuery[]): Promise<ReasoningTargets> {
    const { tokenizer, prompts, embedId, stopIds } = this.#base;
    const { reasoning, maxLength, seed } = this.#options;
    const { signal, progress, stage = 'reasoning targets' } = this.#how;
    const texts = queries.map(({ text }) => text);
    const prompted = await reasoningPrompts(tokenizer, prompts, texts, { maxTokens: maxLength });
    const generator = await this.#base.generator();
    let done = this.#total - this.#missing.length;
    // One for each piece: its rate is not to count the training in between.
    const tracker = new ProgressTracker({
      stage,
      unit: 'query',
      steps: this.#total,
      from: done,
      ...(progress && { reporter: progress }),
    });
    const completions = await generator.generate(
      prompted.map(({ ids }) => ids),
      {
        // The embed token follows.
        maxNewTokens: reasoning.maxNewTokens - 1,
        temperature: reasoning.temperature,
        stop: [embedId, ...stopIds],
        seeds: queries.map(({ id }) => seedOf(seed, id)),
        onFinished: () => {
          tracker.update(++done);
        },
        ...(signal && { signal }),
      },
    );
    return new Map(
      queries.map(({ id }, i) => {
        const tokens = completions[i]?.[0]?.tokens ?? [];
        return [id, tokens.filter((token) => token !== embedId && !stopIds.includes(token))];
      }),
    );
  }
}

const seedOf = (seed: number, id: string) =>
  randomStream(seed, 'sft', 'targets', id).integer(Number.MAX_SAFE_INTEGER);

/** Targets of all queries at once. */
export async function sampleTargets(
  base: Model<Policy>,
  queries: readonly TrainingQuery[],
  options: SamplingOptions,
  how: TargetOptions = {},
): Promise<ReasoningTargets> {
  const sampler = new TargetSampler(base, queries, options, how);
  try {
    await sampler.reach(queries.length);
    return sampler.targets;
  } finally {
    await sampler.dispose();
  }
}
