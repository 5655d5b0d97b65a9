/**
 * Stage 2 as the trainer should run it, in float64. Given from outside are only the sampled tokens; embeddings, ranks,
 * rewards, advantages, every log-probability, the loss and the update are recomputed from their definitions.
 */

import type { Completion } from 'search-r3/generate';
import type { Policy } from 'search-r3/model';
import type { ResolvedRlOptions } from 'search-r3/rl';
import type { TrainingQuery } from 'search-r3/sft';
import { asParameters } from '../reference/decoder.js';
import {
  dcgReward,
  groupAdvantages,
  infoNce,
  type PolicyGradientRow,
  policyGradientLoss,
  tokenLogProbs,
} from '../reference/losses.js';
import { embeddings, type ReferenceModel, referenceModel } from '../reference/objectives.js';
import { add, mul, slice, type Tensor } from '../reference/tape.js';
import { type ReferenceStep, referenceTraining } from '../reference/train.js';
import { frozenElements, referenceOptimizer, referenceRate, remembering } from '../sft/reference-sft.js';
import { DATA, DOCUMENTS } from '../sft/tiny-data.js';
import { type MadePrompts, makePrompts } from '../support/prompts.js';

/** A group as it was sampled. */
export interface SampledGroup {
  query: TrainingQuery;
  completions: readonly Completion[];
}

export interface ExpectedRlStep {
  metrics: Record<string, number>;
  /** By rollout; zero-variance groups come last, otherwise in the order they were sampled. */
  rewards: number[];
  ranks: (number | null)[];
  /** Of all iterations together. */
  changes: Map<string, Float64Array>;
}

/** A rollout with what was known of it when it was sampled. */
interface Row {
  query: TrainingQuery;
  tokens: number[];
  start: number;
  length: number;
  finish: Completion['finish'];
  oldLogProbs: number[];
  referenceLogProbs: number[];
  reward: number;
  rank: number | null;
  advantage: number;
  masked: boolean;
}

const average = (values: readonly number[]): number =>
  values.length === 0 ? 0 : values.reduce((a, b) => a + b, 0) / values.length;

const deviation = (values: readonly number[]): number => {
  const center = average(values);
  return Math.sqrt(values.reduce((total, value) => total + (value - center) ** 2, 0) / (values.length - 1));
};

function normalised(vectors: Tensor): number[][] {
  const [rows, width] = vectors.shape as [number, number];
  return Array.from({ length: rows }, (_, i) => {
    const row = Array.from(vectors.data.slice(i * width, (i + 1) * width));
    const norm = Math.hypot(...row);
    return row.map((x) => x / norm);
  });
}

const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((total, x, i) => total + x * b[i]!, 0);

/** What the step's rollouts are worth to the model that wrote them. */
function judgeRows(
  model: ReferenceModel,
  prompts: MadePrompts,
  groups: readonly SampledGroup[],
  options: ResolvedRlOptions,
  reference: ReferenceModel | undefined,
): Row[] {
  const ids = [...DOCUMENTS.keys()];
  const documents = normalised(
    embeddings(
      model,
      [...DOCUMENTS.values()].map((text) => prompts.direct(text, 'document').ids),
    ),
  );
  const rows = groups.flatMap(({ query, completions }) => {
    const prompt = prompts.reasoning(query.text).ids;
    return completions.map(({ tokens: completion, finish }): Row => {
      const tokens = [...prompt, ...completion];
      let rank: number | null = null;
      let reward = 0;
      if (finish === 'embed') {
        const [vector] = normalised(embeddings(model, [tokens])) as [number[]];
        // The document that is the query is not ranked.
        const ranked = [...ids.keys()].filter((d) => ids[d] !== query.own);
        const scores = ranked.map((d) => dot(vector, documents[d]!));
        const gains = ranked.map((d) => query.relevant.get(ids[d]!) ?? 0);
        reward = dcgReward(scores, gains, options.reward.cut);
        // Equal texts score equally: ties count against what is relevant.
        const order = [...ranked.keys()].sort((a, b) => scores[b]! - scores[a]! || gains[a]! - gains[b]!);
        rank = 1 + order.findIndex((d) => gains[d]! > 0);
      }
      const logProbs = (of: ReferenceModel) =>
        Array.from(tokenLogProbs(of.forward(tokens).logits, tokens, prompt.length, options.temperature).data);
      return {
        query,
        tokens,
        start: prompt.length,
        length: completion.length,
        finish,
        oldLogProbs: logProbs(model),
        referenceLogProbs: reference === undefined ? [] : logProbs(reference),
        reward: reward - options.reward.tokenCost * completion.length,
        rank,
        advantage: 0,
        masked: options.maskTruncated && finish === 'length',
      };
    });
  });
  const size = options.groupSize;
  const rewards = groups.map((_, g) => rows.slice(g * size, (g + 1) * size).map(({ reward }) => reward));
  const advantages = groupAdvantages(rewards, options.advantageScaling);
  for (const [g, group] of rewards.entries()) {
    const varied = Math.max(...group) - Math.min(...group) > 1e-6;
    for (let i = 0; i < size; i++) rows[g * size + i]!.advantage = varied ? advantages[g]![i]! : 0;
  }
  return rows;
}

/** The loss of one update on the rows, and its metrics. */
function updateLoss(
  model: ReferenceModel,
  prompts: MadePrompts,
  groups: readonly SampledGroup[],
  rows: readonly Row[],
  options: ResolvedRlOptions,
): { loss: Tensor; metrics: Record<string, number> } {
  const { clipLow, clipHigh, beta, contrastive, policyWeight } = options;
  const gradientRows = rows.map(
    (row): PolicyGradientRow => ({
      ...row,
      logProbs: tokenLogProbs(model.forward(row.tokens).logits, row.tokens, row.start, options.temperature),
    }),
  );
  const reduction = {
    epsilonLow: clipLow,
    epsilonHigh: clipHigh,
    normalisation: options.lossNormalization,
    maxCompletionLength: options.maxNewTokens,
  };
  const policyLoss = policyGradientLoss(gradientRows, { ...reduction, beta: 0 });
  let loss = mul(policyLoss, policyWeight);
  let kl = 0;
  if (beta > 0) {
    // With every advantage 0, only the KL term is left.
    const still = gradientRows.map((row) => ({ ...row, advantage: 0 }));
    const penalty = policyGradientLoss(still, { ...reduction, beta });
    kl = penalty.item() / beta;
    loss = add(loss, penalty);
  }

  const better = rows.filter(({ advantage, finish }) => advantage > 0 && finish === 'embed');
  let infoNceValue = 0;
  if (contrastive.weight > 0 && better.length > 0) {
    const positives = groups.map(({ query }) => query.positives?.[0] as string);
    const hard = groups.map(({ query }) => DATA.negatives(query, '', undefined as never));
    const documents = [...positives, ...hard.filter((id) => id !== undefined)];
    const texts = documents.map((id) => prompts.direct(DATA.document(id), 'document').ids);
    const own = better.map(({ query }) => groups.findIndex((group) => group.query.id === query.id));
    const anchors = embeddings(
      model,
      better.map(({ tokens }) => tokens),
    );
    const candidates = embeddings(model, texts);
    const excluded = better.map(({ query: { relevant, own: self, noNegatives } }) =>
      documents.map((id) => relevant.has(id) || id === self || noNegatives?.has(id) === true),
    );
    const lengths = [model.config.hiddenSize, ...(contrastive.matryoshka ?? [])];
    const terms = lengths.map((length) => {
      const cut = (vectors: Tensor) => slice(vectors, 1, 0, length);
      return infoNce(cut(anchors), cut(candidates), own, contrastive.temperature, excluded);
    });
    const term = mul(
      terms.reduce((total, one) => add(total, one)),
      1 / lengths.length,
    );
    infoNceValue = term.item();
    loss = add(loss, mul(term, contrastive.weight));
  }

  const ratios = gradientRows.flatMap(({ logProbs, oldLogProbs, advantage, masked }) =>
    masked === true || advantage === 0
      ? []
      : oldLogProbs.map((old, t) => ({ advantage, ratio: Math.exp(logProbs.data[t]! - old) })),
  );
  const clipped = ratios.filter(({ advantage, ratio }) =>
    advantage > 0 ? ratio > 1 + clipHigh : ratio < 1 - clipLow,
  );
  return {
    loss,
    metrics: {
      kl,
      contrastive: infoNceValue,
      anchors: contrastive.weight > 0 ? better.length : 0,
      clip_ratio: ratios.length === 0 ? 0 : clipped.length / ratios.length,
    },
  };
}

/** Steps on sampled groups; `numIterations` updates on each. */
export async function referenceRl(
  policy: Policy,
  reference: Policy | undefined,
  steps: readonly (readonly SampledGroup[])[],
  options: ResolvedRlOptions,
): Promise<ExpectedRlStep[]> {
  const { numIterations, optimization, groupSize } = options;
  const updates = steps.flatMap((groups, step) =>
    Array.from({ length: numIterations }, (_, iteration) => ({ groups, step, iteration })),
  );
  const fixed =
    reference &&
    referenceModel(
      reference.config,
      asParameters(reference.weights, () => false),
    );
  const texts = [...DOCUMENTS.values(), ...steps.flat().map(({ query }) => query.text)];
  const whole = await makePrompts(policy, texts);
  const prompts = await makePrompts(policy, texts, { maxTokens: options.maxLength });
  const sampled: Row[][] = [];
  const metrics: Record<string, number>[] = [];
  const rate = (update: number) => referenceRate(optimization, update, options.steps * numIterations);
  const trained: ReferenceStep[] = referenceTraining(policy.config, policy.weights, updates, {
    optimizer: referenceOptimizer(optimization),
    learningRate: rate,
    frozen: frozenElements(policy, options.tokenEmbeddings),
    objective: (trainable, { groups, step, iteration }) => {
      const model = remembering(trainable);
      if (iteration === 0) sampled[step] = judgeRows(model, prompts, groups, options, fixed);
      const update = updateLoss(model, prompts, groups, sampled[step]!, options);
      metrics.push(update.metrics);
      return update.loss;
    },
  });
  return steps.map((groups, step) => {
    const rows = sampled[step]!;
    const last = (step + 1) * numIterations - 1;
    const share = (finish: Completion['finish']) =>
      average(rows.map((row) => (row.finish === finish ? 1 : 0)));
    const rewards = rows.map(({ reward }) => reward);
    const changes = new Map<string, Float64Array>();
    for (const update of trained.slice(step * numIterations, last + 1)) {
      for (const [name, change] of update.changes) {
        const sum = changes.get(name) ?? new Float64Array(change.length);
        changes.set(
          name,
          sum.map((value, i) => value + change[i]!),
        );
      }
    }
    const equal = groups.map((_, g) => {
      const group = rewards.slice(g * groupSize, (g + 1) * groupSize);
      return Math.max(...group) - Math.min(...group) > 1e-6 ? 0 : 1;
    });
    const logged = rows
      .map((row, i) => ({ row, equal: equal[Math.floor(i / groupSize)] as number }))
      .sort((a, b) => a.equal - b.equal);
    return {
      rewards: logged.map(({ row }) => row.reward),
      ranks: logged.map(({ row }) => row.rank),
      changes,
      metrics: {
        ...metrics[last]!,
        reward: average(rewards),
        reward_std: deviation(rewards),
        zero_variance: average(equal),
        embedded: share('embed'),
        truncated: share('length'),
        no_embed_token: share('stop'),
        completion_length: average(rows.map(({ length }) => length)),
        loss: trained[last]!.loss,
        gradient_norm: trained[last]!.gradientNorm,
        learning_rate: rate(last),
        // The exact environment encodes everything, every step.
        documents_full: DOCUMENTS.size,
        refresh_rounds: 1,
        expected_error: 0,
        skipped_queries: 0,
        truncated_queries: [...new Set(rows.map(({ query }) => query.text))].filter(
          (text) => whole.reasoning(text).ids.length > options.maxLength,
        ).length,
      },
    };
  });
}
