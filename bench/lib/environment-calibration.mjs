/**
 * How a corpus drifts from one step to the next: how far documents move, what share of that a linear map tells of
 * documents it has not seen, and what share the kernel tells beyond it. The same measure is taken of recordings and of the
 * synthetic corpus that is to be like them.
 */
import { copyRows, randomStream } from 'search-r3/run';
import { DriftModel, movement, WordVectors } from '../../packages/search-r3/dist/environment/drift/index.js';
import { mean } from './replay.mjs';

/** Documents that the map is learnt from: many more than dimensions would show what a map can do, few what it will. */
export const PAIRS = 400;
/** Steps of a recording that are measured. */
const STEPS = 4;

const OPTIONS = { map: true, lambda: 1, kernel: true, ridge: 1, words: 0.5, sharpness: 8 };

const energy = (values) => values.reduce((total, x) => total + x * x, 0);

/**
 * @param old, fresh vectors [count * dimension] of the same documents before and after a step; `texts` theirs.
 * @returns mean square of the movement, the share that the map tells, and that map and kernel tell together.
 */
export async function measureDrift(old, fresh, dimension, texts) {
  const count = old.length / dimension;
  const rows = Array.from({ length: count }, (_, row) => row);
  const pairs = { rows, count, dimension, old, fresh };
  const moved = energy(movement(pairs));
  const shares = {};
  for (const kernel of [false, true]) {
    const words = kernel ? new WordVectors((row) => texts[row], rows) : undefined;
    const model = await DriftModel.create(dimension, { ...OPTIONS, kernel }, words);
    const { residuals } = await model.fit(pairs);
    shares[kernel ? 'both' : 'map'] = 1 - energy(residuals) / moved;
    await model.dispose();
  }
  return { square: moved / count, ...shares };
}

/** The drift of a recording, over some of its steps; and its mean reward. */
export async function recordedDrift(trajectory, seed) {
  const { steps, dimension, documents } = trajectory;
  const random = randomStream(seed, 'calibration');
  const rows = random.sample([...documents.keys()], PAIRS);
  const texts = rows.map((row) => documents[row].text);
  const gather = ({ documents: all }) =>
    copyRows(new Float32Array(rows.length * dimension), all, rows, dimension);
  const measured = [];
  const rewards = [];
  const stride = Math.max(1, Math.floor((steps - 1) / STEPS));
  for (let step = 1; step < steps; step += stride) {
    const before = gather(await trajectory.step(step - 1));
    const now = await trajectory.step(step);
    measured.push(await measureDrift(before, gather(now), dimension, texts));
    rewards.push(mean(now.rewards));
  }
  const of = (name) => mean(measured.map((one) => one[name]));
  return { square: of('square'), map: of('map'), both: of('both'), reward: mean(rewards) };
}

/** The mean of some of these. */
export const meanDrift = (drifts) =>
  Object.fromEntries(
    ['square', 'map', 'both', 'reward'].map((name) => [name, mean(drifts.map((one) => one[name]))]),
  );
