/** Seeded numbers for the optimiser's tests (mulberry32), spread over several orders of magnitude. */
export function randomTensor(seed: number, length: number, size = 1): Float32Array {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return Float32Array.from({ length }, () => size * (uniform() - 0.5) * 10 ** (-3 * uniform()));
}

/** Tensor lengths below a vector, across a chunk boundary and with a ragged end. */
export const LENGTHS: readonly (readonly [string, number])[] = [
  ['one', 1],
  ['three', 3],
  ['bias', 4097],
  ['matrix', 70001],
];

/** |a - b| / |b| over all elements. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < b.length; i++) {
    difference += ((a[i] as number) - (b[i] as number)) ** 2;
    size += (b[i] as number) ** 2;
  }
  return Math.sqrt(difference / size);
}
