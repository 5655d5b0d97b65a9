/** Options of stage 2 (GRPO), named as other trainers name them. Defaults are the measured recipe. */
import { z } from 'zod';
import { environmentOptionsSchema } from '../environment/index.js';
import { type OptimizationOptions, optimizationSchema, tokenEmbeddings, withDefaults } from '../sft/index.js';

const weight = z.number().nonnegative();

const optimization = {
  learningRate: 2e-4,
  schedule: 'constant',
  warmupSteps: 0,
  finalLearningRate: 1,
  weightDecay: 0,
  betas: [0.9, 0.95],
  maxGradientNorm: 1,
  maxTokens: 8192,
  checkpointActivations: false,
} satisfies OptimizationOptions;

export const rlOptionsSchema = z
  .strictObject({
    steps: z.int().positive().default(160),
    /** Queries per step. */
    queriesPerStep: z.int().positive().default(16),
    /** Completions per query: the group that advantages are relative to. */
    groupSize: z.int().min(2, 'expected a group of at least 2: advantages are relative to it').default(8),
    seed: z.int().default(0),
    /** Sampling temperature of the rollouts; the log-probabilities of the loss are at the same one. */
    temperature: z.number().positive().default(1),
    /** Length limit of a completion, the embed token included. */
    maxNewTokens: z.int().min(2).default(44),
    /** Longest prompt in tokens; longer queries are cut. */
    maxLength: z.int().positive().default(512),
    /** How token losses become one number. */
    lossNormalization: z.enum(['dapo', 'dr_grpo', 'grpo']).default('dapo'),
    /** What advantages are divided by. */
    advantageScaling: z.enum(['group', 'batch', 'none']).default('group'),
    /** The ratio is clipped to [1 - clipLow, 1 + clipHigh]. */
    clipLow: z.number().min(0).lt(1).default(0.2),
    clipHigh: weight.default(0.2),
    /** Weight of the KL penalty (k3) to the model that stage 2 starts from; 0 keeps no reference. */
    beta: weight.default(0),
    tokenEmbeddings,
    /** Updates per batch of rollouts. */
    numIterations: z.int().positive().default(1),
    /** Weight of the policy gradient; 0 leaves the contrastive term alone. */
    policyWeight: weight.default(1),
    /** The contrastive term on the rollouts' embeddings with a positive advantage. */
    contrastive: z
      .strictObject({
        weight: weight.default(0.3),
        /** Temperature of InfoNCE over cosines; the paper's tau. */
        temperature: z.number().positive().default(0.05),
      })
      .prefault({}),
    /** Leave completions cut at the length limit out of the loss (they stay in their group's baseline). */
    maskTruncated: z.boolean().default(false),
    /** Draw further queries, this many times at most, where zero-variance groups leave fewer than wanted. */
    resampleRounds: z.int().nonnegative().default(0),
    reward: z
      .strictObject({
        /** Only ranks up to this earn a reward. Default all. */
        cut: z.int().positive().optional(),
        /** Taken off the reward per token of reasoning. */
        tokenCost: weight.default(0),
      })
      .prefault({}),
    /** What ranks the corpus: exact, or with few documents encoded per step. */
    environment: environmentOptionsSchema,
    /** Steps between audits of the environment; 0 never. */
    auditEvery: z.int().nonnegative().default(0),
    optimization: withDefaults(optimizationSchema, optimization).prefault({}),
  })
  .refine(({ policyWeight, contrastive }) => policyWeight > 0 || contrastive.weight > 0, {
    path: ['policyWeight'],
    message: 'expected a policy gradient or a contrastive term with a weight above 0',
  });

/** Options of stage 2 as a user writes them. */
export type RlOptions = z.input<typeof rlOptionsSchema>;
/** Options of stage 2 with all defaults filled in. */
export type ResolvedRlOptions = z.output<typeof rlOptionsSchema>;
