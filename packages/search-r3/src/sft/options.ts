/**
 * Options of stage 1, each with its text for the guide (`.meta`). The defaults are those of the measured recipe for the
 * built-in world.
 */
import { z } from 'zod';
import {
  matryoshkaOption,
  type OptimizationOptions,
  optimizationSchema,
  seedOption,
  tokenEmbeddings,
  withDefaults,
} from '../train/options.js';
import { reasoningSchema } from './reasoning-options.js';

const weight = z.number().nonnegative();
const positive = z.number().positive();

const optimization = {
  learningRate: 5e-4,
  schedule: 'linear',
  warmupSteps: 20,
  finalLearningRate: 0.1,
  weightDecay: 0.01,
  betas: [0.9, 0.95],
  maxGradientNorm: 1,
  maxTokens: 8192,
  checkpointActivations: false,
} satisfies OptimizationOptions;

export const sftOptionsSchema = z
  .strictObject({
    steps: z.int().positive().default(180).meta({
      description: 'Steps of stage 1.',
      when: 'Too few is better than too many: stage 2 learns from what stage 1 leaves uncertain. Stop when the validation score of `direct` stops rising.',
    }),
    batchSize: z.int().min(2).default(32).meta({
      description:
        'Queries per step, each with a positive and a hard negative. The other documents of the step are negatives too. The default shrinks to the number of queries if there are fewer.',
      when: 'Raise if you have time: more negatives make a better embedding. Memory does not grow with it; see `optimization.maxTokens`.',
    }),
    seed: seedOption,
    /** A term with the weight 0 is left out. */
    weights: z
      .strictObject({
        crossEntropy: weight.default(1).meta({
          description:
            'Weight of the cross-entropy on the reasoning targets and on ending with the embed token.',
          when: 'Raise if `embedded` is low in stage 2. At 0 the model forgets how to reason.',
        }),
        kl: weight.default(0.1).meta({
          description: 'Weight of the KL divergence from the base model on the reasoning.',
          when: 'Raise if the model reasons worse after stage 1 than the base did.',
        }),
        infoNce: weight.default(1).meta({
          description: 'Weight of InfoNCE: the positive among all documents of the step.',
          when: 'Rarely.',
        }),
        triplet: weight.default(1).meta({
          description: 'Weight of the triplet margin between the positive and the hard negative.',
          when: 'Lower if hard negatives are often relevant but unjudged.',
        }),
      })
      .refine((weights) => Object.values(weights).some((value) => value > 0), {
        message: 'expected a term with a weight above 0',
      })
      .prefault({}),
    /** The paper's tau. */
    temperature: positive.default(0.05).meta({
      description: 'Temperature of InfoNCE over cosines. Low temperatures focus on the hardest negatives.',
      when: 'Raise to 0.07 or 0.1 if judgements are noisy.',
    }),
    margin: z.number().min(0).max(2).default(0.15).meta({
      description: 'Margin of the triplet term, on cosines.',
      when: 'Rarely.',
    }),
    matryoshka: matryoshkaOption,
    reasoning: reasoningSchema,
    tokenEmbeddings,
    maxQueries: z.int().positive().optional().meta({
      description: 'Number of training queries used, drawn once.',
      when: 'Set it if the rewards of stage 2 start above 0.8, or if sampling the targets takes too long.',
      ifUnset: 'all',
    }),
    maxLength: z.int().positive().default(512).meta({
      description: 'Longest query or document, in tokens of the whole prompt; longer text is cut.',
      when: 'Lower for speed if texts are short; raise if `truncated` is high and the ends of texts matter.',
    }),
    optimization: withDefaults(optimizationSchema, optimization).prefault({}),
  })
  .refine(
    ({ weights: { kl, ...others }, reasoning }) =>
      reasoning.enabled || kl === 0 || Object.values(others).some((value) => value > 0),
    {
      path: ['weights'],
      message: 'expected a weight above 0 other than kl, which applies to the reasoning alone',
    },
  );

/** Options of stage 1 as a user writes them; docs/guides/options.md describes each. */
export type SftOptions = z.input<typeof sftOptionsSchema>;
/** Options of stage 1 with all defaults filled in. */
export type ResolvedSftOptions = z.output<typeof sftOptionsSchema>;
