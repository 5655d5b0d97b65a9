/** Float64 references of attention and rotary embedding, written over indices. */
import { at, sumOver, type Tensor, tabulate } from './tensor.js';

export interface AttentionSizes {
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Default 1 / sqrt(headDim). */
  scale?: number;
}

/**
 * softmax(scale q k' + bias) v: q [batch, queries, heads * headDim], k and v [batch, keys, kvHeads * headDim]; `bias`
 * gives the additive term of (row, query, key). Query head h reads key/value head floor(h / (heads / kvHeads)).
 */
export function referenceAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  bias: (row: number, query: number, key: number) => number,
  { heads, kvHeads, headDim, scale = 1 / Math.sqrt(headDim) }: AttentionSizes,
): Tensor {
  const keys = k.shape[1] as number;
  const weights = new Map<string, readonly number[]>();
  const probabilities = (row: number, query: number, head: number): readonly number[] => {
    const name = `${row} ${query} ${head}`;
    const known = weights.get(name);
    if (known !== undefined) return known;
    const kvHead = Math.floor((head * kvHeads) / heads);
    const scores = Array.from(
      { length: keys },
      (_, key) =>
        bias(row, query, key) +
        scale *
          sumOver(
            headDim,
            (i) => at(q, row, query, head * headDim + i) * at(k, row, key, kvHead * headDim + i),
          ),
    );
    const highest = Math.max(...scores);
    const total = sumOver(keys, (key) => Math.exp((scores[key] as number) - highest));
    const result = scores.map((score) => Math.exp(score - highest) / total);
    weights.set(name, result);
    return result;
  };
  return tabulate(q.shape, (row, query, column) => {
    const head = Math.floor((column as number) / headDim);
    const kvColumn = Math.floor((head * kvHeads) / heads) * headDim + ((column as number) % headDim);
    const p = probabilities(row as number, query as number, head);
    return sumOver(keys, (key) => (p[key] as number) * at(v, row as number, key, kvColumn));
  });
}

/**
 * Each head's first half (x1) and second half (x2) become x1 cos - x2 sin and x2 cos + x1 sin; tables
 * [positions, headDim / 2], read at `position(row, token)`.
 */
export function referenceRotary(
  x: Tensor,
  position: (row: number, token: number) => number,
  cos: Tensor,
  sin: Tensor,
): Tensor {
  const half = cos.shape[1] as number;
  return tabulate(x.shape, (row, token, column) => {
    const i = (column as number) % (2 * half);
    const p = position(row as number, token as number);
    const c = at(cos, p, i % half);
    const s = at(sin, p, i % half);
    const own = at(x, row as number, token as number, column as number);
    const other = at(x, row as number, token as number, (column as number) + (i < half ? half : -half));
    return own * c + (i < half ? -other : other) * s;
  });
}
