/** The shape of a model trained from scratch. The defaults suit the built-in world. */
import { z } from 'zod';
import { type ModelConfig, newConfig } from '../checkpoint/index.js';
import type { Tokenizer } from '../tokenizer/index.js';

const count = z.int().positive();

export const modelShapeSchema = z
  .strictObject({
    hiddenSize: count.default(192),
    intermediateSize: count.default(512),
    layers: count.default(4),
    heads: count.default(6),
    /** Key and value heads. Default: `heads`. */
    kvHeads: count.optional(),
    /** Longest sequence, in tokens. */
    maxPositions: z.int().min(8).default(256),
    /** Embedding and head share their weights. Default true. */
    tied: z.boolean().default(true),
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

/** A Qwen2 of this shape, with as many rows as the tokenizer has ids. */
export function scratchConfig(tokenizer: Tokenizer, shape: ModelShape): ModelConfig {
  const { kvHeads = shape.heads, tied, ...rest } = shape;
  return newConfig({
    architecture: 'qwen2',
    vocabSize: tokenizer.vocabSize,
    ...rest,
    kvHeads,
    tieWordEmbeddings: tied,
    eosIds: tokenizer.eosId === undefined ? [] : [tokenizer.eosId],
    padId: tokenizer.padId ?? null,
  });
}
