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

/**
 * Measures each side once a round, every second round in reverse order, so that other work on the machine disturbs all
 * of them equally. The values by side, one a round.
 */
export async function alternate<S extends string>(
  sides: Readonly<Record<S, () => Promise<number>>>,
  rounds: number,
  onRound: (round: number, values: Readonly<Record<S, number[]>>) => void = () => {},
): Promise<Record<S, number[]>> {
  const names = Object.keys(sides) as S[];
  const values = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<S, number[]>;
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) values[name].push(await sides[name]());
    onRound(round, values);
  }
  return values;
}

/** One side divided by the other, by round. */
export const ratios = (ours: readonly number[], theirs: readonly number[]): number[] =>
  ours.map((value, round) => value / theirs[round]);

export interface Sides {
  rounds: number;
  /** Measures once. A rate: more is better. */
  ours: () => Promise<number>;
  theirs: () => Promise<number>;
  log?: Log;
}

/** Measures two things in alternation. `ratio` is ours divided by theirs, by round. */
export async function interleaved({
  rounds,
  ours,
  theirs,
  log = () => {},
}: Sides): Promise<Record<'ours' | 'theirs' | 'ratio', Summary>> {
  const values = await alternate({ ours, theirs }, rounds, (round, so) => {
    const [a, b] = [so.ours[round], so.theirs[round]];
    log(
      `round ${round + 1} of ${rounds}: ${a.toPrecision(4)} against ${b.toPrecision(4)}: ${(a / b).toFixed(2)}`,
    );
  });
  return {
    ours: summary(values.ours),
    theirs: summary(values.theirs),
    ratio: summary(ratios(values.ours, values.theirs)),
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
