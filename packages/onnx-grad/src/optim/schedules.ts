/**
 * Learning-rate schedules: pure functions from the number of an update, from 1, to a factor on the learning rate. All
 * rise linearly over the warm-up and reach 1 at its last update. (The transformers library counts from 0, so that the
 * first update of a warm-up has learning rate 0.)
 */
import { demand } from './errors.js';

/** Factor on the learning rate at update `step` = 1, 2, ... @throws OptimError for any other number. */
export type Schedule = (step: number) => number;

export interface WarmupOptions {
  /** Updates of the warm-up. Default 0. */
  warmupSteps?: number;
}

export interface DecayOptions extends WarmupOptions {
  /** The update at which the factor reaches its final value, which it keeps. More than `warmupSteps`. */
  totalSteps: number;
  /** The final factor, in [0, 1]. Default 0. */
  finalFraction?: number;
}

/** Stays at 1 after the warm-up. @throws OptimError for bad options. */
export function constantSchedule(options: WarmupOptions = {}): Schedule {
  return withWarmup('constantSchedule', options.warmupSteps ?? 0, () => 1);
}

/** Falls linearly from 1 to the final fraction. @throws OptimError for bad options. */
export function linearSchedule(options: DecayOptions): Schedule {
  return decaying('linearSchedule', options, (progress) => 1 - progress);
}

/**
 * Falls along half a cosine from 1 to the final fraction (Loshchilov & Hutter, "SGDR", 2017, without restarts).
 * @throws OptimError for bad options.
 */
export function cosineSchedule(options: DecayOptions): Schedule {
  return decaying('cosineSchedule', options, (progress) => (1 + Math.cos(Math.PI * progress)) / 2);
}

function decaying(call: string, options: DecayOptions, shape: (progress: number) => number): Schedule {
  const { warmupSteps = 0, totalSteps, finalFraction = 0 } = options;
  const totalIsRight = Number.isInteger(totalSteps) && totalSteps > warmupSteps;
  demand(totalIsRight, call, 'totalSteps', `an integer > warmupSteps (${warmupSteps})`, totalSteps);
  const fractionIsRight = finalFraction >= 0 && finalFraction <= 1;
  demand(fractionIsRight, call, 'finalFraction', 'a number in [0, 1]', finalFraction);
  return withWarmup(call, warmupSteps, (step) => {
    const progress = Math.min(1, (step - warmupSteps) / (totalSteps - warmupSteps));
    return finalFraction + (1 - finalFraction) * shape(progress);
  });
}

function withWarmup(call: string, warmupSteps: number, after: Schedule): Schedule {
  const warmupIsRight = Number.isInteger(warmupSteps) && warmupSteps >= 0;
  demand(warmupIsRight, call, 'warmupSteps', 'an integer >= 0', warmupSteps);
  return (step) => {
    demand(Number.isInteger(step) && step > 0, call, 'step', 'an integer > 0', step);
    return step < warmupSteps ? step / warmupSteps : after(step);
  };
}
