/**
 * The whole trainings of `environment` by themselves: pairs from the same model of stage 1, one with everything encoded at
 * each step, one with the selective environment. Forty minutes a seed, after twenty for a base model of them all; kept and
 * resumed as there. PAIRS_SEEDS=3,4 names other seeds than 0, 1 and 2.
 */
import { atlasStart } from './lib/environment-recording.mjs';
import { pairedFigures, pairedRun } from './lib/environment-runs.mjs';
import { numbersOf } from './lib/settings.mjs';
import { rounded } from './lib/stats.mjs';

export const description = 'whole trainings with full and with selective encoding, in pairs';

export async function run({ quick, log }) {
  const seeds = numbersOf('PAIRS_SEEDS') ?? (quick ? [0] : [0, 1, 2]);
  const runs = {};
  for (const seed of seeds) {
    const start = await atlasStart(seed, quick, log);
    runs[start.name] = await pairedRun(start, quick, log);
  }
  return { figures: rounded(pairedFigures(runs)), seeds, sizes: { pairs: seeds.length } };
}
