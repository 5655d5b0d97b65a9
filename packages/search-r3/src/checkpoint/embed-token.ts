/** Adds to a base model the token at which it embeds. */

import type { Checkpoint } from './checkpoint.js';
import { withVocabSize } from './config.js';
import { initialToken } from './prompt-ids.js';
import { EMBED_TOKEN } from './prompts.js';
import { addRows } from './token-tables.js';

/**
 * Makes sure that the tokenizer has the embed token (that of the prompts, or `<|embed_token|>`) and that the embedding
 * has a row for it. A new token gets the row of `prompts.embedTokenInit`, or the mean of the rows in use (`addRows`). Spare rows beyond the tokenizer's
 * ids, which Qwen has, are used before the matrix grows. Changes the checkpoint in place; arrays that grow are
 * replaced.
 * @returns the token's id.
 * @throws InputError where the tokenizer lacks the token to start from.
 */
export function addEmbedToken(checkpoint: Checkpoint): number {
  const { config, tokenizer, weights, prompts } = checkpoint;
  const token = prompts?.embedToken ?? EMBED_TOKEN;
  const known = tokenizer.idOf(token);
  const used = tokenizer.vocabSize;
  if (known !== undefined) return tokenizer.addToken(token);
  const like = initialToken(tokenizer, prompts);
  const id = tokenizer.addToken(token);
  addRows(weights, { used, from: id, to: id + 1, like });
  if (id >= config.vocabSize) checkpoint.config = withVocabSize(config, id + 1);
  return id;
}
