/** Giving a base model the token at which it embeds. */
import type { Checkpoint } from './checkpoint.js';
import { withVocabSize } from './config.js';
import { EMBEDDING_NAME, HEAD_NAME, type WeightTensor } from './parameters.js';
import { EMBED_TOKEN } from './prompts.js';

/**
 * Makes sure that the tokenizer has the embed token (the prompts' own, else `<|embed_token|>`) and the embedding a row
 * for it. A token that is new gets the mean of the rows in use, in an untied head too: its logit then starts as an
 * average one, so that the model's answers hardly change until training gives the row a meaning, where a random row
 * can start with any logit (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models"). Rows beyond the tokenizer's
 * ids, which Qwen has to spare, are taken before the matrix grows. The checkpoint is changed in place; arrays that grow
 * are replaced.
 * @returns the token's id.
 */
export function addEmbedToken(checkpoint: Checkpoint): number {
  const { config, tokenizer, weights, prompts } = checkpoint;
  const token = prompts?.embedToken ?? EMBED_TOKEN;
  const known = tokenizer.idOf(token);
  const used = tokenizer.vocabSize;
  const id = tokenizer.addToken(token);
  if (known !== undefined) return id;
  for (const name of [EMBEDDING_NAME, HEAD_NAME]) {
    const matrix = weights.get(name);
    if (matrix !== undefined) weights.set(name, withMeanRow(matrix, id, used));
  }
  if (id >= config.vocabSize) checkpoint.config = withVocabSize(config, id + 1);
  return id;
}

/** The matrix with row `row` set to the mean of the first `used` ones, one row longer where it has no such row. */
function withMeanRow({ data, shape }: WeightTensor, row: number, used: number): WeightTensor {
  const [rows = 0, width = 0] = shape;
  const grown = new Float32Array(Math.max(rows, row + 1) * width);
  grown.set(data);
  for (let column = 0; column < width; column++) {
    let sum = 0;
    for (let i = 0; i < used; i++) sum += data[i * width + column] as number;
    grown[row * width + column] = sum / used;
  }
  return { data: grown, shape: [grown.length / width, width] };
}
