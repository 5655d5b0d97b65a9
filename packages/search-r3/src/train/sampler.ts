/** The order in which training steps draw examples. */
import { InputError, randomStream } from '../run/index.js';

/** Shuffles once per epoch; indices of any step follow from the seed alone, so a resumed run skips and repeats none. */
export class EpochSampler {
  readonly #count: number;
  readonly #batch: number;
  readonly #seed: number;
  readonly #label: string;
  #epoch = -1;
  #order: number[] = [];

  /** @throws InputError when a batch is larger than an epoch. */
  constructor(options: { count: number; batchSize: number; seed: number; label: string }) {
    if (options.batchSize > options.count) {
      throw new InputError({
        source: options.label,
        field: 'batchSize',
        expected: `at most the ${options.count} training queries`,
        found: String(options.batchSize),
      });
    }
    this.#count = options.count;
    this.#batch = options.batchSize;
    this.#seed = options.seed;
    this.#label = options.label;
  }

  /** Indices of a step's batch: different ones within an epoch; a batch may straddle two. */
  batch(step: number): number[] {
    return Array.from({ length: this.#batch }, (_, i) => {
      const position = step * this.#batch + i;
      const epoch = Math.floor(position / this.#count);
      if (epoch !== this.#epoch) {
        const all = Array.from({ length: this.#count }, (__, index) => index);
        this.#order = randomStream(this.#seed, this.#label, 'epoch', epoch).shuffle(all);
        this.#epoch = epoch;
      }
      return this.#order[position % this.#count] as number;
    });
  }
}

/**
 * In which order the first `steps` steps of a sampler draw `count` queries for the first time: the indices, and how many
 * of them step `step` (from 0) and those before it draw.
 */
export function drawingOrder(
  sampler: EpochSampler,
  count: number,
  steps: number,
): { order: number[]; drawnBy: (step: number) => number } {
  const order = new Set<number>();
  const drawn: number[] = [];
  for (let step = 0; step < steps && order.size < count; step++) {
    for (const index of sampler.batch(step)) order.add(index);
    drawn.push(order.size);
  }
  return { order: [...order], drawnBy: (step) => drawn[step] ?? order.size };
}
