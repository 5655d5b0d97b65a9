/**
 * Only the complete training runs of `environment`: pairs from the same stage 1 model, one that encodes everything at
 * each step and one with the selective environment. A base model takes twenty minutes, then each seed takes forty.
 * Results are kept and resumed as in `environment`. PAIRS_SEEDS=3,4 replaces the seeds 0, 1 and 2.
 */
import type { BenchmarkOptions, BenchmarkResult } from './lib/benchmark.js';
import { atlasStart } from './lib/environment-recording.js';
import { type Pair, pairedFigures, pairedRun } from './lib/environment-runs.js';
import { numbersOf } from './lib/settings.js';
import { rounded } from './lib/stats.js';

export const description = 'complete training runs with full and with selective encoding, in pairs';

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult> {
  const seeds = numbersOf('PAIRS_SEEDS') ?? (quick ? [0] : [0, 1, 2]);
  const runs: Record<string, Pair> = {};
  for (const seed of seeds) {
    const start = await atlasStart(seed, quick, log);
    runs[start.name] = await pairedRun(start, quick, log);
  }
  return { figures: rounded(pairedFigures(runs)), seeds, sizes: { pairs: seeds.length } };
}
