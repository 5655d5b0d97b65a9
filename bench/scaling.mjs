/**
 * The last part of `environment` by itself: how the cost of a step grows with the corpus, on synthetic corpora that drift
 * as the recordings did from which docs/environment.md has its tables. Half an hour; a million documents take most of it.
 * SCALING_SIZES=10000 names other sizes.
 */
import { SIZES, scaling } from './lib/environment-scaling.mjs';
import { numbersOf } from './lib/settings.mjs';
import { rounded } from './lib/stats.mjs';

export const description = 'cost of a step of the selective environment, on up to a million documents';

/** Means of the recordings of three seeds of Atlas and of SciFact, commit 40e98e4; see `recordedDrift`. */
const DRIFT = { square: 0.0012, map: 0.76, both: 0.81, reward: 0.74 };

export async function run({ quick, log }) {
  const sizes = numbersOf('SCALING_SIZES') ?? SIZES[quick ? 'quick' : 'long'];
  return {
    figures: rounded(await scaling(sizes, quick, DRIFT, log)),
    seeds: [0],
    sizes: { documents: sizes },
  };
}
