/**
 * The evolving corpus: how close the selective environment's rewards come to those of a freshly encoded corpus, and at
 * what cost. Trajectories of stage 2 are recorded with full re-encoding (Atlas with 5,000 documents and 3 seeds;
 * SciFact). Refresh policies are replayed on them, gradients are compared through the model, and audits are checked.
 * Complete training runs with full and with selective encoding are compared by their final policies. Synthetic corpora
 * of up to a million documents, calibrated to the recordings, show how cost grows.
 *
 * Everything is kept in runs/bench-environment, keyed by what it depends on: recordings by models and settings, replays
 * also by the code of the environment. Existing results are reused and interrupted training resumes, so the full
 * benchmark can be spread over several sessions. The plot is written to fidelity.svg there.
 *
 * SCIFACT names the folder of SciFact (default ../shared/data/scifact).
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BenchmarkOptions, BenchmarkResult, Log } from './lib/benchmark.js';
import {
  audits,
  factors,
  figuresOf,
  preconditions,
  type Results,
  replayArms,
  table,
} from './lib/environment-arms.js';
import { meanDrift, recordedDrift } from './lib/environment-calibration.js';
import { gradientCosines } from './lib/environment-gradients.js';
import { renderPlot } from './lib/environment-plot.js';
import {
  atlasTrajectory,
  FOLDER,
  foundOn,
  type Recording,
  scifactTrajectory,
} from './lib/environment-recording.js';
import { type Pair, pairedFigures, pairedRun } from './lib/environment-runs.js';
import { SIZES, scaling } from './lib/environment-scaling.js';
import { rounded } from './lib/stats.js';
import { openTrajectory } from './lib/trajectory.js';

export const description =
  'fidelity against cost of the selective environment: replays, gradients, audits, whole runs, scaling';

const LONG = { seeds: [0, 1, 2], auditEvery: 2, sizes: SIZES.long };
const QUICK = { seeds: [0], auditEvery: 1, sizes: SIZES.quick };

/** All measurements on one recording. */
async function measure(recorded: Recording, auditEvery: number, log: Log) {
  const { name, folder } = recorded;
  const tell = (text: string) => log(`${name}: ${text}`);
  const trajectory = await openTrajectory(folder);
  const results = await replayArms(folder, trajectory, auditEvery, tell);
  const conditions = await preconditions(trajectory, results);
  console.error(`\n${name}\n${table(results)}\n`);
  if (!conditions.met) {
    const { neverRefreshed, reward } = conditions;
    tell(
      `PRECONDITIONS NOT MET: reward error never refreshed ${neverRefreshed.toFixed(3)} (at least 0.05), mean reward ${reward.toFixed(3)} (at least 0.2)`,
    );
  }
  const gradients = await gradientCosines(trajectory, recorded, results, tell);
  const { commit: _, ...drift } = await foundOn(folder, 'drift', [], () => recordedDrift(trajectory, 0));
  tell(`drift ${JSON.stringify(rounded(drift))}`);
  await trajectory.dispose();
  return {
    results,
    conditions,
    gradients,
    drift,
    documents: trajectory.ids.length,
    steps: trajectory.steps,
  };
}

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult> {
  if (quick) log('quick: a short recording on a small corpus; the figures mean nothing');
  const { seeds, auditEvery, sizes } = quick ? QUICK : LONG;
  const measured: Record<string, Awaited<ReturnType<typeof measure>>> = {};
  const collections: Record<string, Results[]> = {};
  const runs: Record<string, Pair> = {};
  const add = async (collection: string, recorded: Recording) => {
    const own = await measure(recorded, auditEvery, log);
    measured[recorded.name] = own;
    collections[collection] = [...(collections[collection] ?? []), own.results];
  };
  for (const seed of seeds) {
    const recorded = await atlasTrajectory(seed, quick, log);
    await add('Atlas', recorded);
    runs[recorded.name] = await pairedRun(recorded, quick, log);
  }
  const scifact = quick ? undefined : await scifactTrajectory(0, log);
  if (scifact !== undefined) await add('SciFact', scifact);

  await mkdir(FOLDER, { recursive: true });
  const plot = join(FOLDER, 'fidelity.svg');
  await writeFile(plot, renderPlot(collections));
  log(`plot in ${plot}`);

  const drift = meanDrift(Object.values(measured).map((own) => own.drift));
  const trajectories = Object.fromEntries(
    Object.entries(measured).map(([name, { results, conditions, gradients, ...sizesOf }]) => [
      name,
      {
        ...sizesOf,
        preconditions: conditions,
        arms: Object.fromEntries(Object.entries(results).map(([arm, own]) => [arm, figuresOf(own)])),
        factors: factors(results),
        gradients,
        audits: audits(results),
      },
    ]),
  );
  return {
    figures: rounded({
      trajectories,
      runs: pairedFigures(runs),
      scaling: await scaling(sizes, quick, drift, log),
    }),
    seeds,
    sizes: { scaling: sizes, auditEvery },
    ...(quick && { note: 'quick: shows that everything runs; the figures mean nothing' }),
  };
}
