/**
 * Stage 1: the model learns to produce good embeddings, directly and after its own reasoning, without losing the
 * ability to reason. Loss: cross-entropy + KL to the base + InfoNCE + triplet margin (Search-R3, arXiv 2510.07048).
 */
import { type Checkpoint, PromptCache, type PromptIds } from '../checkpoint/index.js';
import type { Model, Policy } from '../model/index.js';
import { randomStream } from '../run/index.js';
import {
  type Anchor,
  dropoutSeed,
  EpochSampler,
  type GradientEngine,
  type Label,
  Optimizer,
  restoreTraining,
  type StepRecord,
  type StepRequest,
  saveTraining,
  type Trainer,
  type TrainingSequence,
} from '../train/index.js';
import { mayBeNegative, type NegativeSource, positivesOf, type TrainingQuery } from './data.js';
import type { ResolvedSftOptions } from './options.js';
import { takesOwn } from './own-reasoning.js';

export interface SftData {
  queries: readonly TrainingQuery[];
  /** Text of a document. */
  document: (id: string) => string;
  negatives: NegativeSource;
  /** By query id. A query without a target is learnt directly alone. */
  targets: ReadonlyMap<string, readonly number[]>;
  /** The model's own reasoning by query id; needed of queries that `takesOwn` names. */
  own?: ReadonlyMap<string, readonly number[]>;
}

/** Which queries, of `count`, each step of stage 1 draws. */
export const sftSampler = (
  count: number,
  { batchSize, seed }: Pick<ResolvedSftOptions, 'batchSize' | 'seed'>,
): EpochSampler => new EpochSampler({ count, batchSize, seed, label: 'sft' });

export class SftTrainer implements Trainer {
  readonly stage = 'sft';
  readonly steps: number;
  readonly #model: Model<Policy>;
  readonly #data: SftData;
  readonly #options: ResolvedSftOptions;
  readonly #engine: GradientEngine;
  readonly #optimizer: Optimizer;
  readonly #sampler: EpochSampler;
  readonly #prompts: PromptCache;

  /**
   * Trains the weights of a model in place.
   * @param base the model as it was before, which stays as it is: the other side of the KL term. Undefined for a model with
   * an adapter, whose base is in its own program.
   * @param vocabulary the number of tokens that the base knows: columns of the KL term.
   * @throws InputError if the weights of the model are in files.
   */
  constructor(
    model: Model<Policy>,
    base: Pick<Checkpoint, 'config' | 'weights'> | undefined,
    vocabulary: number,
    data: SftData,
    options: ResolvedSftOptions,
  ) {
    const { weights, optimization } = options;
    this.#model = model;
    this.steps = options.steps;
    this.#prompts = new PromptCache(model.tokenizer, model.prompts);
    this.#data = data;
    this.#options = options;
    const training = model.trainable(options);
    this.#engine = model.trainer(training, {
      objective: {
        ...(weights.crossEntropy > 0 && { crossEntropy: {} }),
        ...(weights.kl > 0 && options.reasoning.enabled && { kl: { base, vocabulary } }),
        ...(weights.infoNce > 0 && { infoNce: { temperature: options.temperature } }),
        ...(weights.triplet > 0 && { triplet: { margin: options.margin } }),
        matryoshka: options.matryoshka,
      },
      maxTokens: optimization.maxTokens,
      checkpoint: optimization.checkpointActivations,
    });
    this.#optimizer = new Optimizer(training.trained, optimization, options.steps);
    this.#sampler = sftSampler(data.queries.length, options);
  }

  async step(index: number): Promise<StepRecord> {
    const start = performance.now();
    const batch = await this.#batch(index);
    const result = await this.#engine.compute({
      ...batch.request,
      seed: dropoutSeed('sft', this.#options.seed, index),
    });
    const computed = performance.now();
    const update = this.#optimizer.update(index, result.gradients);
    this.#model.updated();
    const updated = performance.now();
    const count = this.#options.batchSize;
    const { infoNce = new Float32Array(), triplet = new Float32Array() } = result.anchors;
    const mean = (values: Float32Array, from: number, to: number) =>
      to > from ? values.subarray(from, to).reduce((a, b) => a + b, 0) / (to - from) : 0;
    const { weights } = this.#options;
    const anchors = batch.request.contrastive?.anchors ?? [];
    // A row without a hard negative has no triplet.
    const triplets = triplet.filter((_, i) => i < count && anchors[i]?.negative !== undefined);
    return {
      metrics: {
        loss: result.loss,
        info_nce: mean(infoNce, 0, Math.min(count, infoNce.length)),
        info_nce_reasoned: mean(infoNce, count, infoNce.length),
        triplet: mean(triplets, 0, triplets.length),
        cross_entropy: batch.crossEntropy(result.labels.crossEntropy ?? []),
        kl: weights.kl > 0 ? (result.sums.kl ?? 0) / weights.kl : 0,
        gradient_norm: update.gradientNorm,
        learning_rate: update.learningRate,
        tokens: batch.tokens,
        truncated: batch.truncated,
      },
      timings: { gradients: (computed - start) / 1000, update: (updated - computed) / 1000 },
    };
  }

  async save(folder: string): Promise<void> {
    await saveTraining(folder, this.#model.trained, this.#optimizer);
  }

  async restore(folder: string): Promise<void> {
    await restoreTraining(folder, this.#model.trained, this.#optimizer);
    this.#model.updated();
  }

  /** The model stays with the caller, who disposes of it. */
  async dispose(): Promise<void> {
    await this.#engine.dispose();
  }

  #batch(index: number): Promise<SftBatch> {
    const { queries, negatives } = this.#data;
    const random = randomStream(this.#options.seed, 'sft', 'step', index);
    const chosen = this.#sampler.batch(index).map((i) => queries[i] as TrainingQuery);
    const positives = chosen.map((query) => random.choice(positivesOf(query)));
    const hard = chosen.map((query, i) => negatives(query, positives[i] as string, random));
    const own = new Set(chosen.map(({ id }) => id).filter((id) => takesOwn(this.#options, index, id)));
    return collateBatch(this.#model, this.#prompts, this.#data, this.#options, chosen, positives, hard, own);
  }
}

interface SftBatch {
  request: StepRequest;
  tokens: number;
  truncated: number;
  /** Mean over direct and over reasoned labels, added up, as in the loss. */
  crossEntropy: (labelValues: readonly Float32Array[]) => number;
}

/** The sequences of one step: direct queries, reasoned queries, positives and negatives, each text prompted. */
async function collateBatch(
  policy: Pick<Policy, 'tokenizer' | 'prompts' | 'embedId'>,
  cache: PromptCache,
  data: SftData,
  options: ResolvedSftOptions,
  queries: readonly TrainingQuery[],
  positives: readonly string[],
  hard: readonly (string | undefined)[],
  own: ReadonlySet<string>,
): Promise<SftBatch> {
  const { weights, reasoning } = options;
  const { tokenizer, prompts, embedId } = policy;
  const limit = { maxTokens: options.maxLength };
  let truncated = 0;
  const direct = async (texts: string[], role: 'query' | 'document'): Promise<TrainingSequence[]> => {
    const answer = (await tokenizer.encode(prompts[role].assistant)).length;
    return (await cache.direct(texts, role, limit)).map((prompt) => {
      if (prompt.truncated) truncated++;
      const last = prompt.ids.length - 1;
      const labels: Label[] = [];
      for (let position = last - answer - 1; position < last; position++)
        labels.push({ position, weight: 1 });
      return { ids: prompt.ids, labels, embed: last };
    });
  };
  const reasoned = (target: readonly number[], prompt: Readonly<PromptIds>): TrainingSequence => {
    const ids = [...prompt.ids, ...target, embedId];
    const labels: Label[] = [];
    for (let position = prompt.ids.length - 1; position < ids.length - 1; position++) {
      // The base knows nothing of the embed token: KL is over the reasoning alone.
      labels.push({ position, weight: 1, klWeight: position < ids.length - 2 ? 1 : 0 });
    }
    return { ids, labels, embed: ids.length - 1 };
  };

  const documents = [...positives, ...hard.filter((id) => id !== undefined)];
  const texts = queries.map(({ text }) => text);
  const sequences = [
    ...(await direct(texts, 'query')),
    ...(await direct(documents.map(data.document), 'document')),
  ];
  const directCount = sequences.length;
  /** Queries with a target, and the sequence after whose reasoning each is embedded. */
  const taught: { query: number; sequence: number }[] = [];
  if (reasoning.enabled) {
    const prompted = await cache.reasoning(texts, limit);
    for (const [i, prompt] of prompted.entries()) {
      const { id } = queries[i] as TrainingQuery;
      const target = data.targets.get(id);
      if (target === undefined) continue;
      taught.push({ query: i, sequence: sequences.length });
      sequences.push(reasoned(target, prompt));
    }
    for (const one of taught) {
      const { id } = queries[one.query] as TrainingQuery;
      if (!own.has(id)) continue;
      const sample = data.own?.get(id);
      if (sample === undefined) throw new Error(`internal: no reasoning of its own for query ${id}`);
      const ids = [...(prompted[one.query] as Readonly<PromptIds>).ids, ...sample, embedId];
      one.sequence = sequences.length;
      // Not to be imitated: it has no labels.
      sequences.push({ ids, labels: [], embed: ids.length - 1 });
    }
  }
  const scaled = scaleLabels(sequences, directCount, weights);

  const negativeColumn = new Map<number, number>();
  for (const [i, id] of hard.entries()) {
    if (id !== undefined) negativeColumn.set(i, positives.length + negativeColumn.size);
  }
  const anchor = (sequence: number, i: number, share: number): Anchor => {
    const query = queries[i] as TrainingQuery;
    const negative = negativeColumn.get(i);
    return {
      sequence,
      positive: i,
      ...(negative !== undefined && { negative }),
      infoNceWeight: (share * weights.infoNce) / queries.length,
      tripletWeight: (share * weights.triplet) / queries.length,
      falseNegatives: documents.flatMap((id, column) =>
        column !== i && !mayBeNegative(query, id) ? [column] : [],
      ),
    };
  };
  const anchors = queries.map((_, i) => anchor(i, i, 1));
  anchors.push(...taught.map(({ query, sequence }) => anchor(sequence, query, reasoning.contrastiveWeight)));
  return {
    request: {
      sequences: scaled.sequences,
      contrastive: { anchors, documents: documents.map((_, i) => queries.length + i) },
    },
    tokens: sequences.reduce((total, { ids }) => total + ids.length, 0),
    truncated,
    crossEntropy: scaled.crossEntropy,
  };
}

/** Turns unit weights into means: over the labels of direct sequences, over those of reasoned ones, over KL rows. */
function scaleLabels(
  sequences: readonly TrainingSequence[],
  directCount: number,
  weights: ResolvedSftOptions['weights'],
): { sequences: TrainingSequence[]; crossEntropy: SftBatch['crossEntropy'] } {
  const count = (from: number, to: number, value: (label: Label) => number) =>
    sequences
      .slice(from, to)
      .reduce((total, { labels }) => total + labels.reduce((sum, l) => sum + value(l), 0), 0);
  const unit = (i: number) => (i < directCount ? directLabels : reasonedLabels);
  const directLabels = count(0, directCount, () => 1);
  const reasonedLabels = count(directCount, sequences.length, () => 1);
  const klLabels = count(directCount, sequences.length, (label) => label.klWeight ?? 0);
  return {
    sequences: sequences.map((sequence, i) => ({
      ...sequence,
      labels: sequence.labels.map((label) => ({
        ...label,
        weight: weights.crossEntropy / unit(i),
        ...(label.klWeight && { klWeight: weights.kl / klLabels }),
      })),
    })),
    crossEntropy: (values) =>
      values.reduce((total, row, i) => total + row.reduce((sum, value) => sum + value, 0) / unit(i), 0),
  };
}
