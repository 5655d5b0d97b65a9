/**
 * Options of stage 1, and those that all stages share, each with its text for the guide (`.meta`). Defaults are the
 * measured recipe of the built-in world.
 */
import { z } from 'zod';

const weight = z.number().nonnegative();
const positive = z.number().positive();

/** The seed of a stage, or of a whole run. */
export const seedOption = z.int().default(0).meta({
  description: 'Seed of all random choices.',
  when: 'Change it to see how much of a difference is chance.',
});

/** Of InfoNCE over cosines (the paper's tau), where it is beside another loss. */
export const contrastiveTemperature = positive.default(0.05).meta({
  description: 'Temperature of the contrastive term.',
  when: 'Change it with `sft.temperature`.',
});

/** Frozen token tables: docs/decisions/004. */
export const tokenEmbeddings = z.enum(['frozen', 'trained']).default('frozen').meta({
  description:
    'Which rows of the token tables training changes: all (`trained`), or only the row of the embed token (`frozen`).',
  when: '`trained` for a small model from scratch that still has to learn its words. `frozen` preserves names that training does not mention, and saves memory.',
});

/** The optimiser and the loop around it, the same for all stages. */
export const optimizationSchema = z.strictObject({
  learningRate: positive.meta({
    description: 'Peak learning rate of AdamW.',
    when: 'Try this first. Lower it by 10 to 100 times for a base of half a billion parameters or more; raise it for a very small model.',
  }),
  schedule: z.enum(['linear', 'cosine', 'constant']).meta({
    description: 'Shape after warm-up: a straight line or a cosine down to `finalLearningRate`, or constant.',
    when: 'Rarely. Use `constant` if you may raise `steps` when you resume.',
  }),
  warmupSteps: z.int().nonnegative().meta({
    description: 'Steps in which the learning rate rises from 0; at most half of all steps.',
    when: 'Raise if the loss jumps in the first steps; lower for a short trial.',
  }),
  finalLearningRate: z.number().min(0).max(1).meta({
    description: 'Learning rate at the last step, as a fraction of the peak.',
    when: 'Rarely.',
  }),
  weightDecay: weight.meta({
    description: 'Decoupled weight decay of matrices; norms and biases have none.',
    when: 'Raise if the training loss falls and the validation score does not rise.',
  }),
  betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]).meta({
    description: 'Decay rates of the two moments of AdamW.',
    when: 'Rarely.',
  }),
  maxGradientNorm: positive.meta({
    description: 'Gradients with a larger global norm are scaled down to this norm.',
    when: 'Lower if the loss gets worse after spikes in `gradient_norm`.',
  }),
  maxTokens: z.int().positive().meta({
    description:
      'Maximum number of tokens, including padding, in one pass through the model. A larger batch is split into pieces, with the same result.',
    when: 'Lower if memory runs out. The result does not change.',
  }),
  checkpointActivations: z.boolean().meta({
    description:
      'Recompute activations per layer in the backward pass: less memory, about a third more time.',
    when: 'Switch on if memory runs out even with the smallest `maxTokens`.',
  }),
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
    /** Self-distilled reasoning: targets sampled from the base model. */
    reasoning: z
      .strictObject({
        enabled: z.boolean().default(true).meta({
          description: "Also train on the base model's own reasoning.",
          when: '`false` only for a model that should embed directly: without reasoning targets it forgets how to reason.',
        }),
        contrastiveWeight: weight.default(1).meta({
          description:
            'Weight of the contrastive terms on the embedding after reasoning, relative to those on the direct one.',
          when: 'Lower if `direct` matters more to you than `reasoned`.',
        }),
        maxNewTokens: z.int().min(2).default(44).meta({
          description: 'Length limit of a reasoning target in tokens, including the embed token.',
          when: "Set it to the length of your base model's reasoning, up to 256 for a real model. At most `rl.maxNewTokens`.",
        }),
        temperature: positive.default(1).meta({
          description: 'Sampling temperature of the targets.',
          when: 'Rarely.',
        }),
      })
      .prefault({}),
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
