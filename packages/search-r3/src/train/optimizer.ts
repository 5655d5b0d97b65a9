/** AdamW with gradient clipping and a learning rate schedule. Its state can be saved. */
import {
  AdamW,
  type AdamWMoments,
  clipScale,
  constantSchedule,
  cosineSchedule,
  globalNorm,
  linearSchedule,
  NonFiniteGradientError,
  type Schedule,
} from 'onnx-grad/optim';
import { DivergenceError, InputError, type State, type StateArray } from '../run/index.js';
import type { OptimizationOptions } from './options.js';

export interface UpdateMetrics {
  gradientNorm: number;
  learningRate: number;
}

function scheduleOf(options: OptimizationOptions, steps: number): Schedule {
  const { finalLearningRate } = options;
  // A short trial with the settings of a long run warms up too, and still reaches its peak.
  const warmupSteps = Math.min(options.warmupSteps, Math.floor(steps / 2));
  switch (options.schedule) {
    case 'linear':
      return linearSchedule({ warmupSteps, totalSteps: steps, finalFraction: finalLearningRate });
    case 'cosine':
      return cosineSchedule({ warmupSteps, totalSteps: steps, finalFraction: finalLearningRate });
    case 'constant':
      return constantSchedule({ warmupSteps });
    default:
      options.schedule satisfies never;
      throw new Error(`internal: unknown schedule ${options.schedule}`);
  }
}

export class Optimizer {
  readonly #parameters: ReadonlyMap<string, Float32Array>;
  readonly #options: OptimizationOptions;
  readonly #adamw: AdamW;
  readonly #schedule: Schedule;
  readonly #steps: number;

  /** `matrices` names the parameters that decay: those with more than one axis. */
  constructor(
    parameters: ReadonlyMap<string, { data: Float32Array; shape: readonly number[] }>,
    options: OptimizationOptions,
    steps: number,
  ) {
    this.#parameters = new Map([...parameters].map(([name, { data }]) => [name, data]));
    this.#options = options;
    this.#steps = steps;
    this.#schedule = scheduleOf(options, steps);
    this.#adamw = new AdamW({
      betas: options.betas,
      weightDecay: options.weightDecay,
      group: (name) => ((parameters.get(name)?.shape.length ?? 0) > 1 ? {} : { weightDecay: 0 }),
    });
  }

  /**
   * Update `step` (from 0) in place. Errors: DivergenceError naming step and tensors where gradients are not finite,
   * before anything is changed.
   */
  update(step: number, gradients: ReadonlyMap<string, Float32Array>): UpdateMetrics {
    const gradientNorm = this.#norm(step, gradients);
    const learningRate = this.#options.learningRate * this.#schedule(step + 1);
    const scale = clipScale(gradientNorm, this.#options.maxGradientNorm);
    this.#adamw.step(this.#parameters, gradients, { learningRate, scale });
    return { gradientNorm, learningRate };
  }

  #norm(step: number, gradients: ReadonlyMap<string, Float32Array>): number {
    try {
      return globalNorm(gradients);
    } catch (error) {
      if (!(error instanceof NonFiniteGradientError)) throw error;
      const [first, ...others] = error.tensors;
      const more = others.length === 0 ? '' : ` and ${others.length} more`;
      throw new DivergenceError(
        `update ${step + 1} of ${this.#steps}: the gradient of ${first}${more} is not finite. ` +
          `Lower the learning rate (it is ${this.#options.learningRate}), or look for what is odd in the data.`,
        { cause: error },
      );
    }
  }

  state(): State {
    const updates: Record<string, number> = {};
    const arrays: Record<string, StateArray> = {};
    for (const [name, moments] of this.#adamw.state()) {
      updates[name] = moments.updates;
      arrays[`first:${name}`] = moments.first as Float32Array<ArrayBuffer>;
      arrays[`second:${name}`] = moments.second as Float32Array<ArrayBuffer>;
    }
    return { metadata: { updates }, arrays };
  }

  restore(state: State): void {
    const { updates } = state.metadata as { updates: Record<string, number> };
    const moments = new Map<string, AdamWMoments>();
    for (const [name, count] of Object.entries(updates)) {
      const first = state.arrays[`first:${name}`];
      const second = state.arrays[`second:${name}`];
      const length = this.#parameters.get(name)?.length;
      if (!(first instanceof Float32Array) || !(second instanceof Float32Array) || first.length !== length) {
        throw new InputError({
          source: 'optimizer state',
          field: name,
          expected: `two moments of ${length} numbers`,
          found: `${first?.length} and ${second?.length}`,
        });
      }
      moments.set(name, { updates: count, first, second });
    }
    this.#adamw.loadState(moments);
  }
}
