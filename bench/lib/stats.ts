/** Summaries of repeated measurements. Medians, because other work on the machine causes outliers. */
import type { Log } from './benchmark.js';

/** The median, or the mean of the middle two of an even number. @throws RangeError without values. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('median: expected at least one value');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

export interface Summary {
  median: number;
  lowest: number;
  highest: number;
  count: number;
}

export const summary = (values: readonly number[]): Summary => ({
  median: median(values),
  lowest: Math.min(...values),
  highest: Math.max(...values),
  count: values.length,
});

export interface Sides {
  rounds: number;
  /** Measures once. A rate: more is better. */
  ours: () => Promise<number>;
  theirs: () => Promise<number>;
  log?: Log;
}

/**
 * Measures two things in alternation (A B, B A, A B, ...), so that other work on the machine disturbs both equally.
 * `ratio` is ours divided by theirs, by round.
 */
export async function interleaved({
  rounds,
  ours,
  theirs,
  log = () => {},
}: Sides): Promise<Record<'ours' | 'theirs' | 'ratio', Summary>> {
  const values = { ours: [] as number[], theirs: [] as number[] };
  const measure = { ours, theirs };
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? (['ours', 'theirs'] as const) : (['theirs', 'ours'] as const);
    for (const side of order) values[side].push(await measure[side]());
    const [a, b] = [values.ours[round], values.theirs[round]];
    log(
      `round ${round + 1} of ${rounds}: ${a.toPrecision(4)} against ${b.toPrecision(4)}: ${(a / b).toFixed(2)}`,
    );
  }
  return {
    ours: summary(values.ours),
    theirs: summary(values.theirs),
    ratio: summary(values.ours.map((value, round) => value / values.theirs[round])),
  };
}

/** The same value with every number in it cut to `digits` significant digits, for JSON that people read. */
export function rounded<T>(value: T, digits = 4): T {
  const cut = (inner: unknown): unknown => {
    if (typeof inner === 'number') return Number.isFinite(inner) ? Number(inner.toPrecision(digits)) : inner;
    if (Array.isArray(inner)) return inner.map(cut);
    if (inner === null || typeof inner !== 'object') return inner;
    return Object.fromEntries(Object.entries(inner).map(([key, member]) => [key, cut(member)]));
  };
  return cut(value) as T;
}
