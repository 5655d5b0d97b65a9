/**
 * Direct and reasoned vectors of the same queries as one: the sum of both, each of unit length, with a share for the
 * reasoned one. Reasoning that is wrong then costs less than it would alone.
 */

import { fuseDirect } from '../embed/vectors.js';
import { FUSION_SHARES } from './fusion.js';

/** What a query was embedded as. */
type Row = Readonly<{ vector: Float32Array }>;

/** Rows [queries, dimension] of unit length. @param share of the reasoned vectors, 0 to 1. */
export function fuseQueryVectors(
  direct: readonly Row[],
  reasoned: readonly Row[],
  share: number,
): Float32Array {
  const width = direct[0]?.vector.length ?? 0;
  const fused = new Float32Array(direct.length * width);
  for (const [query, { vector }] of direct.entries()) {
    const other = reasoned[query]?.vector ?? new Float32Array(width);
    fused.set(fuseDirect(vector, other, 1 - share), query * width);
  }
  return fused;
}

/** The share with the highest score; the smallest of equally good ones. */
export async function bestShare(score: (share: number) => Promise<number>): Promise<number> {
  let best = { share: 0, score: Number.NEGATIVE_INFINITY };
  for (const share of FUSION_SHARES) {
    const found = await score(share);
    if (found > best.score) best = { share, score: found };
  }
  return best.share;
}
