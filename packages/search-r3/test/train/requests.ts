/** The reference's batches as requests to the gradient engine: its means and sums become label and anchor weights. */
import { LINEAR_KINDS, type ModelConfig } from 'search-r3/checkpoint';
import {
  adapterTraining,
  fullTraining,
  newAdapter,
  type TrainingWeights,
  trainedWeights,
  weightsInMemory,
} from 'search-r3/decoder';
import { randomStream } from 'search-r3/run';
import { type EngineOptions, GradientEngine, type StepRequest, type TrainingSequence } from 'search-r3/train';
import type { TinyModel } from '../decoder/tiny.js';
import { EMBED_TOKEN, OLD_VOCABULARY, TINY_GRPO_OPTIONS, TINY_SFT_OPTIONS } from '../reference/fixtures.js';
import type {
  GrpoBatch,
  GrpoObjectiveOptions,
  SftBatch,
  SftObjectiveOptions,
} from '../reference/objectives.js';

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const columnsOf = (excluded: readonly boolean[] | undefined, positive: number) =>
  (excluded ?? []).flatMap((out, column) => (out && column !== positive ? [column] : []));

/** Cross-entropy is a mean over all target tokens, KL over those of the old vocabulary. */
export function sftRequest(
  { targets, contrastive }: SftBatch,
  { weights }: Pick<SftObjectiveOptions, 'weights'>,
): StepRequest {
  const labelled = targets.flatMap(({ tokens, start }) => tokens.slice(start));
  const reasoning = labelled.filter((token) => token < OLD_VOCABULARY).length;
  const sequences: TrainingSequence[] = targets.map(({ tokens, start }) => ({
    ids: tokens,
    embed: tokens.length - 1,
    labels: range(start - 1, tokens.length - 1).map((position) => ({
      position,
      weight: weights.crossEntropy / labelled.length,
      klWeight: tokens[position + 1] === EMBED_TOKEN ? 0 : weights.kl / reasoning,
    })),
  }));
  // Queries that are targets too share their sequence.
  const place = (tokens: readonly number[]): number => {
    const known = sequences.findIndex(({ ids }) => ids === tokens);
    return known >= 0 ? known : sequences.push({ ids: tokens, labels: [], embed: tokens.length - 1 }) - 1;
  };
  const queries = contrastive.queries.map(place);
  const documents = contrastive.documents.map(place);
  return {
    sequences,
    contrastive: {
      documents,
      anchors: queries.map((sequence, q) => ({
        sequence,
        positive: contrastive.positives[q] as number,
        negative: contrastive.negatives[q] as number,
        infoNceWeight: weights.infoNce / queries.length,
        tripletWeight: weights.triplet / queries.length,
        falseNegatives: columnsOf(contrastive.excluded?.[q], contrastive.positives[q] as number),
      })),
    },
  };
}

/** The token normalisations by their definitions; `rl` has its own, which is tested elsewhere. */
function tokenWeight(length: number, batch: GrpoBatch, options: GrpoObjectiveOptions): number {
  const { completions } = batch;
  const counted = completions
    .filter(({ masked }) => masked !== true)
    .reduce((total, { tokens, start }) => total + tokens.length - start, 0);
  switch (options.normalisation) {
    case 'dapo':
      return 1 / counted;
    case 'grpo':
      return 1 / (length * completions.length);
    case 'dr_grpo':
      return 1 / (completions.length * options.maxCompletionLength);
    default:
      throw options.normalisation satisfies never;
  }
}

export function grpoRequest(batch: GrpoBatch, options: GrpoObjectiveOptions): StepRequest {
  const sequences: TrainingSequence[] = batch.completions.map((completion) => {
    const { tokens, start, advantage } = completion;
    const weight = completion.masked ? 0 : tokenWeight(tokens.length - start, batch, options);
    return {
      ids: tokens,
      ...(completion.positive !== undefined && { embed: tokens.length - 1 }),
      labels: range(start - 1, tokens.length - 1).map((position, i) => ({
        position,
        weight,
        klWeight: weight,
        advantage,
        oldLogProbability: completion.oldLogProbs[i] as number,
        referenceLogProbability: completion.referenceLogProbs?.[i] as number,
      })),
    };
  });
  const better = batch.completions.flatMap(({ advantage, positive, excluded }, sequence) =>
    advantage > 0 && positive !== undefined ? [{ sequence, positive, excluded }] : [],
  );
  const first = sequences.length;
  for (const ids of batch.documents) sequences.push({ ids, labels: [], embed: ids.length - 1 });
  return {
    sequences,
    temperature: options.samplingTemperature,
    contrastive: {
      documents: batch.documents.map((_, i) => first + i),
      anchors: better.map(({ sequence, positive, excluded }) => ({
        sequence,
        positive,
        infoNceWeight: options.contrastiveWeight / better.length,
        tripletWeight: 0,
        falseNegatives: columnsOf(excluded, positive),
      })),
    },
  };
}

type Extra = Pick<EngineOptions, 'maxTokens' | 'checkpoint' | 'headBytes'>;

/**
 * An adapter on every linear layer and the row of the embed token, which changes what the model computes.
 * @param spread of what is added to its numbers.
 */
export function adapted(
  model: TinyModel,
  { dropout, spread = 0.3 }: { dropout?: number | undefined; spread?: number } = {},
): TrainingWeights {
  const { config, weights } = model;
  const rows = new Map(
    [...trainedWeights(weights, config, EMBED_TOKEN)].filter(([name]) => /embed\]$/.test(name)),
  );
  const adapter = newAdapter(
    config,
    { rank: 3, alpha: 4, rsLora: false, dropout, targets: LINEAR_KINDS },
    { seed: 5, token: { id: EMBED_TOKEN, rows } },
  );
  const random = randomStream(5, 'lora_B');
  for (const { data } of adapter.weights.values()) data.set(data.map((x) => x + spread * random.normal()));
  return adapterTraining(weightsInMemory(model), adapter);
}

/** Stage 1 on the reference's options. */
export const sftEngine = (model: TinyModel, base: TinyModel, extra: Extra = {}): GradientEngine =>
  sftEngineOf(model.config, fullTraining(model), base, extra);

/** @param base undefined: what is trained without its adapter. */
export const sftEngineOf = (
  config: ModelConfig,
  weights: TrainingWeights,
  base: TinyModel | undefined,
  extra: Extra = {},
): GradientEngine =>
  new GradientEngine(config, weights, {
    objective: {
      crossEntropy: {},
      kl: { base, vocabulary: OLD_VOCABULARY },
      infoNce: { temperature: TINY_SFT_OPTIONS.temperature },
      triplet: { margin: TINY_SFT_OPTIONS.margin },
    },
    ...extra,
  });

/** Stage 2 on the reference's options. */
export const grpoEngine = (model: TinyModel, extra: Extra = {}): GradientEngine =>
  grpoEngineOf(model.config, fullTraining(model), extra);

export const grpoEngineOf = (
  config: ModelConfig,
  weights: TrainingWeights,
  extra: Extra = {},
): GradientEngine =>
  new GradientEngine(config, weights, {
    objective: {
      policyGradient: {
        clipLow: TINY_GRPO_OPTIONS.epsilonLow,
        clipHigh: TINY_GRPO_OPTIONS.epsilonHigh,
        beta: TINY_GRPO_OPTIONS.beta,
      },
      infoNce: { temperature: TINY_GRPO_OPTIONS.contrastiveTemperature },
    },
    ...extra,
  });
