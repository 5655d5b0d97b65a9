/**
 * Small models and uneven batches on which the reference implementation is checked and to which engines can be held:
 * two layers, four query heads on two key-value heads, 22 old tokens and the embed token, sequences of 3 to 9 tokens.
 */
import { randomStream } from 'search-r3/run';
import { type DecoderConfig, randomWeights, type Weight } from './decoder.js';
import { tokenLogProbs } from './losses.js';
import type {
  GrpoBatch,
  GrpoObjectiveOptions,
  ReferenceModel,
  SftBatch,
  SftObjectiveOptions,
} from './objectives.js';

export const OLD_VOCABULARY = 22;
export const EMBED_TOKEN = 22;

const SHARED = {
  vocabSize: OLD_VOCABULARY + 1,
  hiddenSize: 16,
  intermediateSize: 20,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  rmsNormEps: 1e-5,
} as const;

/** Between them: rope scaling, every bias with and without, norms on q and k, a head width that is not hidden / heads, tied and untied. */
export const TINY_CONFIGS: readonly DecoderConfig[] = [
  {
    ...SHARED,
    architecture: 'llama',
    headDim: 8,
    ropeTheta: 500,
    // Short enough for the four frequencies to fall into all three bands of the scaling.
    ropeScaling: { type: 'llama3', factor: 4, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPosition: 48 },
    tieWordEmbeddings: false,
    attentionBias: false,
    outputBias: false,
    mlpBias: true,
    qkNorm: false,
  },
  {
    ...SHARED,
    architecture: 'qwen2',
    headDim: 4,
    ropeTheta: 10_000,
    ropeScaling: null,
    tieWordEmbeddings: true,
    attentionBias: true,
    outputBias: false,
    mlpBias: false,
    qkNorm: false,
  },
  {
    ...SHARED,
    architecture: 'qwen3',
    headDim: 6,
    ropeTheta: 1_000,
    ropeScaling: null,
    tieWordEmbeddings: false,
    attentionBias: true,
    outputBias: true,
    mlpBias: false,
    qkNorm: true,
  },
];

/** Random weights, exact in float32; `label` gives others. */
export function tinyWeights(config: DecoderConfig, label = 'weights'): Map<string, Weight> {
  const random = randomStream(11, label, config.architecture);
  return randomWeights(config, () => random.normal());
}

const words = (random: ReturnType<typeof randomStream>, length: number): number[] =>
  Array.from({ length }, () => random.integer(OLD_VOCABULARY));

/** Step `step` of a stage 1 training: three reasoning targets, five queries (two reasoned), four documents. */
export function tinySftBatch(step = 0): SftBatch {
  const random = randomStream(12, 'sft', step);
  const targets = [
    { tokens: [...words(random, 6), EMBED_TOKEN], start: 3 },
    { tokens: [...words(random, 8), EMBED_TOKEN], start: 2 },
    { tokens: [...words(random, 3), EMBED_TOKEN], start: 3 },
  ];
  const sequences = (lengths: number[]) => lengths.map((n) => [...words(random, n - 1), EMBED_TOKEN]);
  return {
    targets,
    contrastive: {
      queries: [...sequences([4, 7, 3]), targets[0]!.tokens, targets[1]!.tokens],
      documents: sequences([5, 9, 3, 6]),
      positives: [0, 1, 0, 0, 1],
      negatives: [2, 3, 3, 2, 3],
      // Document 1 also answers query 2, document 2 also query 4.
      excluded: [0, 1, 2, 3, 4].map((q) =>
        [0, 1, 2, 3].map((d) => (q === 2 && d === 1) || (q === 4 && d === 2)),
      ),
    },
  };
}

/** The default weights; a temperature and a margin at which every term has a gradient on the tiny models. */
export const TINY_SFT_OPTIONS: SftObjectiveOptions = {
  weights: { crossEntropy: 1, kl: 0.1, infoNce: 1, triplet: 1 },
  temperature: 0.2,
  margin: 0.4,
  oldVocabulary: OLD_VOCABULARY,
};

export const TINY_GRPO_OPTIONS: GrpoObjectiveOptions = {
  epsilonLow: 0.2,
  epsilonHigh: 0.28,
  beta: 0.04,
  normalisation: 'dapo',
  maxCompletionLength: 6,
  samplingTemperature: 0.7,
  contrastiveWeight: 0.3,
  contrastiveTemperature: 0.1,
};

/**
 * Step `step` of a stage 2 training: two groups of three completions of uneven length, one truncated and masked, one
 * without reasoning. Sampled and reference log-probabilities scatter around those of `model` (the weights training
 * starts from), so that some ratios are clipped on either side.
 */
export function tinyGrpoBatch(model: ReferenceModel, step = 0): GrpoBatch {
  const random = randomStream(13, 'grpo', step);
  const prompts = [words(random, 3), words(random, 2)];
  const shapes = [
    { prompt: 0, length: 4, advantage: 1.1, positive: 0 },
    { prompt: 0, length: 6, advantage: -0.7, positive: 0 },
    { prompt: 0, length: 1, advantage: 0.3, positive: 0, excluded: [false, false, true] },
    { prompt: 1, length: 5, advantage: 0.9, positive: 1 },
    { prompt: 1, length: 6, advantage: -0.6, masked: true },
    { prompt: 1, length: 2, advantage: 0, positive: 1 },
  ];
  return {
    completions: shapes.map(({ prompt, length, masked, ...rest }) => {
      const completion = words(random, length).with(
        -1,
        masked ? random.integer(OLD_VOCABULARY) : EMBED_TOKEN,
      );
      const tokens = [...prompts[prompt]!, ...completion];
      const start = prompts[prompt]!.length;
      const { samplingTemperature } = TINY_GRPO_OPTIONS;
      const own = tokenLogProbs(model.forward(tokens).logits, tokens, start, samplingTemperature).data;
      const scattered = () => Array.from(own, (value) => value + 0.3 * random.normal());
      return {
        tokens,
        start,
        oldLogProbs: scattered(),
        referenceLogProbs: scattered(),
        masked: masked ?? false,
        ...rest,
      };
    }),
    documents: [5, 3, 8].map((n) => [...words(random, n - 1), EMBED_TOKEN]),
  };
}
