/** Options that all stages of training share, each with its text for the guide (`.meta`). */
import { z } from 'zod';
import { LINEAR_KINDS } from '../checkpoint/lora.js';

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

/** Lengths of Matryoshka embeddings, as a setting of a stage. */
export const matryoshkaOption = z
  .array(z.int().positive())
  .refine((lengths) => new Set(lengths).size === lengths.length, { message: 'expected different lengths' })
  .optional()
  .meta({
    description:
      'Shorter lengths at which vectors are to be good too, such as `[256, 128, 64]`: the contrastive terms are the mean over them and the whole length. Requests may then ask for vectors of these lengths.',
    when: 'Set it to save memory and time in a large index.',
    ifUnset: 'those that the model was trained with before, or none',
  });

/** Frozen token tables: docs/decisions/004. */
export const tokenEmbeddings = z.enum(['frozen', 'trained']).default('frozen').meta({
  description:
    'Which rows of the token tables training changes: all (`trained`), or only the row of the embed token (`frozen`).',
  when: '`trained` for a small model from scratch that still has to learn its words. `frozen` preserves names that training does not mention, and saves memory.',
});

/** An adapter in place of all weights (LoRA, Hu et al. 2021, arXiv 2106.09685). */
export const loraSchema = z.strictObject({
  rank: z.int().positive().default(16).meta({
    description: 'Inner size of the matrix pairs.',
    when: 'Raise if the training loss stays above that of full training.',
  }),
  alpha: positive.default(32).meta({
    description: 'Scale of the adapter: its product counts alpha / rank times.',
    when: 'Keep it at twice the rank.',
  }),
  rsLora: z
    .boolean()
    .default(false)
    .meta({ description: 'Scale by alpha / sqrt(rank) instead.', when: 'Switch on for ranks above 64.' }),
  dropout: z.number().min(0).lt(1).default(0).meta({
    description: 'Share of what the pairs read that is left out at random in training.',
    when: 'Try 0.05 to 0.1 if validation falls while the training loss still does.',
  }),
  targets: z
    .array(z.enum(LINEAR_KINDS))
    .nonempty()
    .default([...LINEAR_KINDS])
    .meta({
      description: 'Linear layers that get a pair.',
      when: 'Leave out those of the feed-forward network for a smaller adapter.',
    }),
  base: z.enum(['auto', 'f32', 'int8']).default('auto').meta({
    description:
      'How the frozen base computes: f32, int8 (a quarter of the memory and about twice as fast), or auto: int8 for 50 million parameters or more if its vectors stay close, else f32.',
    when: '`f32` to compare, or if training on int8 learns worse.',
  }),
  rollouts: z.enum(['base', 'int8', 'f32']).default('base').meta({
    description:
      'How the model samples, and encodes the documents of stage 2: as its base is trained, or in a precision of its own. `rl.importanceCap` corrects for the difference.',
    when: '`int8` for speed with a base in f32.',
  }),
});

export type LoraOptions = z.output<typeof loraSchema>;

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
