/** Next-token training of a model from scratch, on any source of token sequences. */
import type { Checkpoint } from '../checkpoint/index.js';
import { fullTraining } from '../decoder/index.js';
import {
  GradientEngine,
  Optimizer,
  restoreTraining,
  type StepRecord,
  type StepRequest,
  saveTraining,
  type Trainer,
  type TrainingSequence,
} from '../train/index.js';
import type { ResolvedPretrainOptions } from './options.js';

/** The sequences of a step (from 0), each of at least two tokens; the same step must give the same sequences. */
export type SequenceSource = (step: number) => Promise<readonly (readonly number[])[]>;

/** A query and a document that belong together, each ending with the embed token. */
export interface TextPair {
  /** Pairs of the same text share it, so they are not negatives of each other. */
  id: string;
  query: readonly number[];
  document: readonly number[];
}

/** The pairs of a step (from 0); the same step must give the same pairs. */
export type PairSource = (step: number) => Promise<readonly TextPair[]>;

const NO_PAIRS: PairSource = async () => [];

/**
 * For each pair, the other pairs that are not negatives of it: those of the same document, and those whose query or
 * document has the same text, such as titles of chapters.
 */
export function equalPairs(pairs: readonly TextPair[]): number[][] {
  const keys = pairs.map(({ id, query, document }) => [id, query.join(), document.join()] as const);
  return keys.map((own, i) =>
    keys.flatMap((other, column) => (column !== i && own.some((key, k) => key === other[k]) ? [column] : [])),
  );
}

export class PretrainTrainer implements Trainer {
  readonly stage = 'pretrain';
  readonly steps: number;
  readonly #model: Checkpoint;
  readonly #source: SequenceSource;
  readonly #pairs: PairSource;
  readonly #options: ResolvedPretrainOptions;
  readonly #engine: GradientEngine;
  readonly #optimizer: Optimizer;

  /** Trains `model` in place. @param pairs the pairs to embed in each step; default none. */
  constructor(
    model: Checkpoint,
    source: SequenceSource,
    options: ResolvedPretrainOptions,
    pairs: PairSource = NO_PAIRS,
  ) {
    const { optimization, contrastive } = options;
    this.steps = options.steps;
    this.#model = model;
    this.#source = source;
    this.#pairs = pairs;
    this.#options = options;
    const training = fullTraining(model);
    this.#engine = new GradientEngine(model.config, training, {
      objective: {
        crossEntropy: {},
        infoNce: { temperature: contrastive.temperature },
      },
      maxTokens: optimization.maxTokens,
      checkpoint: optimization.checkpointActivations,
    });
    this.#optimizer = new Optimizer(training.trained, optimization, options.steps);
  }

  async step(index: number): Promise<StepRecord> {
    const start = performance.now();
    const read = await this.#source(index);
    const predicted = read.reduce((total, ids) => total + ids.length - 1, 0);
    const sequences = read.map((ids): TrainingSequence => {
      const labels = Array.from({ length: ids.length - 1 }, (_, position) => ({
        position,
        weight: 1 / predicted,
      }));
      return { ids, labels };
    });
    const pairs = await this.#pairs(index);
    const result = await this.#engine.compute(
      pairs.length === 0 ? { sequences } : this.#withPairs(sequences, pairs),
    );
    const { infoNce } = result.anchors;
    const computed = performance.now();
    const update = this.#optimizer.update(index, result.gradients);
    const seconds = (performance.now() - start) / 1000;
    return {
      metrics: {
        loss: result.loss,
        ...(infoNce !== undefined && { info_nce: infoNce.reduce((a, b) => a + b, 0) / pairs.length }),
        gradient_norm: update.gradientNorm,
        learning_rate: update.learningRate,
        tokens: predicted,
      },
      timings: { gradients: (computed - start) / 1000, total: seconds },
    };
  }

  /** Queries are anchors, and the documents of all pairs are their candidates; see `equalPairs`. */
  #withPairs(sequences: readonly TrainingSequence[], pairs: readonly TextPair[]): StepRequest {
    const embedded = (ids: readonly number[]): TrainingSequence => ({
      ids,
      labels: [],
      embed: ids.length - 1,
    });
    const first = sequences.length;
    const falseNegatives = equalPairs(pairs);
    return {
      sequences: [
        ...sequences,
        ...pairs.map(({ query }) => embedded(query)),
        ...pairs.map(({ document }) => embedded(document)),
      ],
      contrastive: {
        anchors: pairs.map((_, i) => ({
          sequence: first + i,
          positive: i,
          infoNceWeight: this.#options.contrastive.weight / pairs.length,
          tripletWeight: 0,
          falseNegatives: falseNegatives[i] as number[],
        })),
        documents: pairs.map((_, i) => first + pairs.length + i),
      },
    };
  }

  async save(folder: string): Promise<void> {
    await saveTraining(folder, this.#model, this.#optimizer);
  }

  async restore(folder: string): Promise<void> {
    await restoreTraining(folder, this.#model, this.#optimizer);
  }

  async dispose(): Promise<void> {
    await this.#engine.dispose();
  }
}
