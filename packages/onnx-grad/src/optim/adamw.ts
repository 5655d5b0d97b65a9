/**
 * AdamW: Adam with decoupled weight decay (Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019; Adam:
 * Kingma & Ba, 2015). Parameters and gradients are float32 arrays in JavaScript memory; moments are kept in float32.
 */
import { demand, lengthOf, OptimError } from './errors.js';
import { adamw, allocate, allocateBeside } from './kernel.js';

/** Named float32 tensors. */
export type Tensors = ReadonlyMap<string, Float32Array>;

/** Settings of one parameter. */
export interface ParameterGroup {
  /** Weight decay of this parameter. Default: the optimiser's. */
  weightDecay?: number;
  /** Factor on the learning rate for this parameter. Default 1. */
  learningRateScale?: number;
}

export interface AdamWOptions {
  /** Decay rates of the two moments, each in [0, 1). Default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Added to the root of the second moment, > 0. Default 1e-8. */
  epsilon?: number;
  /** Each update subtracts weightDecay * learning rate * parameter. Default 0.01. */
  weightDecay?: number;
  /** Settings of a parameter by its name, called at every update; e.g. no decay for norms. Default: none. */
  group?: (name: string) => ParameterGroup;
}

export interface AdamWStepOptions {
  /** Learning rate of this update, >= 0. */
  learningRate: number;
  /** Factor on all gradients, e.g. from `clipScale`. Default 1. */
  scale?: number;
}

/** The state of AdamW for one parameter. */
export interface AdamWMoments {
  /** Updates so far, for the bias correction; steps without a gradient do not count. */
  readonly updates: number;
  readonly first: Float32Array;
  readonly second: Float32Array;
}

export type AdamWState = ReadonlyMap<string, AdamWMoments>;

interface Update {
  name: string;
  parameter: Float32Array;
  gradient: Float32Array;
  moments: AdamWMoments;
  rate: number;
  decay: number;
}

/** Moments in the memory of the gradient if possible, so that the kernel copies none of them (`allocateGradients`). */
function momentsBeside(
  gradient: Float32Array,
  known: AdamWMoments | undefined,
): Pick<AdamWMoments, 'first' | 'second'> {
  if (known?.first.buffer === gradient.buffer) return known;
  const { length } = gradient;
  const [first, second] = allocateBeside(gradient, [length, length]) ?? [];
  if (first === undefined || second === undefined) {
    return known ?? { first: new Float32Array(length), second: new Float32Array(length) };
  }
  if (known !== undefined) {
    first.set(known.first);
    second.set(known.second);
  }
  return { first, second };
}

/**
 * Arrays of zeros for gradients of these lengths, in a WebAssembly memory with room for AdamW's moments, where it works
 * on them without copying. Ordinary arrays, which are copied, if gradients and moments exceed one such memory (4 GiB).
 */
export const allocateGradients = (lengths: readonly number[]): Float32Array<ArrayBuffer>[] =>
  allocate(lengths, 2);

const isRate = (value: number) => Number.isFinite(value) && value >= 0;

/**
 * The optimiser. For a parameter with scaled gradient g at its update number t, from 1:
 *
 *   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
 *   p = p - learningRate (weightDecay p + (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon))
 *
 * the formula of torch.optim.AdamW. Moments smaller than 2^-126 are zero (`kernel.as.ts` says why).
 */
export class AdamW {
  readonly #beta1: number;
  readonly #beta2: number;
  readonly #epsilon: number;
  readonly #weightDecay: number;
  readonly #group: (name: string) => ParameterGroup;
  #state = new Map<string, AdamWMoments>();

  /** @throws OptimError naming the option. */
  constructor(options: AdamWOptions = {}) {
    [this.#beta1, this.#beta2] = options.betas ?? [0.9, 0.999];
    this.#epsilon = options.epsilon ?? 1e-8;
    this.#weightDecay = options.weightDecay ?? 0.01;
    this.#group = options.group ?? (() => ({}));
    for (const [field, beta] of [
      ['betas[0]', this.#beta1],
      ['betas[1]', this.#beta2],
    ] as const) {
      demand(beta >= 0 && beta < 1, 'AdamW', field, 'a number in [0, 1)', beta);
    }
    const epsilon = Math.fround(this.#epsilon);
    demand(epsilon > 0 && epsilon < Infinity, 'AdamW', 'epsilon', 'a float32 > 0', this.#epsilon);
    demand(isRate(this.#weightDecay), 'AdamW', 'weightDecay', 'a finite number >= 0', this.#weightDecay);
  }

  /**
   * Updates every parameter that has a gradient, in place; the others and their moments stay unchanged. Gradients are
   * only read, and not checked to be finite (`globalNorm` does that).
   * @throws OptimError for a gradient without parameter, unequal lengths or a bad option, before anything is updated.
   */
  step(parameters: Tensors, gradients: Tensors, options: AdamWStepOptions): void {
    const { learningRate, scale = 1 } = options;
    const call = 'AdamW.step';
    demand(isRate(learningRate), call, 'learningRate', 'a finite number >= 0', learningRate);
    demand(Number.isFinite(scale), call, 'scale', 'a finite number', scale);
    const updates = [...gradients].map(([name, gradient]) =>
      this.#prepare(name, parameters.get(name), gradient, learningRate),
    );
    for (const { name, parameter, gradient, moments, rate, decay } of updates) {
      adamw(parameter, moments.first, moments.second, gradient, {
        scale,
        beta1: this.#beta1,
        beta2: this.#beta2,
        stepSize: rate / (1 - this.#beta1 ** moments.updates),
        inverseCorrection: 1 / Math.sqrt(1 - this.#beta2 ** moments.updates),
        epsilon: this.#epsilon,
        decay,
      });
      this.#state.set(name, moments);
    }
  }

  /**
   * The state to save for an exact continuation. The arrays are the optimiser's own, not copies: write them out before
   * the next `step`.
   */
  state(): AdamWState {
    return new Map(this.#state);
  }

  /** Replaces the state by a copy of a saved one. @throws OptimError if it is not a valid state. */
  loadState(state: AdamWState): void {
    const loaded = new Map<string, AdamWMoments>();
    for (const [name, { updates, first, second }] of state) {
      const call = 'AdamW.loadState';
      demand(Number.isInteger(updates) && updates > 0, call, `${name}.updates`, 'an integer > 0', updates);
      demand(second.length === first.length, call, `${name}.second`, lengthOf(first), lengthOf(second));
      loaded.set(name, { updates, first: first.slice(), second: second.slice() });
    }
    this.#state = loaded;
  }

  #prepare(
    name: string,
    parameter: Float32Array | undefined,
    gradient: Float32Array,
    learningRate: number,
  ): Update {
    const call = 'AdamW.step';
    if (parameter === undefined) {
      throw new OptimError({ call, field: name, expected: 'a parameter of this name', found: 'none' });
    }
    demand(
      gradient.length === parameter.length,
      call,
      `gradient of ${name}`,
      lengthOf(parameter),
      lengthOf(gradient),
    );
    const known = this.#state.get(name);
    if (known !== undefined) {
      demand(known.first.length === parameter.length, call, name, lengthOf(known.first), lengthOf(parameter));
    }
    const { weightDecay = this.#weightDecay, learningRateScale = 1 } = this.#group(name);
    demand(isRate(weightDecay), call, `weightDecay of ${name}`, 'a finite number >= 0', weightDecay);
    demand(
      isRate(learningRateScale),
      call,
      `learningRateScale of ${name}`,
      'a finite number >= 0',
      learningRateScale,
    );
    const rate = learningRate * learningRateScale;
    const moments: AdamWMoments = {
      ...momentsBeside(gradient, known),
      updates: (known?.updates ?? 0) + 1,
    };
    return { name, parameter, gradient, moments, rate, decay: rate * weightDecay };
  }
}
