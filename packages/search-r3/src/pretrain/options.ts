/**
 * Options for pre-training a small model from scratch, and its shape, each with its text for the guide (`.meta`). The
 * defaults suit the built-in world.
 */
import { z } from 'zod';
import {
  contrastiveTemperature,
  type OptimizationOptions,
  optimizationSchema,
  seedOption,
  withDefaults,
} from '../train/options.js';

const count = z.int().positive();

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
  steps: count.default(1500).meta({
    description: 'Steps of pre-training.',
    when: 'Raise: a base that knows more reasons better, and this is the cheapest stage.',
  }),
  batchSize: count.default(64).meta({
    description:
      'Sequences per step, each from a different document. The default shrinks to the number of documents if there are fewer.',
    when: 'Raise if `loss` is noisy.',
  }),
  maxLength: z.int().min(2).default(256).meta({
    description: 'Longest sequence in tokens; longer text is split.',
    when: 'Set it to the length of your documents; at most `model.maxPositions`.',
  }),
  seed: seedOption,
  contrastive: z
    .strictObject({
      batchSize: z.int().nonnegative().default(0).meta({
        description:
          'Pairs of related texts per step. InfoNCE pulls each pair together, in addition to next-token training; 0 for none.',
        when: 'Set it if there are few training queries: the base then learns to embed before stage 1.',
      }),
      maxLength: count.default(96).meta({
        description: 'Longest text of a pair, in tokens of the whole prompt; longer text is cut.',
        when: 'Set it to the length of your documents.',
      }),
      weight: z.number().positive().default(1).meta({
        description: 'Weight of the contrastive term, relative to the next-token loss.',
        when: 'Rarely.',
      }),
      temperature: contrastiveTemperature,
    })
    .prefault({}),
  optimization: withDefaults(optimizationSchema, optimization).prefault({}),
});

/** Options of pre-training as a user writes them; docs/guides/options.md describes each. */
export type PretrainOptions = z.input<typeof pretrainOptionsSchema>;
/** Options of pre-training with all defaults filled in. */
export type ResolvedPretrainOptions = z.output<typeof pretrainOptionsSchema>;

/** The shape of a model trained from scratch. */
export const modelShapeSchema = z
  .strictObject({
    hiddenSize: count.default(192).meta({
      description: 'Width of the model and length of its vectors; a multiple of 8 x `heads`.',
      when: 'Raise with the size of the collection.',
    }),
    intermediateSize: count.default(512).meta({
      description: 'Width of the feed-forward layers.',
      when: 'About 2.7 times `hiddenSize`.',
    }),
    layers: count.default(4).meta({
      description: 'Number of layers.',
      when: 'Raise if queries need several steps of reasoning.',
    }),
    heads: count.default(6).meta({
      description: 'Number of attention heads.',
      when: 'Change it with `hiddenSize`.',
    }),
    kvHeads: count.optional().meta({
      description: 'Number of key/value heads.',
      when: 'Rarely.',
      ifUnset: '`heads`',
    }),
    maxPositions: z.int().min(8).default(256).meta({
      description: 'Longest sequence in tokens, including reasoning.',
      when: 'Raise if documents are cut.',
    }),
    tied: z.boolean().default(true).meta({
      description: 'The token embedding and the output head share their weights.',
      when: 'Rarely.',
    }),
  })
  .refine(({ hiddenSize, heads }) => hiddenSize % (8 * heads) === 0, {
    path: ['hiddenSize'],
    message: 'expected a multiple of eight times the number of heads, for generation',
  })
  .refine(({ heads, kvHeads = heads }) => heads % kvHeads === 0, {
    path: ['kvHeads'],
    message: 'expected a divisor of the number of heads',
  });

export type ModelShape = z.output<typeof modelShapeSchema>;
