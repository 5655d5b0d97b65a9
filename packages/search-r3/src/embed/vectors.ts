/** Vectors that become one. */
import { embeddingOf } from '../decoder/index.js';
import type { EmbedFusion } from './request.js';

/** The mean of unit vectors, scaled to length 1. */
export function meanOf(vectors: readonly Float32Array[]): Float32Array {
  const [first, ...others] = vectors;
  if (first === undefined) throw new RangeError('meanOf: expected a vector, found none');
  if (others.length === 0) return first;
  const sum = first.map((value, i) =>
    others.reduce((partial, other) => partial + (other[i] as number), value),
  );
  return embeddingOf(sum);
}

/** `weight` of the direct vector and the rest of the reasoned one, both of unit length, scaled to length 1. */
export function fuseDirect(direct: Float32Array, reasoned: Float32Array, weight: number): Float32Array {
  return embeddingOf(direct.map((value, i) => weight * value + (1 - weight) * (reasoned[i] as number)));
}

/**
 * @param direct needed by `direct+mean`.
 * @param weight the share of `direct` there.
 */
export function fuseVectors(
  samples: readonly Float32Array[],
  direct: Float32Array | undefined,
  fusion: EmbedFusion,
  weight: number,
): Float32Array {
  const mean = meanOf(samples);
  switch (fusion) {
    case 'mean':
      return mean;
    case 'direct+mean':
      if (direct === undefined) throw new Error('internal: no direct embedding to fuse with');
      return fuseDirect(direct, mean, weight);
    default:
      return fusion satisfies never;
  }
}
