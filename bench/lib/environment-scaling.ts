/**
 * How the cost of a step grows with the corpus: synthetic corpora that drift as the recordings do, with a target error
 * as budget, checked against the truth.
 */
import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Interval } from 'search-r3/evaluate';
import type { Log } from './benchmark.js';
import type { RecordedDrift } from './environment-calibration.js';
import { FOLDER } from './environment-recording.js';

const CHILD = fileURLToPath(new URL('./environment-scaling-run.js', import.meta.url));

/** The rate of a model of half a billion parameters (f32, two cores), and the length of a document. */
const ENCODING = { tokensPerSecond: 448, tokensPerDocument: 128 };
const ROLLOUTS = { queries: 8, samples: 8 };
/** A quarter of the error allowed at 5 % of 5,000 documents. */
const TARGET_ERROR = 0.00025;
const AUDIT_EVERY = 4;
const SEED = 0;
export const SIZES = { long: [10_000, 100_000, 1_000_000], quick: [2000, 10_000] };
/** Many, because only few steps cause errors of this size; a step of a million documents takes ten seconds to check. */
const stepsOf = (size: number, quick: boolean) => (quick ? 6 : size < 1_000_000 ? 195 : 99);
const MEMORY_MB = 3 * 1024;

/** Input of environment-scaling-run.ts. */
export interface ScalingSettings {
  /** The file of the true vectors. */
  path: string;
  size: number;
  seed: number;
  steps: number;
  targetError: number;
  auditEvery: number;
  rollouts: { queries: number; samples: number };
  target: RecordedDrift;
}

/** Its results: means over the steps. */
export interface ScalingResult {
  size: number;
  steps: number;
  encoded: number;
  error: number;
  errorInterval: Interval;
  worst: number;
  expected: number;
  reward: number;
  rounds: number;
  unseen: number;
  seconds: number;
  slowest: number;
  parts: Record<string, number>;
  peakMb: number;
  benchMb: number;
  calibration: object;
  spread: number;
}

interface SizeFigures extends ScalingResult {
  encodingSeconds: number;
  shareOfStep: number;
  shareOfSlowest: number;
}

/** Measures each size on a corpus calibrated to `drift`. */
export async function scaling(sizes: readonly number[], quick: boolean, drift: RecordedDrift, log: Log) {
  await mkdir(FOLDER, { recursive: true });
  const bySize: Record<string, SizeFigures> = {};
  for (const size of sizes) {
    const found = await measure(size, stepsOf(size, quick), drift, log);
    const encoding = (found.encoded * ENCODING.tokensPerDocument) / ENCODING.tokensPerSecond;
    bySize[size] = {
      ...found,
      encodingSeconds: encoding,
      shareOfStep: found.seconds / (found.seconds + encoding),
      shareOfSlowest: found.slowest / (found.slowest + encoding),
    };
    log(
      `${size} documents: ${found.encoded.toFixed(0)} encoded a step, error ${found.error.toFixed(5)} ` +
        `[${found.errorInterval.low.toFixed(5)}, ${found.errorInterval.high.toFixed(5)}], ` +
        `${found.seconds.toFixed(2)} s in addition to ${encoding.toFixed(0)} s of encoding, peak ${found.peakMb} MB`,
    );
  }
  const all = Object.values(bySize);
  // Growth needs two sizes.
  const exponents = all.length > 1 && {
    encoded: slope(all, ({ encoded }) => encoded),
    seconds: slope(all, ({ seconds }) => seconds),
  };
  return {
    targetError: TARGET_ERROR,
    auditEvery: AUDIT_EVERY,
    rollouts: ROLLOUTS.queries * ROLLOUTS.samples,
    drift,
    bySize,
    ...(exponents && { exponents }),
    met: {
      targetError: all.every(({ error }) => error <= TARGET_ERROR),
      ...(exponents && { sublinear: exponents.encoded < 1 }),
      shareOfStep: all.every(({ shareOfStep }) => shareOfStep <= 0.05),
      memory: all.every(({ peakMb }) => peakMb < MEMORY_MB),
    },
  };
}

/** The exponent of growth: least squares of the logarithms. */
function slope(all: readonly SizeFigures[], value: (one: SizeFigures) => number): number {
  const points = all.map((one) => [Math.log(one.size), Math.log(value(one))]);
  const [mx, my] = [0, 1].map((i) => points.reduce((total, point) => total + point[i], 0) / points.length);
  const product = points.reduce((total, [x, y]) => total + (x - mx) * (y - my), 0);
  return product / points.reduce((total, [x]) => total + (x - mx) ** 2, 0);
}

function measure(size: number, steps: number, target: RecordedDrift, log: Log): Promise<ScalingResult> {
  const settings: ScalingSettings = {
    path: join(FOLDER, `scaling-${size}-${process.pid}.f32`),
    size,
    seed: SEED,
    steps,
    targetError: TARGET_ERROR,
    auditEvery: AUDIT_EVERY,
    rollouts: ROLLOUTS,
    target,
  };
  const child = spawn(process.execPath, [CHILD, JSON.stringify(settings)]);
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-2000);
    for (const line of text.trim().split('\n')) log(`${size} documents, ${line}`);
  });
  return new Promise((done, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) done(JSON.parse(output) as ScalingResult);
      else reject(new Error(`the scaling run of ${size} documents ended with ${code}:\n${errors}`));
    });
  });
}
