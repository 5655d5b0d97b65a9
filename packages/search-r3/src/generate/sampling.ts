/** Drawing a token from probabilities: nucleus (Holtzman et al. 2019, arXiv 1904.09751) and top-k truncation. */
import type { RandomStream } from '../run/index.js';

export interface SamplingOptions {
  /** 0 takes the most probable token. Default 1. */
  temperature?: number;
  /** Smallest set of most probable tokens whose mass reaches this. Default 1 (all). */
  topP?: number;
  /** Only the `topK` most probable tokens. Default 0 (all). */
  topK?: number;
}

export interface Draw {
  token: number;
  /** Natural logarithm of the token's probability before truncation. */
  logProbability: number;
}

/** Ids of the tokens that may be drawn, most probable first; ties by id. */
function candidates(probabilities: Float32Array, topP: number, topK: number): number[] {
  const order = Array.from(probabilities.keys()).sort(
    (a, b) => (probabilities[b] as number) - (probabilities[a] as number) || a - b,
  );
  const limit = topK > 0 ? Math.min(topK, order.length) : order.length;
  let mass = 0;
  for (let i = 0; i < limit; i++) {
    mass += probabilities[order[i] as number] as number;
    if (mass >= topP) return order.slice(0, i + 1);
  }
  return order.slice(0, limit);
}

/**
 * Draws one token by inverting the cumulative distribution. `probabilities` must be at the wanted temperature. Errors:
 * RangeError for probabilities that are all 0, or NaN.
 */
export function draw(
  probabilities: Float32Array,
  options: Pick<SamplingOptions, 'topP' | 'topK'>,
  random: RandomStream,
): Draw {
  const { topP = 1, topK = 0 } = options;
  const truncated = topP < 1 || topK > 0;
  const ids = truncated ? candidates(probabilities, topP, topK) : undefined;
  const size = ids?.length ?? probabilities.length;
  const id = (i: number) => ids?.[i] ?? i;
  let mass = 0;
  for (let i = 0; i < size; i++) mass += probabilities[id(i)] as number;
  // Not `mass <= 0`: NaN is to be refused too.
  if (!(mass > 0)) {
    throw new RangeError('draw: expected probabilities with mass, found none (are logits NaN?)');
  }
  let left = random.uniform() * mass;
  let chosen = -1;
  for (let i = 0; i < size; i++) {
    const p = probabilities[id(i)] as number;
    if (p === 0) continue;
    chosen = id(i);
    left -= p;
    if (left < 0) break;
  }
  return { token: chosen, logProbability: Math.log(probabilities[chosen] as number) };
}
