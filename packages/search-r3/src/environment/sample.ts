/** Some of many rows. */
import type { RandomStream } from '../run/index.js';

/** `count` different ones of `rows` in random order, all where there are fewer; in time of the count, not of the rows. */
export function sampleRows(random: RandomStream, rows: readonly number[], count: number): number[] {
  // The first steps of a Fisher-Yates shuffle, with what was swapped kept aside.
  const swapped = new Map<number, number>();
  const at = (i: number) => swapped.get(i) ?? (rows[i] as number);
  return Array.from({ length: Math.min(count, rows.length) }, (_, i) => {
    const j = i + random.integer(rows.length - i);
    const chosen = at(j);
    swapped.set(j, at(i));
    return chosen;
  });
}
