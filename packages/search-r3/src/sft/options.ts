/** Options of stage 1, and those both stages share. Defaults are the measured recipe of the built-in world. */
import { z } from 'zod';

const weight = z.number().nonnegative();
const positive = z.number().positive();

/** The optimiser and the loop around it, the same for both stages. */
export const optimizationSchema = z.strictObject({
  /** Peak learning rate. */
  learningRate: positive,
  /** Shape of the learning rate after warm-up: straight or cosine to `finalLearningRate`, or unchanged. */
  schedule: z.enum(['linear', 'cosine', 'constant']),
  /** Steps of linear warm-up, at most half of all steps. */
  warmupSteps: z.int().nonnegative(),
  /** Fraction of the peak at the last step. */
  finalLearningRate: z.number().min(0).max(1),
  /** Decoupled weight decay of matrices (norms and biases have none). */
  weightDecay: weight,
  betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]),
  /** Gradients of a larger global norm are scaled down to it. */
  maxGradientNorm: positive,
  /** Padded tokens in one run of the model; a larger batch is taken in pieces with the same result. */
  maxTokens: z.int().positive(),
  /** Recompute activations per layer in the backward pass: less memory, about a third more time. */
  checkpointActivations: z.boolean(),
});

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

export type OptimizationOptions = z.infer<typeof optimizationSchema>;

/** Fills an options section from defaults, key by key. */
export function withDefaults<T extends z.ZodRawShape>(
  schema: z.ZodObject<T>,
  defaults: Record<string, unknown>,
) {
  const shape = Object.fromEntries(
    Object.entries(schema.shape).map(([key, field]) => [
      key,
      defaults[key] === undefined ? field : (field as z.ZodType).default(defaults[key]),
    ]),
  ) as unknown as { [K in keyof T]: z.ZodDefault<T[K] & z.ZodType> };
  return z.strictObject(shape);
}

/**
 * Whether training changes the token tables: all rows, or that of the embed token alone. Frozen ones keep the names a
 * model does not meet in training (docs/decisions/004), and their gradients need no memory; a small model from scratch
 * may still have its words to learn.
 */
export const tokenEmbeddings = z.enum(['frozen', 'trained']).default('frozen');

export const sftOptionsSchema = z
  .strictObject({
    steps: z.int().positive().default(180),
    /** Queries per step, each with a positive and a hard negative. */
    batchSize: z.int().min(2).default(32),
    seed: z.int().default(0),
    /** Weights of the loss terms; 0 leaves a term out. */
    weights: z
      .strictObject({
        crossEntropy: weight.default(1),
        kl: weight.default(0.1),
        infoNce: weight.default(1),
        triplet: weight.default(1),
      })
      .refine((weights) => Object.values(weights).some((value) => value > 0), {
        message: 'expected a term with a weight above 0',
      })
      .prefault({}),
    /** Temperature of InfoNCE over cosines; the paper's tau. */
    temperature: positive.default(0.05),
    /** Margin of the triplet term, on cosines. */
    margin: z.number().min(0).max(2).default(0.15),
    /** Self-distilled reasoning: targets sampled once from the base model. */
    reasoning: z
      .strictObject({
        /** Train the reasoning prompt at all. Without it the model forgets how to reason. */
        enabled: z.boolean().default(true),
        /** Weight of the contrastive terms on the embedding after the reasoning, beside those of the direct one. */
        contrastiveWeight: weight.default(1),
        /** Length limit of a target in tokens, the embed token included. */
        maxNewTokens: z.int().min(2).default(44),
        temperature: positive.default(1),
      })
      .prefault({}),
    tokenEmbeddings,
    /** Training queries used, drawn once; fewer keep stage 2's rewards from starting saturated. */
    maxQueries: z.int().positive().optional(),
    /** Longest query or document in tokens of its whole prompt; longer text is cut. */
    maxLength: z.int().positive().default(512),
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

/** Options of stage 1 as a user writes them. */
export type SftOptions = z.input<typeof sftOptionsSchema>;
/** Options of stage 1 with all defaults filled in. */
export type ResolvedSftOptions = z.output<typeof sftOptionsSchema>;
