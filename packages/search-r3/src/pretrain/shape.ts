/** The config of a model trained from scratch. */
import { type ModelConfig, newConfig } from '../checkpoint/index.js';
import type { Tokenizer } from '../tokenizer/index.js';
import type { ModelShape } from './options.js';

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
