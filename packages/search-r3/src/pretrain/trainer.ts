/** Next-token training of a model from scratch, on any source of token sequences. */
import type { Checkpoint } from '../checkpoint/index.js';
import { parameterFeeds } from '../model/index.js';
import {
  GradientEngine,
  Optimizer,
  restoreTraining,
  type StepRecord,
  saveTraining,
  type Trainer,
} from '../sft/index.js';
import type { ResolvedPretrainOptions } from './options.js';

/** The sequences of a step (from 0), each of at least two tokens; the same step must give the same sequences. */
export type SequenceSource = (step: number) => readonly (readonly number[])[];

export class PretrainTrainer implements Trainer {
  readonly stage = 'pretrain';
  readonly steps: number;
  readonly #model: Checkpoint;
  readonly #source: SequenceSource;
  readonly #engine: GradientEngine;
  readonly #optimizer: Optimizer;

  /** Trains `model` in place. */
  constructor(model: Checkpoint, source: SequenceSource, options: ResolvedPretrainOptions) {
    const { optimization } = options;
    this.steps = options.steps;
    this.#model = model;
    this.#source = source;
    this.#engine = new GradientEngine(model.config, parameterFeeds(model), {
      tokens: { kind: 'crossEntropy' },
      contrastive: { tau: 1, margin: 0 },
      maxTokens: optimization.maxTokens,
      checkpoint: optimization.checkpointActivations,
    });
    this.#optimizer = new Optimizer(model.weights, optimization, options.steps);
  }

  async step(index: number): Promise<StepRecord> {
    const start = performance.now();
    const sequences = this.#source(index);
    const predicted = sequences.reduce((total, ids) => total + ids.length - 1, 0);
    const result = await this.#engine.compute({
      sequences: sequences.map((ids) => ({
        ids,
        labels: Array.from({ length: ids.length - 1 }, (_, position) => ({
          position,
          weight: 1 / predicted,
        })),
      })),
    });
    const computed = performance.now();
    const update = this.#optimizer.update(index, result.gradients);
    const seconds = (performance.now() - start) / 1000;
    return {
      metrics: {
        loss: result.loss,
        gradient_norm: update.gradientNorm,
        learning_rate: update.learningRate,
        tokens: predicted,
      },
      timings: { gradients: (computed - start) / 1000, total: seconds },
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
