/**
 * Stage 1 as the trainer should run it, in float64: which sequences a step has, what is labelled, every mean and weight
 * written out from the definitions, the update by the reference AdamW.
 */
import type { Policy } from 'search-r3/model';
import { positivesOf, type ResolvedSftOptions, type SftData, type TrainingQuery } from 'search-r3/sft';
import type { AdamWOptions } from '../reference/adamw.js';
import { asParameters } from '../reference/decoder.js';
import { crossEntropy, infoNce, klToBase, tripletMargin } from '../reference/losses.js';
import { embeddings, type ReferenceModel, referenceModel } from '../reference/objectives.js';
import { add, concat, gatherRows, mul, slice, type Tensor } from '../reference/tape.js';
import { type ReferenceStep, referenceTraining } from '../reference/train.js';
import { makePrompts } from '../support/prompts.js';

export interface ExpectedSftStep extends ReferenceStep {
  metrics: Record<string, number>;
}

type Optimization = ResolvedSftOptions['optimization'];

/** The optimiser of the options; matrices decay, norms and biases do not. */
export const referenceOptimizer = ({ betas, ...options }: Optimization): AdamWOptions => ({
  learningRate: options.learningRate,
  beta1: betas[0],
  beta2: betas[1],
  weightDecay: options.weightDecay,
  maxGradNorm: options.maxGradientNorm,
  decays: (name) => !name.endsWith('norm.weight') && !name.endsWith('.bias'),
});

/** The learning rate of update `step` (from 0) of `steps`, by the words of the options. */
export function referenceRate(options: Optimization, step: number, steps: number): number {
  const { learningRate, warmupSteps, finalLearningRate, schedule } = options;
  const update = step + 1;
  if (update < warmupSteps) return (learningRate * update) / warmupSteps;
  if (schedule === 'constant') return learningRate;
  const progress = (update - warmupSteps) / (steps - warmupSteps);
  const shape = schedule === 'linear' ? 1 - progress : 0.5 + 0.5 * Math.cos(Math.PI * progress);
  return learningRate * (finalLearningRate + (1 - finalLearningRate) * shape);
}

/** Elements that the option `tokenEmbeddings` keeps: all rows of the token tables but that of the embed token. */
export const frozenElements =
  ({ config, embedId }: Policy, option: ResolvedSftOptions['tokenEmbeddings']) =>
  (name: string, element: number): boolean =>
    option === 'frozen' &&
    ['model.embed_tokens.weight', 'lm_head.weight'].includes(name) &&
    Math.floor(element / config.hiddenSize) !== embedId;

/** Reads each sequence once, however many terms need it. */
export function remembering(model: ReferenceModel): ReferenceModel {
  const known = new Map<string, ReturnType<ReferenceModel['forward']>>();
  const forward = (tokens: readonly number[]) => {
    const output = known.get(tokens.join()) ?? model.forward(tokens);
    known.set(tokens.join(), output);
    return output;
  };
  return { ...model, forward };
}

/** Logits that predict the last `count` tokens of each sequence: one matrix. */
const predicting = (
  model: ReferenceModel,
  sequences: readonly (readonly number[])[],
  counts: readonly number[],
) =>
  concat(
    sequences.map((ids, i) => {
      const { logits } = model.forward(ids);
      return slice(logits, 0, ids.length - 1 - (counts[i] as number), ids.length - 1);
    }),
    0,
  );

const lastTokens = (sequences: readonly (readonly number[])[], counts: readonly number[]) =>
  sequences.flatMap((ids, i) => ids.slice(ids.length - (counts[i] as number)));

/** Steps on the given queries. `vocabulary`: columns of the KL term. */
export async function referenceSft(
  policy: Policy,
  base: Policy,
  vocabulary: number,
  data: SftData,
  steps: readonly (readonly TrainingQuery[])[],
  options: ResolvedSftOptions,
): Promise<ExpectedSftStep[]> {
  const { embedId, config } = policy;
  const { weights, reasoning, temperature, margin, optimization } = options;
  const drawn = steps.flat();
  const hardOf = (query: TrainingQuery) =>
    data.negatives(query, positivesOf(query)[0] as string, undefined as never);
  const used = drawn.flatMap((query) => [positivesOf(query)[0] as string, hardOf(query) ?? []].flat());
  const texts = [...drawn.map(({ text }) => text), ...used.map(data.document)];
  const prompts = await makePrompts(policy, texts, { maxTokens: options.maxLength });
  const fixed = referenceModel(
    base.config,
    asParameters(base.weights, () => false),
  );
  const metrics: Record<string, number>[] = [];

  const objective = (trained: ReferenceModel, queries: readonly TrainingQuery[]): Tensor => {
    const model = remembering(trained);
    const positives = queries.map((query) => positivesOf(query)[0] as string);
    const hard = queries.map(hardOf);
    const documents = [...positives, ...hard.filter((id) => id !== undefined)];
    const direct = [
      ...queries.map(({ text }) => prompts.direct(text, 'query')),
      ...documents.map((id) => prompts.direct(data.document(id), 'document')),
    ];
    const ids = direct.map((prompt) => prompt.ids);
    // "the embedding is" and the embed token.
    const directCounts = ids.map(() => 4);
    const directLoss = crossEntropy(predicting(model, ids, directCounts), lastTokens(ids, directCounts));

    const taught = queries.flatMap(({ id }, q) => (data.targets.has(id) ? [q] : []));
    const targets = taught.map((q) => [
      ...(data.targets.get((queries[q] as TrainingQuery).id) ?? []),
      embedId,
    ]);
    const reasoned = taught.map((q, i) => [
      ...prompts.reasoning((queries[q] as TrainingQuery).text).ids,
      ...(targets[i] as number[]),
    ]);
    const counts = targets.map(({ length }) => length);
    const policyLogits = predicting(model, reasoned, counts);
    const isReasoning = counts.flatMap((count) =>
      Array.from({ length: count }, (_, i) => (i < count - 1 ? 1 : 0)),
    );
    const reasonedLoss = crossEntropy(policyLogits, targets.flat());
    const kl = klToBase(predicting(fixed, reasoned, counts), policyLogits, vocabulary, isReasoning);

    const documentVectors = embeddings(model, ids.slice(queries.length));
    // Documents of other rows that answer this one too, are its query, or say the same as its answers.
    const excluded = queries.map(({ relevant, own: self, noNegatives }, q) =>
      documents.map((id, d) => d !== q && (relevant.has(id) || id === self || noNegatives?.has(id) === true)),
    );
    const everyone = queries.map((_, q) => q);
    const hardColumn = new Map(
      everyone.filter((q) => hard[q] !== undefined).map((q, i) => [q, queries.length + i]),
    );
    const lengths = [config.hiddenSize, ...(options.matryoshka ?? [])];
    /** The mean over the first numbers of all vectors, so many at a time. */
    const mean = (term: (cut: (vectors: Tensor) => Tensor) => Tensor): Tensor => {
      const terms = lengths.map((length) => term((vectors) => slice(vectors, 1, 0, length)));
      return mul(
        terms.reduce((total, one) => add(total, one)),
        1 / lengths.length,
      );
    };
    /** Terms of the queries at these places, and the share of them in the loss. */
    const contrastive = (sequences: readonly (readonly number[])[], places: readonly number[]) => {
      const vectors = embeddings(model, sequences);
      const rows = places.flatMap((q, row) => (hardColumn.has(q) ? [row] : []));
      const withHard = rows.map((row) => places[row] as number);
      const hardColumns = withHard.map((q) => hardColumn.get(q) as number);
      return {
        infoNce: mean((cut) =>
          infoNce(
            cut(vectors),
            cut(documentVectors),
            [...places],
            temperature,
            places.map((q) => excluded[q] as boolean[]),
          ),
        ),
        triplet: mean((cut) =>
          tripletMargin(
            gatherRows(cut(vectors), rows),
            gatherRows(cut(documentVectors), withHard),
            gatherRows(cut(documentVectors), hardColumns),
            margin,
          ),
        ),
        // Rows without a negative or a target count in the denominators too.
        shares: { infoNce: places.length / queries.length, triplet: rows.length / queries.length },
      };
    };
    const plain = contrastive(ids.slice(0, queries.length), everyone);
    const own = taught.map((q, i) => {
      const { id, text } = queries[q] as TrainingQuery;
      const sample = options.reasoning.ownShare === 1 ? data.own?.get(id) : undefined;
      return sample === undefined
        ? (reasoned[i] as number[])
        : [...prompts.reasoning(text).ids, ...sample, embedId];
    });
    const after = contrastive(own, taught);
    const alignment = (terms: typeof plain) =>
      add(
        mul(terms.infoNce, weights.infoNce * terms.shares.infoNce),
        mul(terms.triplet, weights.triplet * terms.shares.triplet),
      );
    let loss = add(mul(directLoss, weights.crossEntropy), alignment(plain));
    if (reasoning.enabled) {
      loss = add(loss, mul(reasonedLoss, weights.crossEntropy));
      loss = add(loss, mul(alignment(after), reasoning.contrastiveWeight));
      loss = add(loss, mul(kl, weights.kl));
    }
    const extra = options.reasoning.ownShare === 1 ? own : [];
    const used = reasoning.enabled ? [...ids, ...reasoned, ...extra] : ids;
    // A term without weight is not computed.
    const shown = (weight: number, ...values: number[]) =>
      weight > 0 ? values.reduce((total, value) => total + value) : 0;
    metrics.push({
      info_nce: shown(weights.infoNce, plain.infoNce.item()),
      info_nce_reasoned: reasoning.enabled ? shown(weights.infoNce, after.infoNce.item()) : 0,
      triplet: shown(weights.triplet, plain.triplet.item()),
      cross_entropy: shown(
        weights.crossEntropy,
        directLoss.item(),
        reasoning.enabled ? reasonedLoss.item() : 0,
      ),
      kl: reasoning.enabled ? shown(weights.kl, kl.item()) : 0,
      tokens: used.reduce((total, { length }) => total + length, 0),
      truncated: direct.filter((prompt) => prompt.truncated).length,
    });
    return loss;
  };

  const rate = (step: number) => referenceRate(optimization, step, options.steps);
  return referenceTraining(config, policy.weights, steps, {
    objective,
    optimizer: referenceOptimizer(optimization),
    learningRate: rate,
    frozen: frozenElements(policy, options.tokenEmbeddings),
  }).map((step, i) => ({
    ...step,
    metrics: {
      ...(metrics[i] as Record<string, number>),
      loss: step.loss,
      gradient_norm: step.gradientNorm,
      learning_rate: rate(i),
    },
  }));
}
