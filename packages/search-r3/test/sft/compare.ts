/** What a trainer did and reported, against what it should have, and against what it did under other options. */
import type { Weights } from 'search-r3/checkpoint';
import { expect } from 'vitest';
import type { NamedArrays } from '../reference/adamw.js';
import { relativeError } from '../reference/finite-differences.js';

type Metrics = Readonly<Record<string, number>>;

/** The same names, and each number within 1e-4 of its size (and 1e-5). */
export function expectMetrics(found: readonly Metrics[], expected: readonly Metrics[]): void {
  expect(found.length).toBe(expected.length);
  for (const [step, metrics] of expected.entries()) {
    expect(Object.keys(found[step]!).sort()).toEqual(Object.keys(metrics).sort());
    for (const [name, value] of Object.entries(metrics)) {
      const error = Math.abs(found[step]![name]! - value);
      expect(error, `${name} of step ${step}`).toBeLessThanOrEqual(1e-4 * Math.abs(value) + 1e-5);
    }
  }
}

/** Every tensor moved as the steps together say, by norm. */
export function expectChanges(
  before: Weights,
  after: Weights,
  steps: readonly { changes: NamedArrays }[],
  tolerance: number,
): void {
  for (const [name, { data }] of after) {
    const start = before.get(name)!.data;
    const change = data.map((value, i) => value - start[i]!);
    const parts = steps.map(({ changes }) => changes.get(name)!);
    const expected = change.map((_, i) => parts.reduce((total, part) => total + part[i]!, 0));
    expect(relativeError(change, expected), `change of ${name}`).toBeLessThan(tolerance);
  }
}

export interface Outcome {
  metrics: readonly Metrics[];
  weights: Weights;
}

/** The largest relative difference between two runs, in any metric or in any tensor. */
export function difference(a: Outcome, b: Outcome): number {
  const metrics = a.metrics.flatMap((own, i) =>
    Object.entries(own).map(([name, value]) => {
      const other = b.metrics[i]?.[name] ?? 0;
      return Math.abs(value - other) / Math.max(Math.abs(value), Math.abs(other), 1e-9);
    }),
  );
  const weights = [...a.weights].map(([name, { data }]) => relativeError(data, b.weights.get(name)!.data));
  return Math.max(...metrics, ...weights);
}
