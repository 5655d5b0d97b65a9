/** Options that all stages of training share, each with its text for the guide (`.meta`). */
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
