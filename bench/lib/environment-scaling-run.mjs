/**
 * One size of the scaling measurement, in a process of its own so that its memory is its own: the settings as JSON in the
 * first argument, progress on stderr, the result as one line of JSON.
 */
import { SelectiveEnvironment } from 'search-r3/environment';
import { bootstrapInterval } from 'search-r3/evaluate';
import { DIMENSION, SyntheticCorpus } from './environment-corpus.mjs';
import { peakMemoryMb } from './machine.mjs';
import { mean } from './replay.mjs';
import { rounded } from './stats.mjs';

/**
 * Steps that are not counted: the budget finds its level, and programs are compiled. The others should be a multiple of
 * sixteen: so often all vectors are moved in earnest.
 */
const WARM_UP = 3;

const { path, size, seed, steps, targetError, auditEvery, rollouts, target } = JSON.parse(process.argv[2]);
const started = performance.now();
const tell = (text) => console.error(`${((performance.now() - started) / 1000).toFixed(0)} s: ${text}`);

const corpus = await SyntheticCorpus.create(path, size, seed);
tell('corpus made');
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

const total = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);
const measured = [];
for (let step = 0; step < steps; step++) {
  if (step > 0) await corpus.advance(step);
  const batch = await corpus.rollouts(step, { ...rollouts, spread });
  encodeSeconds = 0;
  const start = performance.now();
  const report = await environment.refresh(step, batch);
  const refreshed = performance.now();
  const rewards = await environment.reward(batch);
  const rewarded = performance.now();
  const due = step > 0 && step % auditEvery === 0;
  const audit = due ? await environment.audit(step, batch) : undefined;
  const seconds = (performance.now() - start) / 1000;
  const truth = await corpus.rewards(batch);
  const error = mean(truth.map((value, i) => Math.abs(value - rewards[i].reward)));
  const { encode: _, ...parts } = report.parts;
  const named = total(report.parts);
  const own = {
    encoded: total(report.encoded) + (audit?.encoded ?? 0),
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

const of = (name) => mean(measured.map((one) => one[name]));
const names = [...new Set(measured.flatMap(({ parts }) => Object.keys(parts)))];
console.log(
  JSON.stringify({
    size,
    steps: measured.length,
    encoded: of('encoded'),
    error: of('error'),
    errorInterval: bootstrapInterval(measured.map(({ error }) => error)),
    worst: Math.max(...measured.map(({ error }) => error)),
    expected: of('expected'),
    reward: of('reward'),
    rounds: of('rounds'),
    unseen: of('unseen'),
    seconds: of('seconds'),
    slowest: Math.max(...measured.map(({ seconds }) => seconds)),
    parts: Object.fromEntries(
      names.map((name) => [name, mean(measured.map(({ parts }) => parts[name] ?? 0))]),
    ),
    peakMb: peakMemoryMb(),
    benchMb: before,
    calibration,
    spread,
  }),
);
