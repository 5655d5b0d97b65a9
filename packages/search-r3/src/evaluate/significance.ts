/**
 * Tells whether a difference between two systems is more than chance.
 *
 * Paired randomisation test: Fisher 1935, "The Design of Experiments", section 21; for retrieval: Smucker, Allan and
 * Carterette 2007, "A Comparison of Statistical Significance Tests for Information Retrieval Evaluation", CIKM.
 * Bootstrap percentile intervals: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
 */
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { type RandomStream, randomStream } from '../run/random.js';
import { validate } from '../run/validate.js';

export interface RandomisationOptions {
  /** Sampled sign assignments (default 100,000). If there are no more assignments than that, all are enumerated. */
  samples?: number;
  /** Default 0. */
  seed?: number;
}

const randomisationOptions = z.strictObject({
  samples: z.int().positive().max(1e9).default(100_000),
  seed: z.int().default(0),
});

export interface RandomisationResult {
  /** Mean of `b` minus mean of `a`. */
  difference: number;
  /** Two-sided: how often a difference at least as large arises when the labels of each pair are swapped at random. */
  p: number;
  /** True if all 2^n assignments of the n pairs that differ were enumerated. */
  exact: boolean;
}

/**
 * Tests whether the means of two systems on the same queries differ.
 * p is count / 2^n if exact, and (count + 1) / (samples + 1) if sampled, which is never 0.
 * @throws InputError if the lengths differ or are 0.
 */
export function randomisationTest(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  options: RandomisationOptions = {},
): RandomisationResult {
  const { samples, seed } = validate(randomisationOptions, options, 'randomisationTest options');
  const paired = pairedDifferences(a, b);
  // Pairs without a difference change no sum: leaving them out gives the same p, and fewer assignments to enumerate.
  const differences = paired.filter((difference) => difference !== 0);
  const total = sumOf(differences);
  // Assignments that mathematically tie with the observed one must count, in whatever order their sums are rounded.
  const threshold = Math.abs(total) - 1e-12 * differences.reduce((sum, value) => sum + Math.abs(value), 0);
  const exact = 2 ** differences.length <= samples;
  const count = exact
    ? countEnumerated(differences, total, threshold)
    : countSampled(differences, total, threshold, samples, randomStream(seed, 'randomisation test'));
  return {
    difference: total / paired.length,
    p: exact ? count / 2 ** differences.length : (count + 1) / (samples + 1),
    exact,
  };
}

/** Swapping the labels of a pair flips the sign of its difference, so the sum falls by twice that difference. */
function countEnumerated(differences: Float64Array, total: number, threshold: number): number {
  let count = 0;
  for (let signs = 0; signs < 2 ** differences.length; signs++) {
    let swapped = 0;
    for (let i = 0; i < differences.length; i++) swapped += ((signs >>> i) & 1) * (differences[i] as number);
    if (Math.abs(total - 2 * swapped) >= threshold) count++;
  }
  return count;
}

function countSampled(
  differences: Float64Array,
  total: number,
  threshold: number,
  samples: number,
  stream: RandomStream,
): number {
  let count = 0;
  for (let sample = 0; sample < samples; sample++) {
    let swapped = 0;
    let bits = 0;
    for (let i = 0; i < differences.length; i++) {
      if (i % 32 === 0) bits = stream.integer(2 ** 32);
      swapped += (bits & 1) * (differences[i] as number);
      bits >>>= 1;
    }
    if (Math.abs(total - 2 * swapped) >= threshold) count++;
  }
  return count;
}

export interface BootstrapOptions {
  /** Bootstrap samples (default 10,000). */
  resamples?: number;
  /** Coverage of the interval (default 0.95). */
  confidence?: number;
  /** Default 0. */
  seed?: number;
}

const bootstrapOptions = z.strictObject({
  resamples: z.int().positive().default(10_000),
  confidence: z.number().gt(0).lt(1).default(0.95),
  seed: z.int().default(0),
});

export interface Interval {
  low: number;
  high: number;
}

/**
 * Percentile interval of the mean of `values` over queries drawn with replacement. The same seed and number of
 * queries draw the same queries, whatever the values.
 * @throws InputError if there are no values.
 */
export function bootstrapInterval(values: ArrayLike<number>, options: BootstrapOptions = {}): Interval {
  const { resamples, confidence, seed } = validate(bootstrapOptions, options, 'bootstrap options');
  const n = values.length;
  if (n === 0) throw new InputError({ source: 'bootstrap', expected: 'at least one value', found: 'none' });
  const stream = randomStream(seed, 'bootstrap');
  const means = new Float64Array(resamples);
  for (let sample = 0; sample < resamples; sample++) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += values[stream.integer(n)] as number;
    means[sample] = sum / n;
  }
  means.sort();
  const tail = (1 - confidence) / 2;
  return { low: quantile(means, tail), high: quantile(means, 1 - tail) };
}

/** Percentile interval of the mean difference `b - a` over queries drawn with replacement, both systems together. */
export function bootstrapDifference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  options: BootstrapOptions = {},
): Interval {
  return bootstrapInterval(pairedDifferences(a, b), options);
}

/** Linear between the two nearest order statistics (type 7 of Hyndman and Fan 1996, as in R and NumPy). */
function quantile(sorted: Float64Array, share: number): number {
  const position = share * (sorted.length - 1);
  const below = sorted[Math.floor(position)] as number;
  const above = sorted[Math.ceil(position)] as number;
  return below + (above - below) * (position - Math.floor(position));
}

function pairedDifferences(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  if (a.length !== b.length || a.length === 0) {
    const found = `${a.length} and ${b.length} values`;
    throw new InputError({
      source: 'paired comparison',
      expected: 'the same number of values for both systems',
      found,
    });
  }
  return Float64Array.from({ length: a.length }, (_, i) => (b[i] as number) - (a[i] as number));
}

function sumOf(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
