/** Adds rows to the matrices with one row per token: the embedding, and an untied head. */
import { EMBEDDING_NAME, HEAD_NAME, type Weights, type WeightTensor } from './parameters.js';

/** Rows to add: `from` to `to` (exclusive). */
export interface AddedRows {
  from: number;
  to: number;
  /** They get the mean of so many first rows. */
  used: number;
  /** Or the values of this row. */
  like?: number | undefined;
}

/**
 * Sets rows of each matrix to the mean of those in use, or to one of them; a matrix with fewer rows grows, and its array
 * is replaced. The logit of a new token then starts out average, so the model's answers
 * hardly change until training gives the row a meaning. A random row can start with any logit (Hewitt 2021,
 * "Initializing New Word Embeddings for Pretrained Language Models").
 */
export function addRows(weights: Weights, added: AddedRows): void {
  for (const name of [EMBEDDING_NAME, HEAD_NAME]) {
    const matrix = weights.get(name);
    if (matrix !== undefined) weights.set(name, withRows(matrix, added));
  }
}

function withRows({ data, shape }: WeightTensor, { from, to, used, like }: AddedRows): WeightTensor {
  const [rows = 0, width = 0] = shape;
  const grown = new Float32Array(Math.max(rows, to) * width);
  grown.set(data);
  if (like !== undefined) {
    const row = data.subarray(like * width, (like + 1) * width);
    for (let at = from; at < to; at++) grown.set(row, at * width);
    return { data: grown, shape: [grown.length / width, width] };
  }
  for (let column = 0; column < width; column++) {
    let sum = 0;
    for (let row = 0; row < used; row++) sum += data[row * width + column] as number;
    for (let row = from; row < to; row++) grown[row * width + column] = sum / used;
  }
  return { data: grown, shape: [grown.length / width, width] };
}
