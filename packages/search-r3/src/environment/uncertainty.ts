/**
 * How far the score of a stale document may be from its true one. The errors of the drift on pairs it has not seen,
 * projected on the step's rollouts, give the variance of a score; it grows in proportion to a document's age, up to a
 * limit, as a sum of independent steps would. What earlier steps saw counts as some pairs more, so that a step with few
 * pairs does not start from nothing.
 */

/** Pairs, aged one step, that the experience of earlier steps counts as. */
const PRIOR = 8;

/** Rollouts looked at: the variance of many is that of some. */
const ROLLOUTS = 64;

export class Uncertainty {
  readonly #width: number;
  readonly #ageLimit: number;
  /** Variance of a score after one step. */
  #variance: number | undefined;
  /** The same before this step, and which step it is. */
  #before: number | undefined;
  #version = -1;

  constructor({ width, ageLimit }: { width: number; ageLimit: number }) {
    this.#width = width;
    this.#ageLimit = ageLimit;
  }

  /**
   * Learns from the residuals [pairs * dimension] of documents that were `ages` steps old, seen by the step's rollouts
   * [rollouts * dimension]. Later calls for a version replace earlier ones.
   */
  learn(version: number, residuals: Float64Array, ages: readonly number[], rollouts: Float32Array): void {
    if (version !== this.#version) {
      this.#before = this.#variance;
      this.#version = version;
    }
    const dimension = residuals.length / ages.length;
    const count = rollouts.length / dimension;
    if (ages.length === 0 || count === 0) return;
    const stride = Math.max(1, Math.floor(count / ROLLOUTS));
    let squares = 0;
    let seen = 0;
    for (let rollout = 0; rollout < count; rollout += stride) {
      seen++;
      for (let pair = 0; pair < ages.length; pair++) {
        let error = 0;
        for (let k = 0; k < dimension; k++) {
          error +=
            (rollouts[rollout * dimension + k] as number) * (residuals[pair * dimension + k] as number);
        }
        squares += error * error;
      }
    }
    const steps = ages.reduce((total, age) => total + this.growth(age), 0);
    const prior = this.#before === undefined ? 0 : PRIOR;
    this.#variance = (squares / seen + prior * (this.#before ?? 0)) / (steps + prior);
  }

  /** Standard deviation of the score of a document encoded `age` steps ago; 0 before anything was learnt. */
  deviation(age: number): number {
    return this.#width * Math.sqrt((this.#variance ?? 0) * this.growth(age));
  }

  state(): number[] {
    return this.#variance === undefined ? [] : [this.#variance];
  }

  restore([variance]: readonly number[]): void {
    this.#variance = variance;
    this.#before = undefined;
    this.#version = -1;
  }

  /** What the variance of a score is at an age, in terms of that after one step. */
  growth(age: number): number {
    return Math.min(age, this.#ageLimit);
  }
}
