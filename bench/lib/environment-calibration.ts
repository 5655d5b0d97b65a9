/**
 * How a corpus drifts from one step to the next: how far documents move, what share of that a linear map predicts for
 * documents it has not seen, and what share the kernel adds. Recordings and the synthetic corpora calibrated to them
 * are measured in the same way.
 */
import { DriftModel, movement, WordVectors } from 'search-r3/environment/drift';
import { copyRows, randomStream } from 'search-r3/run';
import { mean } from './stats.js';
import type { RecordedStep, Trajectory } from './trajectory.js';

/** Number of documents that the map is learned from. Many more than dimensions would flatter the map. */
export const PAIRS = 400;
/** Measured steps of a recording. */
const STEPS = 4;

const OPTIONS = { map: true, lambda: 1, kernel: true, ridge: 1, words: 0.5, sharpness: 8 };

export interface Drift {
  /** Mean square of the movement of a document. */
  square: number;
  /** Share of it that a linear map predicts. */
  map: number;
  /** Share that map and kernel predict together. */
  both: number;
}

/** With the mean reward of the recording. */
export interface RecordedDrift extends Drift {
  reward: number;
}

const energy = (values: Iterable<number>) => Array.from(values).reduce((total, x) => total + x * x, 0);

/** @param old, fresh vectors [count * dimension] of the same documents before and after a step; `texts` theirs. */
export async function measureDrift(
  old: Float32Array,
  fresh: Float32Array,
  dimension: number,
  texts: readonly string[],
): Promise<Drift> {
  const count = old.length / dimension;
  const rows = Array.from({ length: count }, (_, row) => row);
  const pairs = { rows, count, dimension, old, fresh };
  const moved = energy(movement(pairs));
  const shares = { map: 0, both: 0 };
  for (const kernel of [false, true]) {
    const words = kernel ? new WordVectors((row) => texts[row], rows) : undefined;
    const model = await DriftModel.create(dimension, { ...OPTIONS, kernel }, words);
    const { residuals } = await model.fit(pairs);
    shares[kernel ? 'both' : 'map'] = 1 - energy(residuals) / moved;
    await model.dispose();
  }
  return { square: moved / count, ...shares };
}

/** The drift of a recording over some of its steps, and its mean reward. */
export async function recordedDrift(trajectory: Trajectory, seed: number): Promise<RecordedDrift> {
  const { steps, dimension, documents } = trajectory;
  const random = randomStream(seed, 'calibration');
  const rows = random.sample([...documents.keys()], PAIRS);
  const texts = rows.map((row) => documents[row].text);
  const gather = ({ documents: all }: RecordedStep) =>
    copyRows(new Float32Array(rows.length * dimension), all, rows, dimension);
  const measured: Drift[] = [];
  const rewards: number[] = [];
  const stride = Math.max(1, Math.floor((steps - 1) / STEPS));
  for (let step = 1; step < steps; step += stride) {
    const before = gather(await trajectory.step(step - 1));
    const now = await trajectory.step(step);
    measured.push(await measureDrift(before, gather(now), dimension, texts));
    rewards.push(mean(now.rewards));
  }
  const average = (name: keyof Drift) => mean(measured.map((one) => one[name]));
  return { square: average('square'), map: average('map'), both: average('both'), reward: mean(rewards) };
}

export function meanDrift(drifts: readonly RecordedDrift[]): RecordedDrift {
  const average = (name: keyof RecordedDrift) => mean(drifts.map((one) => one[name]));
  return {
    square: average('square'),
    map: average('map'),
    both: average('both'),
    reward: average('reward'),
  };
}
