/**
 * The two training objectives put together from the decoder and the losses: stage 1 (cross-entropy and KL on reasoning
 * targets, InfoNCE and triplet margin on embeddings) and stage 2 (clipped policy gradient on completions, InfoNCE on
 * the embeddings of the better ones). An embedding is the final hidden state at a sequence's last token.
 */
import {
  type DecoderConfig,
  type DecoderOptions,
  type DecoderOutput,
  decoder,
  type Parameters,
} from './decoder.js';
import {
  crossEntropy,
  infoNce,
  klToBase,
  type PolicyGradientOptions,
  policyGradientLoss,
  tokenLogProbs,
  tripletMargin,
} from './losses.js';
import { add, concat, constant, gatherRows, mul, slice, type Tensor } from './tape.js';

/** A decoder with its weights. */
export interface ReferenceModel {
  readonly config: DecoderConfig;
  readonly parameters: Parameters;
  forward(tokens: readonly number[]): DecoderOutput;
}

export function referenceModel(
  config: DecoderConfig,
  parameters: Parameters,
  options: DecoderOptions = {},
): ReferenceModel {
  return { config, parameters, forward: (tokens) => decoder(config, parameters, tokens, options) };
}

/** The embeddings, not normalised, of sequences that each end with the embed token: [sequences, hiddenSize]. */
export function embeddings(model: ReferenceModel, sequences: readonly (readonly number[])[]): Tensor {
  return concat(
    sequences.map((tokens) => slice(model.forward(tokens).hidden, 0, tokens.length - 1, tokens.length)),
    0,
  );
}

/** A prompt with the reasoning to imitate: tokens from index `start` on are targets, the last is the embed token. */
export interface ReasoningTarget {
  readonly tokens: readonly number[];
  readonly start: number;
}

/** Queries against the documents of the batch; every sequence ends with the embed token. */
export interface ContrastiveBatch {
  readonly queries: readonly (readonly number[])[];
  readonly documents: readonly (readonly number[])[];
  /** Per query, the number of its positive document. */
  readonly positives: readonly number[];
  /** Per query, the number of its hard negative. */
  readonly negatives: readonly number[];
  /** `excluded[q][d]`: document d is a false negative of query q. */
  readonly excluded?: readonly (readonly boolean[])[];
}

export interface SftBatch {
  readonly targets: readonly ReasoningTarget[];
  readonly contrastive: ContrastiveBatch;
}

export interface SftObjectiveOptions {
  readonly weights: {
    readonly crossEntropy: number;
    readonly kl: number;
    readonly infoNce: number;
    readonly triplet: number;
  };
  readonly temperature: number;
  readonly margin: number;
  /** Tokens below this id are known to the base model. */
  readonly oldVocabulary: number;
}

export interface SftTerms {
  /** Mean over all target tokens of the batch, the embed token included. */
  readonly crossEntropy: Tensor;
  /** Mean over the target tokens of the old vocabulary: the reasoning, without the embed token. */
  readonly kl: Tensor;
  readonly infoNce: Tensor;
  readonly triplet: Tensor;
  /** The weighted sum. */
  readonly loss: Tensor;
}

/** The stage 1 objective. `base` is the frozen model; it may lack the rows of the new tokens. */
export function sftObjective(
  model: ReferenceModel,
  base: ReferenceModel,
  batch: SftBatch,
  options: SftObjectiveOptions,
): SftTerms {
  const rowsOf = (from: ReferenceModel): Tensor[] =>
    batch.targets.map(({ tokens, start }) =>
      slice(from.forward(tokens.slice(0, -1)).logits, 0, start - 1, tokens.length - 1),
    );
  const targets = batch.targets.flatMap(({ tokens, start }) => tokens.slice(start));
  const policyLogits = concat(rowsOf(model), 0);
  const baseLogits = concat(rowsOf(base), 0);
  const isReasoning = targets.map((token) => (token < options.oldVocabulary ? 1 : 0));

  const { queries, documents, positives, negatives, excluded } = batch.contrastive;
  const queryVectors = embeddings(model, queries);
  const documentVectors = embeddings(model, documents);
  const terms = {
    crossEntropy: crossEntropy(policyLogits, targets),
    kl: klToBase(baseLogits, policyLogits, options.oldVocabulary, isReasoning),
    infoNce: infoNce(queryVectors, documentVectors, positives, options.temperature, excluded),
    triplet: tripletMargin(
      queryVectors,
      gatherRows(documentVectors, positives),
      gatherRows(documentVectors, negatives),
      options.margin,
    ),
  };
  const { weights } = options;
  const retention = add(mul(terms.crossEntropy, weights.crossEntropy), mul(terms.kl, weights.kl));
  const alignment = add(mul(terms.infoNce, weights.infoNce), mul(terms.triplet, weights.triplet));
  return { ...terms, loss: add(retention, alignment) };
}

export interface Completion {
  /** Prompt and completion; where the completion is whole its last token is the embed token. */
  readonly tokens: readonly number[];
  /** Index of the completion's first token. */
  readonly start: number;
  readonly oldLogProbs: readonly number[];
  readonly referenceLogProbs?: readonly number[];
  readonly advantage: number;
  readonly masked?: boolean;
  /** The number of its query's positive document; none where the completion has no embedding. */
  readonly positive?: number;
  /** Per document, whether it is a false negative for this query. */
  readonly excluded?: readonly boolean[];
}

export interface GrpoBatch {
  readonly completions: readonly Completion[];
  /** The step's positives and hard negatives, each ending with the embed token. */
  readonly documents: readonly (readonly number[])[];
}

export interface GrpoObjectiveOptions extends PolicyGradientOptions {
  /** The temperature the completions were sampled at. */
  readonly samplingTemperature: number;
  readonly contrastiveWeight: number;
  /** Of InfoNCE. */
  readonly contrastiveTemperature: number;
}

export interface GrpoTerms {
  readonly policyGradient: Tensor;
  /** Mean over the embeddings of completions with a positive advantage; 0 where there is none. */
  readonly contrastive: Tensor;
  readonly loss: Tensor;
}

/** The stage 2 objective. */
export function grpoObjective(
  model: ReferenceModel,
  batch: GrpoBatch,
  options: GrpoObjectiveOptions,
): GrpoTerms {
  const policyGradient = policyGradientLoss(
    batch.completions.map((completion) => {
      const { logits } = model.forward(completion.tokens);
      const { tokens, start } = completion;
      return { ...completion, logProbs: tokenLogProbs(logits, tokens, start, options.samplingTemperature) };
    }),
    options,
  );
  const better = batch.completions.flatMap(({ positive, ...completion }) =>
    completion.advantage > 0 && positive !== undefined ? [{ ...completion, positive }] : [],
  );
  const contrastive =
    better.length === 0 || options.contrastiveWeight === 0
      ? constant(0)
      : infoNce(
          embeddings(
            model,
            better.map(({ tokens }) => tokens),
          ),
          embeddings(model, batch.documents),
          better.map(({ positive }) => positive),
          options.contrastiveTemperature,
          better.map(({ excluded }) => excluded ?? []),
        );
  return {
    policyGradient,
    contrastive,
    loss: add(policyGradient, mul(contrastive, options.contrastiveWeight)),
  };
}
