/**
 * Only the last part of `environment`: how the cost of a step grows with the corpus, on synthetic corpora that drift
 * like the recordings behind docs/environment.md. Takes half an hour, most of it for a million documents.
 * SCALING_SIZES=10000 chooses other sizes.
 */
import type { BenchmarkOptions, BenchmarkResult } from './lib/benchmark.js';
import { SIZES, scaling } from './lib/environment-scaling.js';
import { numbersOf } from './lib/settings.js';
import { rounded } from './lib/stats.js';

export const description = 'cost of a step of the selective environment, on up to a million documents';

/** Means over recordings of three seeds of Atlas and of SciFact, commit 40e98e4; see `recordedDrift`. */
const DRIFT = { square: 0.0012, map: 0.76, both: 0.81, reward: 0.74 };

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult> {
  const sizes = numbersOf('SCALING_SIZES') ?? SIZES[quick ? 'quick' : 'long'];
  return {
    figures: rounded(await scaling(sizes, quick, DRIFT, log)),
    seeds: [0],
    sizes: { documents: sizes },
  };
}
