/**
 * The model's own reasoning for the contrastive terms. A target that was made from the document teaches the embedding to
 * trust words that are guesses at test time; what the model samples itself shows it such guesses.
 */
import type { Model, Policy } from '../model/index.js';
import { type ProgressReporter, randomStream } from '../run/index.js';
import type { TrainingQuery } from './data.js';
import type { ResolvedSftOptions } from './options.js';
import type { TargetLog } from './target-log.js';
import { type ReasoningTargets, sampleTargets } from './targets.js';

type OwnOptions = Pick<ResolvedSftOptions, 'reasoning' | 'seed' | 'maxLength'>;

/** Whether the contrastive terms of a step see the model's own reasoning about a query. */
export const takesOwn = (
  { reasoning: { ownShare }, seed }: Pick<OwnOptions, 'reasoning' | 'seed'>,
  step: number,
  id: string,
): boolean => ownShare > 0 && randomStream(seed, 'sft', 'own', step, id).uniform() < ownShare;

export interface OwnReasoningOptions {
  /** Keeps the samples: a run that is resumed has those of weights that are gone. */
  log?: TargetLog | undefined;
  progress?: ProgressReporter | undefined;
  signal?: AbortSignal | undefined;
}

/** Samples from the model that is being trained, for `ownEvery` steps at once. */
export class OwnReasoning {
  /** Of the queries of the steps at hand, by query id. */
  readonly samples: ReasoningTargets = new Map();
  readonly #model: Model<Policy>;
  readonly #queriesOf: (step: number) => readonly TrainingQuery[];
  readonly #options: OwnOptions;
  readonly #how: OwnReasoningOptions;
  #block = -1;

  /** @param queriesOf the queries that a step draws, those that may take their own reasoning. */
  constructor(
    model: Model<Policy>,
    queriesOf: (step: number) => readonly TrainingQuery[],
    options: OwnOptions,
    how: OwnReasoningOptions = {},
  ) {
    this.#model = model;
    this.#queriesOf = queriesOf;
    this.#options = options;
    this.#how = how;
  }

  /** To be called before each step, with its number from 0. @throws InterruptedError when aborted. */
  async prepare(step: number): Promise<void> {
    const { ownEvery } = this.#options.reasoning;
    const block = Math.floor(step / ownEvery);
    if (block === this.#block) return;
    const queries = new Map<string, TrainingQuery>();
    for (let at = block * ownEvery; at < (block + 1) * ownEvery; at++) {
      for (const query of this.#queriesOf(at)) {
        if (takesOwn(this.#options, at, query.id)) queries.set(query.id, query);
      }
    }
    const found = await this.#samplesOf(block, [...queries.values()]);
    this.samples.clear();
    for (const [id, tokens] of found) this.samples.set(id, tokens);
    this.#block = block;
  }

  async #samplesOf(block: number, queries: readonly TrainingQuery[]): Promise<ReasoningTargets> {
    const { log, progress, signal } = this.#how;
    const key = (id: string) => `${block} ${id}`;
    const known = new Map(
      queries.flatMap(({ id }) => {
        const tokens = log?.known.get(key(id));
        return tokens === undefined ? [] : [[id, tokens] as const];
      }),
    );
    if (known.size === queries.length) return known;
    const seed = randomStream(this.#options.seed, 'sft', 'own', 'block', block).integer(2 ** 31);
    const sampled = await sampleTargets(
      this.#model,
      queries,
      { ...this.#options, seed },
      {
        stage: 'own reasoning',
        ...(progress && { progress }),
        ...(signal && { signal }),
      },
    );
    await log?.add(new Map([...sampled].map(([id, tokens]) => [key(id), tokens])));
    return sampled;
  }
}
