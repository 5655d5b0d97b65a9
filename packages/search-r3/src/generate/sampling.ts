/**
 * Choosing a token from a distribution, one row at a time: by inverting the cumulative distribution, over the whole
 * vocabulary or over its most probable tokens. Top-p is nucleus sampling (Holtzman et al. 2019, arXiv 1904.09751),
 * min-p that of Nguyen et al. (2024, arXiv 2407.01082), the repetition penalty that of CTRL (Keskar et al. 2019, arXiv
 * 1909.05858); their order is that of transformers: penalty, temperature, top-k, top-p, min-p.
 */

export interface SamplingOptions {
  /** 0 takes the most probable token. Default 1. */
  temperature?: number;
  /** Only the `topK` most probable tokens, ties by id. Default 0 (all). */
  topK?: number;
  /** Smallest set of most probable tokens that has this share of what top-k leaves. Default 1 (all). */
  topP?: number;
  /** Only tokens that are at least so probable in proportion to the most probable one. Default 0 (all). */
  minP?: number;
  /**
   * Scores of tokens that the prompt or the completion contains are divided by this if they are positive and multiplied
   * by it otherwise. Default 1 (no change).
   */
  repetitionPenalty?: number;
}

export type ResolvedSampling = Required<SamplingOptions>;

export interface Draw {
  token: number;
  /**
   * Natural logarithm of the token's probability at the temperature (at temperature 0: at temperature 1), after the
   * penalty and before truncation. NaN if the scores are.
   */
  logProbability: number;
}

/** How a row is chosen; rows of one kind are computed together. */
export type Kind = 'greedy' | 'whole' | 'truncated';

export function kindOf({ temperature, topK, topP, minP }: ResolvedSampling): Kind {
  if (temperature === 0) return 'greedy';
  return topK > 0 || topP < 1 || minP > 0 ? 'truncated' : 'whole';
}

/** Divides or multiplies the scores of `seen` tokens in place. */
export function penalise(scores: Float32Array, seen: Iterable<number>, penalty: number): void {
  for (const token of seen) {
    const score = scores[token] as number;
    scores[token] = score < 0 ? score * penalty : score / penalty;
  }
}

/** Tokens whose probabilities are summed in the graph. */
export const BLOCK = 256;

/**
 * Bound on the error of the place of a token in the cumulative distribution, relative to `uniform` times the mass: that
 * of float32 sums of 256 terms, in any order, for the sums before the token and for the mass.
 */
const MARGIN = 2 * BLOCK * 2 ** -24 * 1.01;

const NOTHING: Draw = { token: -1, logProbability: Number.NaN };

/**
 * Draws from the whole distribution, at `uniform` in [0, 1). `sums` has the float32 sum of each `BLOCK` of the
 * probabilities. Only one block is read, unless rounding of the sums could decide: then all probabilities are summed in
 * the order of ids. Either way the token is that of the sum in float64.
 */
export function drawWhole(probabilities: Float32Array, sums: Float32Array, uniform: number): Draw {
  let mass = 0;
  for (const sum of sums) mass += sum;
  // Not `mass <= 0`: NaN is to be refused too.
  if (!(mass > 0)) return NOTHING;
  const target = uniform * mass;
  let below = 0;
  let block = 0;
  while (block < sums.length - 1 && below + (sums[block] as number) <= target) {
    below += sums[block++] as number;
  }
  const margin = MARGIN * target;
  const end = Math.min((block + 1) * BLOCK, probabilities.length);
  for (let token = block * BLOCK; token < end; token++) {
    const above = below + (probabilities[token] as number);
    if (above > target) {
      if (target - below <= margin || above - target <= margin) break;
      return { token, logProbability: Math.log(probabilities[token] as number) };
    }
    below = above;
  }
  return invert(probabilities, uniform, probabilities.length);
}

/** The element of the first `size` in whose share of their mass `uniform` lies. */
function invert(probabilities: Float32Array, uniform: number, size: number): Draw {
  let mass = 0;
  for (let i = 0; i < size; i++) mass += probabilities[i] as number;
  let left = uniform * mass;
  let token = -1;
  for (let i = 0; i < size; i++) {
    const p = probabilities[i] as number;
    if (p === 0) continue;
    token = i;
    left -= p;
    if (left < 0) break;
  }
  return token < 0 ? NOTHING : { token, logProbability: Math.log(probabilities[token] as number) };
}

/**
 * Draws from what top-k, top-p and min-p leave. `values` and `ids` are the most probable tokens of `vocabulary`, in
 * descending order; undefined if more of them are needed.
 */
export function drawTruncated(
  values: Float32Array,
  ids: BigInt64Array,
  vocabulary: number,
  { topK, topP, minP }: Pick<ResolvedSampling, 'topK' | 'topP' | 'minP'>,
  uniform: number,
): Draw | undefined {
  const best = values[0] as number;
  if (!(best > 0)) return NOTHING;
  const limit = topK > 0 ? Math.min(topK, vocabulary) : vocabulary;
  const known = Math.min(limit, values.length);
  let total = 1;
  if (topK > 0 && topP < 1) {
    if (known < limit) return undefined;
    total = 0;
    for (let i = 0; i < limit; i++) total += values[i] as number;
  }
  let size = 0;
  let mass = 0;
  let enough = false;
  while (size < known && !enough) {
    const p = values[size] as number;
    if (p < minP * best) enough = true;
    else {
      size++;
      mass += p;
      enough = topP < 1 && mass >= topP * total;
    }
  }
  if (!enough && known < limit) return undefined;
  const { token, logProbability } = invert(values, uniform, size);
  return { token: Number(ids[token]), logProbability };
}
