/**
 * One size of the scaling measurement, in its own process so that its memory can be measured: settings as JSON in the
 * first argument, progress on stderr, the result as one line of JSON.
 */
import { SelectiveEnvironment } from 'search-r3/environment';
import { bootstrapInterval } from 'search-r3/evaluate';
import { DIMENSION, SyntheticCorpus } from './environment-corpus.js';
import type { ScalingResult, ScalingSettings } from './environment-scaling.js';
import { peakMemoryMb } from './machine.js';
import { totalOf } from './replay.js';
import { mean, rounded } from './stats.js';

/**
 * Steps that are not counted: the budget settles, and programs compile. The rest should be a multiple of sixteen, the
 * period at which the stored vectors are actually moved.
 */
const WARM_UP = 3;

const { path, size, seed, steps, targetError, auditEvery, rollouts, target } = JSON.parse(
  process.argv[2],
) as ScalingSettings;
const started = performance.now();
const tell = (text: string) =>
  console.error(`${((performance.now() - started) / 1000).toFixed(0)} s: ${text}`);

const corpus = await SyntheticCorpus.create(path, size, seed);
tell('corpus created');
const calibration = await corpus.calibrate(target);
const spread = await corpus.spreadFor(target.reward, rollouts);
tell(`drift ${JSON.stringify(calibration.measured)}, spread ${spread.toFixed(2)}`);
const before = Math.round(process.memoryUsage.rss() / 2 ** 20);

let encodeSeconds = 0;
const ids = Array.from({ length: size }, (_, row) => corpus.id(row));
const environment = await SelectiveEnvironment.create(
  ids,
  {
    dimension: DIMENSION,
    encode: async (asked) => {
      const start = performance.now();
      const vectors = corpus.gather(asked.map(corpus.row));
      encodeSeconds += (performance.now() - start) / 1000;
      return vectors;
    },
    text: corpus.text,
  },
  { budget: { targetError }, seed },
);

interface MeasuredStep {
  encoded: number;
  error: number;
  expected: number;
  reward: number;
  unseen: number;
  rounds: number;
  seconds: number;
  parts: Record<string, number>;
}

const measured: MeasuredStep[] = [];
for (let step = 0; step < steps; step++) {
  if (step > 0) await corpus.advance(step);
  const batch = await corpus.rollouts(step, { ...rollouts, spread });
  encodeSeconds = 0;
  const start = performance.now();
  const report = await environment.refresh(step, batch);
  const refreshed = performance.now();
  const rewards = await environment.reward(batch);
  const rewarded = performance.now();
  const isDue = step > 0 && step % auditEvery === 0;
  const audit = isDue ? await environment.audit(step, batch) : undefined;
  const seconds = (performance.now() - start) / 1000;
  const truth = await corpus.rewards(batch);
  const error = mean(truth.map((value, i) => Math.abs(value - rewards[i].reward)));
  const { encode: _, ...parts } = report.parts;
  const named = totalOf(report.parts);
  const own: MeasuredStep = {
    encoded: totalOf(report.encoded) + (audit?.encoded ?? 0),
    error,
    expected: report.expectedError,
    reward: mean(truth),
    unseen: report.positivesUnseen ?? 0,
    rounds: report.rounds,
    seconds: seconds - encodeSeconds,
    parts: {
      ...parts,
      other: report.seconds - named,
      reward: (rewarded - refreshed) / 1000,
      audit: seconds - (rewarded - start) / 1000,
    },
  };
  tell(
    `step ${step}: ${own.encoded} documents ${JSON.stringify(report.encoded)}, error ${error.toFixed(4)} (expected ${own.expected.toFixed(4)}), ${own.seconds.toFixed(2)} s ${JSON.stringify(rounded(own.parts, 2))}`,
  );
  if (step >= WARM_UP) measured.push(own);
}
await environment.dispose();
await corpus.dispose();

const average = (name: Exclude<keyof MeasuredStep, 'parts'>) => mean(measured.map((one) => one[name]));
const names = [...new Set(measured.flatMap(({ parts }) => Object.keys(parts)))];
const result: ScalingResult = {
  size,
  steps: measured.length,
  encoded: average('encoded'),
  error: average('error'),
  errorInterval: bootstrapInterval(measured.map(({ error }) => error)),
  worst: Math.max(...measured.map(({ error }) => error)),
  expected: average('expected'),
  reward: average('reward'),
  rounds: average('rounds'),
  unseen: average('unseen'),
  seconds: average('seconds'),
  slowest: Math.max(...measured.map(({ seconds }) => seconds)),
  parts: Object.fromEntries(names.map((name) => [name, mean(measured.map(({ parts }) => parts[name] ?? 0))])),
  peakMb: peakMemoryMb(),
  benchMb: before,
  calibration,
  spread,
};
console.log(JSON.stringify(result));
