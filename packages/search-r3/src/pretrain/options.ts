/** Options for pre-training a small model from scratch. The defaults suit the built-in world. */
import { z } from 'zod';
import { type OptimizationOptions, optimizationSchema, withDefaults } from '../sft/index.js';

const optimization = {
  learningRate: 2e-3,
  schedule: 'linear',
  warmupSteps: 100,
  finalLearningRate: 0.1,
  weightDecay: 0.05,
  betas: [0.9, 0.95],
  maxGradientNorm: 1,
  maxTokens: 8192,
  checkpointActivations: false,
} satisfies OptimizationOptions;

export const pretrainOptionsSchema = z.strictObject({
  steps: z.int().positive().default(1500),
  /** Sequences per step. */
  batchSize: z.int().positive().default(64),
  /** Longest sequence in tokens; longer text is cut into several. */
  maxLength: z.int().min(2).default(256),
  seed: z.int().default(0),
  /** InfoNCE on pairs of related texts, in addition to next-token prediction. */
  contrastive: z
    .strictObject({
      /** Pairs per step; 0 for none. */
      batchSize: z.int().nonnegative().default(0),
      /** Longest text of a pair in tokens of its whole prompt; longer text is cut. */
      maxLength: z.int().positive().default(96),
      weight: z.number().positive().default(1),
      /** Temperature of InfoNCE over cosines; the paper's tau. */
      temperature: z.number().positive().default(0.05),
    })
    .prefault({}),
  optimization: withDefaults(optimizationSchema, optimization).prefault({}),
});

export type PretrainOptions = z.input<typeof pretrainOptionsSchema>;
export type ResolvedPretrainOptions = z.output<typeof pretrainOptionsSchema>;
