/**
 * Seeded random streams. A seed and labels name a stream, for example `randomStream(7, 'rollout', step)`, so that a
 * resumed run draws the same numbers at the same step without saved generator state.
 */
import { createHash } from 'node:crypto';
import { xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus';

export interface RandomStream {
  /** Uniform in [0, 1) with 53 bits. */
  uniform(): number;
  /** Uniform integer in [0, n). */
  integer(n: number): number;
  /** Standard normal (Box-Muller). */
  normal(): number;
  /** One element, uniformly. Throws RangeError on an empty list. */
  choice<T>(items: readonly T[]): T;
  /** A shuffled copy (Fisher-Yates). */
  shuffle<T>(items: readonly T[]): T[];
  /** `n` distinct elements in random order; all of them, shuffled, if `n` exceeds the length. */
  sample<T>(items: readonly T[], n: number): T[];
}

/** A deterministic stream for `seed` and `labels`; different labels give independent streams. */
export function randomStream(seed: number, ...labels: (string | number)[]): RandomStream {
  const digest = createHash('sha256')
    .update(JSON.stringify([seed, ...labels]))
    .digest();
  const generator = xoroshiro128plusFromState([0, 4, 8, 12].map((offset) => digest.readInt32LE(offset)));
  const next32 = () => generator.next() >>> 0;
  const uniform = () => ((next32() >>> 5) * 67108864 + (next32() >>> 6)) / 9007199254740992;
  const integer = (n: number) => Math.floor(uniform() * n);
  const shuffle = <T>(items: readonly T[]): T[] => {
    const copy = items.slice();
    for (let i = copy.length - 1; i > 0; i--) {
      const j = integer(i + 1);
      const swap = copy[i] as T;
      copy[i] = copy[j] as T;
      copy[j] = swap;
    }
    return copy;
  };
  return {
    uniform,
    integer,
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    choice: <T>(items: readonly T[]): T => {
      if (items.length === 0) throw new RangeError('choice: expected at least one item, found none');
      return items[integer(items.length)] as T;
    },
    shuffle,
    sample: (items, n) => shuffle(items).slice(0, n),
  };
}
