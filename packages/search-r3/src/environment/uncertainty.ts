/**
 * The uncertainty of a stale document's score. The leave-one-out errors of the drift, projected on the step's rollouts,
 * give the variance of a score. It grows in proportion to the document's age, up to a limit, like a sum of independent
 * steps. Earlier steps count as some additional pairs, so that a step with few pairs does not start from nothing.
 *
 * Unit vectors move on a sphere: an error e is tangent to it at x, and a rollout q sees q e = sqrt(1 - (q x)^2) times a
 * component of e whose size does not depend on q. So scores err least near the top of a ranking, where most depends on
 * them.
 */
import { z } from 'zod';

export const uncertaintyStateSchema = z.union([
  z.strictObject({ variance: z.number().nullable(), before: z.number().nullable(), version: z.int() }),
  // Earlier versions saved the variance alone, or nothing.
  z
    .array(z.number())
    .max(1)
    .transform(([variance]) => ({ variance: variance ?? null, before: null, version: -1 })),
]);
export type UncertaintyState = z.output<typeof uncertaintyStateSchema>;

/** Number of pairs, one step old, that earlier steps count as. */
const PRIOR = 8;

/** Maximum number of rollouts to estimate the variance from. */
const ROLLOUTS = 64;

/** Floor of 1 - score^2: scores very near 1 err by the curvature of the sphere. */
const LEAST_VARIANCE = 0.01;

/** Error of a score relative to that of a score of 0. */
export const tangent = (score: number): number => Math.sqrt(Math.max(LEAST_VARIANCE, 1 - score * score));

/** Prediction errors of the documents encoded by a step. */
export interface SeenErrors {
  /** [pairs * dimension]: leave-one-out errors of the new vectors. */
  residuals: Float64Array;
  /** [pairs * dimension]: the new vectors. */
  fresh: Float32Array;
  /** Age of the old vectors in steps. */
  ages: readonly number[];
}

export class Uncertainty {
  readonly #width: number;
  readonly #ageLimit: number;
  /** Variance of a score of 0 after one step. */
  #variance: number | undefined;
  /** The variance before this step. */
  #before: number | undefined;
  /** The version of this step. */
  #version = -1;

  constructor({ width, ageLimit }: { width: number; ageLimit: number }) {
    this.#width = width;
    this.#ageLimit = ageLimit;
  }

  /**
   * Learns from errors as the step's rollouts [rollouts * dimension] see them. A later call for the same version
   * replaces the earlier one.
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

  /** Whether anything was learned; before that, all deviations are 0. */
  get learnt(): boolean {
    return this.#variance !== undefined;
  }

  /** Standard deviation of a score of 0 for a document encoded `age` steps ago; 0 before anything was learned. */
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

  /** Variance of a score at an age, relative to that after one step. */
  growth(age: number): number {
    return Math.min(age, this.#ageLimit);
  }
}
