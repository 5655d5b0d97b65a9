/** Sums the gradients of micro-batches into those of one batch. */
import type { Tensors } from './adamw.js';
import { demand, lengthOf } from './errors.js';
import { addScaled } from './kernel.js';

/**
 * Accumulates weighted gradients in float32. The caller chooses the weights: for a loss averaged over tokens, a
 * micro-batch weighs its share of the batch's tokens, so that eight batches of one equal one batch of eight.
 */
export class GradientAccumulator {
  readonly #buffers = new Map<string, Float32Array>();
  #result = new Map<string, Float32Array>();

  /**
   * Adds weight * gradients; the arrays are only read. A tensor missing from a micro-batch counts as zero there.
   * @throws OptimError before anything is added.
   */
  add(gradients: Tensors, weight = 1): void {
    const call = 'GradientAccumulator.add';
    demand(Number.isFinite(weight), call, 'weight', 'a finite number', weight);
    for (const [name, gradient] of gradients) {
      const buffer = this.#buffers.get(name) ?? gradient;
      demand(buffer.length === gradient.length, call, name, lengthOf(buffer), lengthOf(gradient));
    }
    for (const [name, gradient] of gradients) addScaled(this.#sum(name, gradient.length), gradient, weight);
  }

  /** The sums since the last `reset`, in the accumulator's own arrays, which are valid until the next `add`. */
  result(): Tensors {
    return new Map(this.#result);
  }

  /** Starts again; the memory is kept for the next batch. */
  reset(): void {
    this.#result = new Map();
  }

  #sum(name: string, length: number): Float32Array {
    const sum = this.#result.get(name);
    if (sum !== undefined) return sum;
    const buffer = this.#buffers.get(name)?.fill(0) ?? new Float32Array(length);
    this.#buffers.set(name, buffer);
    this.#result.set(name, buffer);
    return buffer;
  }
}
