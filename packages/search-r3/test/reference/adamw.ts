/**
 * Reference AdamW (Loshchilov and Hutter 2019, algorithm 2, with torch's order of operations) and global-norm
 * clipping (Pascanu et al. 2013, torch's clip_grad_norm_), in float64, over tensors by name.
 */

export interface AdamWOptions {
  readonly learningRate: number;
  /** Default 0.9. */
  readonly beta1?: number;
  /** Default 0.999. */
  readonly beta2?: number;
  /** Added to the root of the corrected second moment. Default 1e-8. */
  readonly epsilon?: number;
  /** Decoupled: each step first shrinks a weight by learningRate x weightDecay. Default 0. */
  readonly weightDecay?: number;
  /** Which tensors decay. Default all. */
  readonly decays?: (name: string) => boolean;
  /** Gradients are scaled by min(1, maxGradNorm / (norm + 1e-6)), their norm taken over all tensors. Default none. */
  readonly maxGradNorm?: number;
}

export type NamedArrays = ReadonlyMap<string, Float64Array>;

/** The Euclidean norm over all tensors together. */
export function globalNorm(arrays: NamedArrays): number {
  let squares = 0;
  for (const array of arrays.values()) for (const value of array) squares += value * value;
  return Math.sqrt(squares);
}

/** Keeps the moments between steps. */
export class AdamW {
  private step = 0;
  private readonly first = new Map<string, Float64Array>();
  private readonly second = new Map<string, Float64Array>();

  constructor(private readonly options: AdamWOptions) {}

  /** Changes `weights` in place; tensors without a gradient stay as they are. The rate overrides the option's. */
  update(weights: NamedArrays, gradients: NamedArrays, learningRate = this.options.learningRate): void {
    const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0, decays, maxGradNorm } = this.options;
    this.step += 1;
    const clip = maxGradNorm === undefined ? 1 : Math.min(1, maxGradNorm / (globalNorm(gradients) + 1e-6));
    const correction1 = 1 - beta1 ** this.step;
    const correction2 = 1 - beta2 ** this.step;
    for (const [name, gradient] of gradients) {
      const weight = weights.get(name);
      if (weight?.length !== gradient.length) {
        throw new RangeError(`AdamW: no weight ${name} of ${gradient.length} elements`);
      }
      const m = this.moment(this.first, name, gradient.length);
      const v = this.moment(this.second, name, gradient.length);
      const decay = decays === undefined || decays(name) ? 1 - learningRate * weightDecay : 1;
      for (let i = 0; i < gradient.length; i++) {
        const g = (gradient[i] as number) * clip;
        m[i] = beta1 * (m[i] as number) + (1 - beta1) * g;
        v[i] = beta2 * (v[i] as number) + (1 - beta2) * g * g;
        const denominator = Math.sqrt(v[i] as number) / Math.sqrt(correction2) + epsilon;
        weight[i] =
          (weight[i] as number) * decay - (learningRate / correction1) * ((m[i] as number) / denominator);
      }
    }
  }

  private moment(store: Map<string, Float64Array>, name: string, length: number): Float64Array {
    const found = store.get(name) ?? new Float64Array(length);
    store.set(name, found);
    return found;
  }
}
