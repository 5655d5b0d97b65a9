/**
 * Stage 2: reinforcement learning that optimises reasoning and embedding together (Search-R3, arXiv 2510.07048). A step
 * samples a group of completions per query, embeds each at its end, and ranks the documents of the environment. The
 * update combines the clipped policy gradient on the reasoning with a contrastive term on the embeddings that beat the
 * mean of their group.
 */
import { join } from 'node:path';
import { PromptCache } from '../checkpoint/index.js';
import type { Environment } from '../environment/index.js';
import type { Generator } from '../generate/index.js';
import type { Model, Policy } from '../model/index.js';
import { type Metrics, readStateFile, writeStateFile } from '../run/index.js';
import type { SftData, TrainingQuery } from '../sft/index.js';
import {
  dropoutSeed,
  EpochSampler,
  type GradientEngine,
  type LogProbabilities,
  Optimizer,
  restoreTraining,
  type StepRecord,
  type StepRequest,
  saveTraining,
  type Trainer,
  type TrainingSequence,
} from '../train/index.js';
import { hasVariance, standardDeviation } from './advantage.js';
import { EnvironmentLog, presentQuery } from './environment-log.js';
import { afterFirst, corrected, importanceMetrics, importanceWarnings } from './importance.js';
import type { ResolvedRlOptions } from './options.js';
import { type Group, type Rollout, rewardRollouts, sampleGroups } from './rollout.js';
import { type UpdateBatch, updateBatch } from './update.js';

export interface RlData extends Pick<SftData, 'document' | 'negatives'> {
  queries: readonly TrainingQuery[];
  /** How many documents of the corpus were cut to be encoded, as far as the environment has seen them. */
  truncatedDocuments?: () => number;
}

/** Ratio of truncated completions from which a run can not learn. */
const HOPELESS_TRUNCATION = 0.95;

export class RlTrainer implements Trainer {
  readonly stage = 'rl';
  readonly steps: number;
  readonly #model: Model<Policy>;
  readonly #environment: Environment;
  readonly #data: RlData;
  readonly #options: ResolvedRlOptions;
  readonly #generator: Generator;
  readonly #engine: GradientEngine;
  readonly #optimizer: Optimizer;
  readonly #sampler: EpochSampler;
  readonly #prompts: PromptCache;
  readonly #reference: LogProbabilities | undefined;
  /** Of the correction for a sampler of other arithmetic; undefined without one. */
  readonly #cap: number | undefined;

  private constructor(
    model: Model<Policy>,
    environment: Environment,
    data: RlData,
    options: ResolvedRlOptions,
    generator: Generator,
    reference: LogProbabilities | undefined,
  ) {
    this.steps = options.steps;
    this.#model = model;
    this.#prompts = new PromptCache(model.tokenizer, model.prompts);
    this.#environment = environment;
    this.#data = data;
    this.#options = options;
    this.#generator = generator;
    this.#reference = reference;
    const { optimization, clipLow, clipHigh, beta, policyWeight, contrastive } = options;
    this.#cap = model.samplesAsTrained ? undefined : options.importanceCap;
    const training = model.trainable(options);
    this.#engine = model.trainer(training, {
      objective: {
        ...((policyWeight > 0 || beta > 0) && {
          policyGradient: { clipLow, clipHigh, beta, importanceCap: this.#cap },
        }),
        ...(contrastive.weight > 0 && { infoNce: { temperature: contrastive.temperature } }),
        matryoshka: contrastive.matryoshka,
      },
      maxTokens: optimization.maxTokens,
      checkpoint: optimization.checkpointActivations,
    });
    this.#optimizer = new Optimizer(training.trained, optimization, options.steps * options.numIterations);
    this.#sampler = new EpochSampler({
      count: data.queries.length,
      batchSize: options.queriesPerStep,
      seed: options.seed,
      label: 'rl',
    });
  }

  /**
   * Trains the weights of a model in place.
   * @param environment must encode with the same weights.
   * @param reference the model that stage 2 starts from, which stays as it is; needed with `beta` above 0.
   * @throws InputError if the weights of the model are in files.
   */
  static async create(
    model: Model<Policy>,
    environment: Environment,
    data: RlData,
    options: ResolvedRlOptions,
    reference?: Model<Policy>,
  ): Promise<RlTrainer> {
    if (options.beta > 0 && reference === undefined)
      throw new RangeError('RlTrainer: beta > 0 needs a reference');
    const generator = await model.generator();
    const fixed = options.beta > 0 ? await reference?.logProbabilities() : undefined;
    return new RlTrainer(model, environment, data, options, generator, fixed);
  }

  async step(index: number): Promise<StepRecord> {
    const clock = stopwatch();
    const log = new EnvironmentLog();
    const groups = await this.#rollouts(index, clock, log);
    const rollouts = groups.flat();
    const batch = await updateBatch(
      this.#model,
      groups,
      this.#present(),
      this.#options,
      index,
      this.#prompts,
    );
    const update = await this.#update(index, batch, clock);
    const rewards = rollouts.map(({ reward }) => reward);
    const mean = (values: readonly number[]) =>
      values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
    const share = (outcome: Rollout['outcome']) =>
      mean(rollouts.map((rollout) => (rollout.outcome === outcome ? 1 : 0)));
    const truncated = share('truncated');
    const warnings = [...log.warnings(), ...importanceWarnings(update, this.#model.arithmetic)];
    if (truncated >= HOPELESS_TRUNCATION) {
      const message = `${Math.round(truncated * 100)} % of the completions were cut at maxNewTokens (${this.#options.maxNewTokens}): their reward is 0. Raise it.`;
      warnings.push({ code: 'truncated', message });
    }
    const { truncatedDocuments } = this.#data;
    const cut = {
      truncated_queries: groups.filter(([rollout]) => rollout?.promptTruncated).length,
      ...(truncatedDocuments && { truncated_documents: truncatedDocuments() }),
    };
    // Once: it stays so for the whole run.
    if (index === 0 && cut.truncated_documents) {
      const message = `${cut.truncated_documents} documents are longer than maxLength (${this.#options.maxLength}) and were cut.`;
      warnings.push({ code: 'truncated_documents', message });
    }
    if (groups.length === 0) {
      const message = 'the documents of all queries of this step were removed: nothing was learned from it';
      warnings.push({ code: 'no_queries', message });
    } else if (batch.request === undefined) {
      const message = 'every group has equal rewards: nothing was learned from this step';
      warnings.push({ code: 'zero_variance', message });
    }
    return {
      metrics: {
        reward: mean(rewards),
        reward_std: standardDeviation(rewards),
        zero_variance: mean(groups.map((group) => (hasVariance(group.map(({ reward }) => reward)) ? 0 : 1))),
        embedded: share('embedded'),
        truncated,
        no_embed_token: share('no_embed_token'),
        completion_length: mean(rollouts.map(({ completion }) => completion.tokens.length)),
        anchors: batch.anchors,
        ...cut,
        ...update,
        ...log.metrics(),
      },
      timings: log.timings(clock.parts),
      completions: rollouts.map((rollout, i) => ({
        queryId: rollout.query.id,
        query: rollout.query.text,
        sample: i % this.#options.groupSize,
        reasoning: this.#text(rollout),
        reward: rollout.reward,
        rank: rollout.rank,
        tokens: rollout.completion.tokens.length,
        outcome: rollout.outcome,
      })),
      warnings,
    };
  }

  async save(folder: string): Promise<void> {
    await saveTraining(folder, this.#model.trained, this.#optimizer);
    await writeStateFile(join(folder, 'environment.state'), this.#environment.state());
  }

  async restore(folder: string): Promise<void> {
    await restoreTraining(folder, this.#model.trained, this.#optimizer);
    this.#model.updated();
    await this.#environment.restore(await readStateFile(join(folder, 'environment.state')));
  }

  /** The model and the environment stay with the caller, who disposes of them. */
  async dispose(): Promise<void> {
    await this.#engine.dispose();
    await this.#reference?.dispose();
  }

  /** Rewarded groups: of the step's queries, then of further ones in place of zero-variance groups. */
  async #rollouts(index: number, clock: Stopwatch, log: EnvironmentLog): Promise<Group[]> {
    const { queriesPerStep, resampleRounds, reward, seed } = this.#options;
    const kept: Group[] = [];
    const zeroVariance: Group[] = [];
    const used = new Set<string>();
    for (let round = 0; round <= resampleRounds; round++) {
      const wanted = queriesPerStep - kept.length;
      if (wanted === 0) break;
      // Further rounds read ahead in a sequence of their own, so that the queries of later steps stay what they are.
      const position = round === 0 ? index : this.steps + index * resampleRounds + round - 1;
      const drawn = this.#sampler
        .batch(position)
        .map((i) => this.#data.queries[i] as TrainingQuery)
        .filter(({ id }) => !used.has(id))
        .slice(0, wanted);
      for (const { id } of drawn) used.add(id);
      const queries = drawn
        .map((query) => presentQuery(query, this.#environment))
        .filter((query) => query !== undefined);
      log.skipped(drawn.length - queries.length);
      if (round > 0 && queries.length === 0) continue;
      const groups = await sampleGroups(
        this.#model,
        this.#generator,
        queries,
        this.#options,
        seed + 1_000_003 * (index * (resampleRounds + 1) + round),
      );
      clock.lap('rollout');
      const { refresh, batch } = await rewardRollouts(
        groups.flat(),
        this.#environment,
        index,
        this.#model.config.hiddenSize,
        reward,
      );
      log.refreshed(refresh);
      clock.lap('environment');
      const { auditEvery } = this.#options;
      if (round === 0 && auditEvery > 0 && index % auditEvery === 0) {
        log.audited(await this.#environment.audit(index, batch));
        clock.lap('audit');
      }
      const varied = groups.filter((group) => hasVariance(group.map((rollout) => rollout.reward)));
      kept.push(...varied);
      zeroVariance.push(...groups.filter((group) => !varied.includes(group)));
    }
    return [...kept, ...zeroVariance.slice(0, queriesPerStep - kept.length)];
  }

  /** The data without negatives that were removed from the corpus. */
  #present(): RlData {
    const negatives: RlData['negatives'] = (query, positive, random) => {
      const id = this.#data.negatives(query, positive, random);
      return id !== undefined && this.#environment.has(id) ? id : undefined;
    };
    return { ...this.#data, negatives };
  }

  /** `numIterations` updates on the same rollouts; their log-probabilities at sampling stay the old ones. */
  async #update(index: number, batch: UpdateBatch, clock: Stopwatch): Promise<Metrics> {
    if (batch.request === undefined)
      return { loss: 0, gradient_norm: 0, clip_ratio: 0, contrastive: 0, kl: 0 };
    const { numIterations, clipLow, clipHigh, seed } = this.#options;
    const cap = this.#cap;
    const referred = await this.#withReference(batch.request);
    let request = cap === undefined ? referred : corrected(referred);
    let sampled: Metrics = {};
    clock.lap('reference');
    let metrics: Metrics = {};
    for (let iteration = 0; iteration < numIterations; iteration++) {
      const at = index * numIterations + iteration;
      const result = await this.#engine.compute({ ...request, seed: dropoutSeed('rl', seed, at) });
      clock.lap('gradients');
      const update = this.#optimizer.update(at, result.gradients);
      this.#model.updated();
      clock.lap('update');
      const { logProbabilities } = result.labels;
      if (cap !== undefined && iteration === 0 && logProbabilities !== undefined) {
        sampled = importanceMetrics(request, logProbabilities, cap);
        request = afterFirst(request, logProbabilities);
      }
      let clipped = 0;
      let counted = 0;
      for (const [sequence, { advantage }] of batch.trained.entries()) {
        // Without a policy gradient, or with its KL term alone, there is no ratio to clip.
        if (advantage === 0 || logProbabilities === undefined) continue;
        const { labels } = request.sequences[sequence] as TrainingSequence;
        for (const [i, label] of labels.entries()) {
          const now = logProbabilities[sequence]?.[i] as number;
          const ratio = Math.exp(now - (label.oldLogProbability as number));
          counted++;
          if ((advantage > 0 && ratio > 1 + clipHigh) || (advantage < 0 && ratio < 1 - clipLow)) clipped++;
        }
      }
      const { infoNce = new Float32Array() } = result.anchors;
      metrics = {
        loss: result.loss,
        gradient_norm: update.gradientNorm,
        learning_rate: update.learningRate,
        clip_ratio: clipped / Math.max(1, counted),
        contrastive: infoNce.reduce((a, b) => a + b, 0) / Math.max(1, infoNce.length),
        kl: result.sums.kl ?? 0,
        ...sampled,
      };
    }
    return metrics;
  }

  async #withReference(request: StepRequest): Promise<StepRequest> {
    if (this.#reference === undefined) return request;
    const { temperature, optimization } = this.#options;
    const values = await this.#reference.compute(request.sequences, temperature, optimization.maxTokens);
    return {
      ...request,
      sequences: request.sequences.map((sequence, i) => ({
        ...sequence,
        labels: sequence.labels.map((label, j) => ({
          ...label,
          referenceLogProbability: values[i]?.[j] as number,
        })),
      })),
    };
  }

  #text({ completion }: Rollout): string {
    const { tokenizer, embedId, stopIds } = this.#model;
    const tokens = completion.tokens.filter((token) => token !== embedId && !stopIds.includes(token));
    return tokenizer.decode(tokens);
  }
}

interface Stopwatch {
  /** Seconds by part. */
  parts: Record<string, number>;
  /** Books the time since the last lap to a part. */
  lap(part: string): void;
}

function stopwatch(): Stopwatch {
  let last = performance.now();
  const parts: Record<string, number> = {};
  return {
    parts,
    lap(part) {
      const now = performance.now();
      parts[part] = (parts[part] ?? 0) + (now - last) / 1000;
      last = now;
    },
  };
}
