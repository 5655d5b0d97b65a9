/**
 * The drift of one step, learnt from the documents just encoded: a linear map towards the identity, and kernel ridge
 * regression on what it leaves. A part that predicts pairs it has not seen worse than its absence
 * would is left out, and so is one that the pairs do not determine, its ridge being too little for that.
 */
import { copyRows, evenly } from '../../run/index.js';
import { factorised } from './cholesky.js';
import { DriftPrograms } from './programs.js';
import { type DriftPairs, fitDriftMap, movement } from './ridge.js';
import type { WordVectors } from './words.js';

export interface DriftOptions {
  /** Move stale vectors by a linear map. */
  map: boolean;
  /** Ridge of the map, as a multiple of pairs / dimension. */
  lambda: number;
  /** Correct what lies near by kernel ridge regression on what the map leaves. */
  kernel: boolean;
  /** Ridge of the kernel. */
  ridge: number;
  /** Share of the kernel that is the cosine of the documents' words; the rest is exp(sharpness (cos - 1)). */
  words: number;
  sharpness: number;
}

export interface RowPairs extends DriftPairs {
  /** Rows of the documents, for their words. */
  rows: readonly number[];
}

/** What was learnt. Both parts may be missing. */
export interface Drift {
  matrix: Float32Array | undefined;
  kernel: { known: Float32Array; rows: readonly number[]; coefficients: Float32Array } | undefined;
  /** [seen * dimension]: what is left of each pair's new vector when it is predicted from the others. */
  residuals: Float64Array;
  /** Which of the pairs those are of. */
  seen: readonly number[];
}

/** Pairs that the kernel learns from, evenly from all, at most: its cost grows with their cube. */
const KERNEL_PAIRS = 1024;

/** Rows moved at once. */
const BLOCK = 8192;

export class DriftModel {
  readonly #dimension: number;
  readonly #options: DriftOptions;
  readonly #programs: DriftPrograms;
  readonly #words: WordVectors | undefined;

  private constructor(
    dimension: number,
    options: DriftOptions,
    programs: DriftPrograms,
    words: WordVectors | undefined,
  ) {
    this.#dimension = dimension;
    this.#options = options;
    this.#programs = programs;
    this.#words = words;
  }

  /** Without words the kernel is the other part alone. */
  static async create(dimension: number, options: DriftOptions, words?: WordVectors): Promise<DriftModel> {
    const share = words === undefined ? 1 : 1 - options.words;
    const programs = await DriftPrograms.create(dimension, share, options.sharpness);
    return new DriftModel(dimension, options, programs, words);
  }

  async fit(pairs: RowPairs): Promise<Drift> {
    const all = [...pairs.rows.keys()];
    const none: Drift = { matrix: undefined, kernel: undefined, residuals: movement(pairs), seen: all };
    if (pairs.count < 2) return none;
    const { map, lambda, kernel } = this.#options;
    const mapped = map ? fitDriftMap(pairs, (lambda * pairs.count) / pairs.dimension) : undefined;
    const linear =
      mapped !== undefined && energy(mapped.residuals) < energy(none.residuals)
        ? { ...none, ...mapped }
        : none;
    if (!kernel) return linear;
    const seen = evenly(all, KERNEL_PAIRS);
    const residuals = new Float64Array(seen.length * pairs.dimension);
    const left = { ...linear, seen, residuals: copyRows(residuals, linear.residuals, seen, pairs.dimension) };
    const corrected = await this.#fitKernel(pairs, left);
    return corrected !== undefined && energy(corrected.residuals) < energy(left.residuals)
      ? corrected
      : linear;
  }

  /**
   * Predictions for the documents at `rows` with the vectors they had before the step; `near` ones by the kernel too.
   * The vectors themselves where there is nothing to predict with.
   */
  async move(
    drift: Drift,
    rows: readonly number[],
    vectors: Float32Array,
    near: boolean,
  ): Promise<Float32Array> {
    const kernel = near ? drift.kernel : undefined;
    if (drift.matrix === undefined && kernel === undefined) return vectors;
    const result = new Float32Array(vectors.length);
    for (let start = 0; start < rows.length; start += BLOCK) {
      const part = vectors.subarray(start * this.#dimension, (start + BLOCK) * this.#dimension);
      const moved = drift.matrix === undefined ? part : await this.#programs.move(part, drift.matrix);
      const block = rows.slice(start, start + BLOCK);
      const corrected =
        kernel === undefined
          ? moved
          : await this.#programs.correct(moved, await this.#kernel(block, part, kernel), kernel.coefficients);
      result.set(corrected, start * this.#dimension);
    }
    return result;
  }

  async dispose(): Promise<void> {
    await this.#programs.dispose();
  }

  /** On the errors the map makes where it has not seen the pair: those are what it leaves of stale documents. */
  async #fitKernel(pairs: RowPairs, linear: Drift): Promise<Drift | undefined> {
    const { dimension } = pairs;
    const { seen } = linear;
    const count = seen.length;
    const rows = seen.map((i) => pairs.rows[i] as number);
    const known = copyRows(new Float32Array(count * dimension), pairs.old, seen, dimension);
    const gram = Float64Array.from(await this.#kernel(rows, known, { rows, known }));
    for (let i = 0; i < count; i++) {
      gram[i * count + i] = (gram[i * count + i] as number) + this.#options.ridge;
    }
    // Its cosines are rounded to float32, which a ridge below 1e-4 or so does not make up for.
    const factor = factorised(gram, count);
    if (factor === undefined) return undefined;
    const coefficients = factor.solve(new Float64Array(linear.residuals), dimension);
    const diagonal = factor.inverseDiagonal();
    const residuals = coefficients.map(
      (value, at) => value / (diagonal[Math.floor(at / dimension)] as number),
    );
    const kernel = { known, rows, coefficients: Float32Array.from(coefficients) };
    return { matrix: linear.matrix, kernel, residuals, seen };
  }

  async #kernel(
    rows: readonly number[],
    vectors: Float32Array,
    { known, rows: others }: { known: Float32Array; rows: readonly number[] },
  ): Promise<Float32Array> {
    const words = new Float32Array(rows.length * others.length);
    this.#words?.addCosines(words, rows, others, this.#options.words);
    return this.#programs.kernel(vectors, known, words);
  }
}

const energy = (values: Float64Array): number => values.reduce((total, value) => total + value * value, 0);
