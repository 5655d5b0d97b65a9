/**
 * Options of stage 2 (GRPO), named as other trainers name them, each with its text for the guide (`.meta`). Defaults are
 * the measured recipe.
 */
import { z } from 'zod';
import { environmentOptionsSchema } from '../environment/options.js';
import {
  contrastiveTemperature,
  matryoshkaOption,
  type OptimizationOptions,
  optimizationSchema,
  seedOption,
  tokenEmbeddings,
  withDefaults,
} from '../train/options.js';

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
    steps: z.int().positive().default(160).meta({
      description: 'Steps of stage 2.',
      when: 'Raise as long as the validation score of `reasoned` keeps rising.',
    }),
    queriesPerStep: z.int().positive().default(16).meta({
      description: 'Queries per step. The default shrinks to the number of queries if there are fewer.',
      when: 'Raise if `reward` is too noisy to show a trend over 20 steps.',
    }),
    groupSize: z
      .int()
      .min(2, 'expected a group of at least 2: advantages are relative to it')
      .default(8)
      .meta({
        description: 'Completions per query. Advantages are relative to this group.',
        when: 'Raise if `zero_variance` is high and rewards are low: one lucky completion in a group is enough to learn from.',
      }),
    seed: seedOption,
    temperature: z.number().positive().default(1).meta({
      description:
        'Sampling temperature of the rollouts. The log-probabilities in the loss use the same one.',
      when: 'Raise a little if the completions of a group are all similar; lower if they are nonsense.',
    }),
    maxNewTokens: z.int().min(2).default(44).meta({
      description: 'Length limit of a completion, including the embed token.',
      when: 'Raise if `truncated` is high: a cut completion earns 0. At least `sft.reasoning.maxNewTokens`, preferably twice that.',
    }),
    maxLength: z.int().positive().default(512).meta({
      description: 'Longest prompt in tokens; longer queries and documents are cut.',
      when: 'Lower for speed if texts are short.',
    }),
    lossNormalization: z.enum(['dapo', 'dr_grpo', 'grpo']).default('dapo').meta({
      description:
        'How token losses are averaged: over all tokens of the step (`dapo`), over a fixed length (`dr_grpo`), or within each completion first (`grpo`).',
      when: 'Rarely. `grpo` favours short good completions and long bad ones.',
    }),
    advantageScaling: z.enum(['group', 'batch', 'none']).default('group').meta({
      description:
        'What advantages are divided by: the standard deviation of the `group` or of the `batch`, or nothing (`none`).',
      when: '`none` or `batch` if groups with nearly equal rewards make the updates noisy.',
    }),
    clipLow: z.number().min(0).lt(1).default(0.2).meta({
      description: 'Clip the probability ratio from below at 1 - clipLow.',
      when: 'Matters only with `numIterations` above 1.',
    }),
    clipHigh: weight.default(0.2).meta({
      description: 'Clip the probability ratio from above at 1 + clipHigh.',
      when: 'As for `clipLow`; raise it above `clipLow` if completions become too similar.',
    }),
    /** The estimator k3. */
    beta: weight.default(0).meta({
      description: 'Weight of the KL penalty to the model that stage 2 starts from; 0 keeps no copy of it.',
      when: 'Raise to between 0.001 and 0.04 if the reasoning drifts into meaningless text that earns rewards.',
    }),
    tokenEmbeddings,
    numIterations: z.int().positive().default(1).meta({
      description: 'Updates per batch of rollouts.',
      when: '2 or more if sampling is much slower than the update; watch `clip_ratio`.',
    }),
    importanceCap: z.number().min(1).default(2).meta({
      description:
        'Where rollouts are sampled in other arithmetic than the trainer computes in (an int8 base), each token counts by the ratio of both probabilities, at most so much.',
      when: 'Lower if a warning says that the two are far apart; 1 never counts a token more than once.',
    }),
    policyWeight: weight.default(1).meta({
      description: 'Weight of the policy gradient, which trains the reasoning.',
      when: '0 trains with the contrastive term alone, for comparison.',
    }),
    contrastive: z
      .strictObject({
        weight: weight.default(0.3).meta({
          description:
            'Weight of the contrastive term, which trains the embedding. It covers the rollouts that beat their group.',
          when: 'Lower if `direct` falls in stage 2. At 0 stage 2 learns much more slowly.',
        }),
        temperature: contrastiveTemperature,
        matryoshka: matryoshkaOption,
      })
      .prefault({}),
    maskTruncated: z.boolean().default(false).meta({
      description: "Leave cut completions out of the loss; they still count in their group's baseline.",
      when: 'Switch on if `truncated` is high and you cannot raise `maxNewTokens`.',
    }),
    resampleRounds: z.int().nonnegative().default(0).meta({
      description:
        'Replace zero-variance groups (all rewards equal) with other queries, at most this many times.',
      when: 'Set to 1 or 2 if `zero_variance` is above a half. A step takes up to that many times longer.',
    }),
    reward: z
      .strictObject({
        cut: z.int().positive().optional().meta({
          description: 'Only ranks up to this one earn a reward.',
          when: 'Set to 10 or 100 once most ranks are good; if set too early, it leaves too many rewards at 0.',
          ifUnset: 'all',
        }),
        tokenCost: weight.default(0).meta({
          description: 'Amount subtracted from the reward per token of reasoning.',
          when: 'Set to a small value (0.001) if `completion_length` grows and the score does not.',
        }),
      })
      .prefault({}),
    /** What ranks the corpus. */
    environment: environmentOptionsSchema,
    auditEvery: z.int().nonnegative().default(0).meta({
      description:
        'Steps between audits of the environment; 0 for none. The exact environment has no error to audit.',
      when: 'Set it if the environment does not encode everything at each step.',
    }),
    optimization: withDefaults(optimizationSchema, optimization).prefault({}),
  })
  .refine(({ policyWeight, contrastive }) => policyWeight > 0 || contrastive.weight > 0, {
    path: ['policyWeight'],
    message: 'expected a policy gradient or a contrastive term with a weight above 0',
  });

/** Options of stage 2 as a user writes them; docs/guides/options.md describes each. */
export type RlOptions = z.input<typeof rlOptionsSchema>;
/** Options of stage 2 with all defaults filled in. */
export type ResolvedRlOptions = z.output<typeof rlOptionsSchema>;
