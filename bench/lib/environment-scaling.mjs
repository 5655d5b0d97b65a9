/**
 * How the cost of a step grows with the corpus: synthetic corpora that drift as the recordings do, the budget given as a
 * target error that is checked against the truth.
 */
import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FOLDER } from './environment-recording.mjs';

const CHILD = fileURLToPath(new URL('./environment-scaling-run.mjs', import.meta.url));

/** Of a model of half a billion parameters (f32, two cores), and what a document has. */
const ENCODING = { tokensPerSecond: 448, tokensPerDocument: 128 };
const ROLLOUTS = { queries: 8, samples: 8 };
/** A quarter of what 5 % of 5,000 documents are to leave at most. */
const TARGET_ERROR = 0.00025;
const AUDIT_EVERY = 4;
const SEED = 0;
export const SIZES = { long: [10_000, 100_000, 1_000_000], quick: [2000, 10_000] };
/** So many because errors of this size come from few of them; a step of a million takes ten seconds to check. */
const stepsOf = (size, quick) => (quick ? 6 : size < 1_000_000 ? 195 : 99);
const MEMORY_MB = 3 * 1024;

/** Measures each size; `drift`: what it is calibrated to, as `recordedDrift` gives it. */
export async function scaling(sizes, quick, drift, log) {
  await mkdir(FOLDER, { recursive: true });
  const bySize = {};
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
        `${found.seconds.toFixed(2)} s beside ${encoding.toFixed(0)} s of encoding, peak ${found.peakMb} MB`,
    );
  }
  const all = Object.values(bySize);
  // One size tells nothing of growth.
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
function slope(all, value) {
  const points = all.map((one) => [Math.log(one.size), Math.log(value(one))]);
  const [mx, my] = [0, 1].map((i) => points.reduce((total, point) => total + point[i], 0) / points.length);
  const product = points.reduce((total, [x, y]) => total + (x - mx) * (y - my), 0);
  return product / points.reduce((total, [x]) => total + (x - mx) ** 2, 0);
}

function measure(size, steps, target, log) {
  const settings = {
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
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors = (errors + text).slice(-2000);
    for (const line of text.trim().split('\n')) log(`${size} documents, ${line}`);
  });
  return new Promise((done, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) done(JSON.parse(output));
      else reject(new Error(`the scaling run of ${size} documents ended with ${code}:\n${errors}`));
    });
  });
}
