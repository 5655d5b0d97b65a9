/** Adds to a base model the token at which it embeds. */
import type { Checkpoint } from './checkpoint.js';
import { withVocabSize } from './config.js';
import { EMBED_TOKEN } from './prompts.js';
import { addMeanRows } from './token-tables.js';

/**
 * Makes sure that the tokenizer has the embed token (that of the prompts, or `<|embed_token|>`) and that the embedding
 * has a row for it. A new token gets the mean of the rows in use (`addMeanRows`). Spare rows beyond the tokenizer's
 * ids, which Qwen has, are used before the matrix grows. Changes the checkpoint in place; arrays that grow are
 * replaced.
 * @returns the token's id.
 */
export function addEmbedToken(checkpoint: Checkpoint): number {
  const { config, tokenizer, weights, prompts } = checkpoint;
  const token = prompts?.embedToken ?? EMBED_TOKEN;
  const known = tokenizer.idOf(token);
  const used = tokenizer.vocabSize;
  const id = tokenizer.addToken(token);
  if (known !== undefined) return id;
  addMeanRows(weights, used, id, id + 1);
  if (id >= config.vocabSize) checkpoint.config = withVocabSize(config, id + 1);
  return id;
}
