/** Random samples of rows. */
import type { RandomStream } from '../run/index.js';

/** `count` distinct `rows` in random order, or all if there are fewer; takes time in proportion to `count`. */
export function sampleRows(random: RandomStream, rows: readonly number[], count: number): number[] {
  // The first steps of a Fisher-Yates shuffle, with the swapped entries in a map.
  const swapped = new Map<number, number>();
  const at = (i: number) => swapped.get(i) ?? (rows[i] as number);
  return Array.from({ length: Math.min(count, rows.length) }, (_, i) => {
    const j = i + random.integer(rows.length - i);
    const chosen = at(j);
    swapped.set(j, at(i));
    return chosen;
  });
}
