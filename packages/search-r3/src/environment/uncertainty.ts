/**
 * How far the score of a stale document may be from its true one. The errors of the drift on pairs it has not seen,
 * projected on the step's rollouts, give the variance of a score; it grows in proportion to a document's age, up to a
 * limit, as a sum of independent steps would. What earlier steps saw counts as some pairs more, so that a step with few
 * pairs does not start from nothing.
 *
 * Vectors of length 1 move on a sphere: of an error e, tangent to it at x, a rollout q sees only what lies across x,
 * q e = sqrt(1 - (q x)^2) times a part of e that is as large wherever q is. So near the top of a ranking, where most
 * depends on it, scores err by least.
 */
import { z } from 'zod';

export const uncertaintyStateSchema = z.union([
  z.strictObject({ variance: z.number().nullable(), before: z.number().nullable(), version: z.int() }),
  // Older ones: the variance alone, or nothing.
  z
    .array(z.number())
    .max(1)
    .transform(([variance]) => ({ variance: variance ?? null, before: null, version: -1 })),
]);
export type UncertaintyState = z.output<typeof uncertaintyStateSchema>;

/** Pairs, aged one step, that the experience of earlier steps counts as. */
const PRIOR = 8;

/** Rollouts looked at: the variance of many is that of some. */
const ROLLOUTS = 64;

/** Scores nearer to 1 err by the curvature of the sphere; as much is left for it. */
const LEAST_VARIANCE = 0.01;

/** By what factor the error of a score is smaller than that of one of 0. */
export const tangent = (score: number): number => Math.sqrt(Math.max(LEAST_VARIANCE, 1 - score * score));

/** Documents encoded by a step. */
export interface SeenErrors {
  /** [pairs * dimension]: their vectors less what was predicted without them, and the vectors. */
  residuals: Float64Array;
  fresh: Float32Array;
  /** Steps since they had been encoded. */
  ages: readonly number[];
}

export class Uncertainty {
  readonly #width: number;
  readonly #ageLimit: number;
  /** Variance of a score of 0 after one step. */
  #variance: number | undefined;
  /** The same before this step, and which step it is. */
  #before: number | undefined;
  #version = -1;

  constructor({ width, ageLimit }: { width: number; ageLimit: number }) {
    this.#width = width;
    this.#ageLimit = ageLimit;
  }

  /**
   * Learns from errors as the step's rollouts [rollouts * dimension] see them; later calls for a version replace earlier
   * ones.
   */
  learn(version: number, { residuals, fresh, ages }: SeenErrors, rollouts: Float32Array): void {
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
        let score = 0;
        for (let k = 0; k < dimension; k++) {
          const own = rollouts[rollout * dimension + k] as number;
          error += own * (residuals[pair * dimension + k] as number);
          score += own * (fresh[pair * dimension + k] as number);
        }
        squares += (error / tangent(score - error)) ** 2;
      }
    }
    const steps = ages.reduce((total, age) => total + this.growth(age), 0);
    const prior = this.#before === undefined ? 0 : PRIOR;
    this.#variance = (squares / seen + prior * (this.#before ?? 0)) / (steps + prior);
  }

  /** Whether anything was: before, nothing is expected to err. */
  get learnt(): boolean {
    return this.#variance !== undefined;
  }

  /** Standard deviation of a score of 0 of a document encoded `age` steps ago; 0 before anything was learnt. */
  deviation(age: number): number {
    return this.#width * Math.sqrt((this.#variance ?? 0) * this.growth(age));
  }

  state(): UncertaintyState {
    return { variance: this.#variance ?? null, before: this.#before ?? null, version: this.#version };
  }

  restore({ variance, before, version }: UncertaintyState): void {
    this.#variance = variance ?? undefined;
    this.#before = before ?? undefined;
    this.#version = version;
  }

  /** What the variance of a score is at an age, in terms of that after one step. */
  growth(age: number): number {
    return Math.min(age, this.#ageLimit);
  }
}
