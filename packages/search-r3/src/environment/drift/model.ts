/**
 * The drift of one step, learned from the documents just encoded: a linear map near the identity, and kernel ridge
 * regression on its residuals. A part is left out if it predicts unseen pairs worse than no prediction would, or if the
 * ridge is too small for the pairs to determine it.
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
  /** Correct documents near the queries by kernel ridge regression on the residuals of the map. */
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

/** A learned drift. Either part may be missing. */
export interface Drift {
  matrix: Float32Array | undefined;
  kernel: { known: Float32Array; rows: readonly number[]; coefficients: Float32Array } | undefined;
  /** [seen * dimension]: error of predicting each pair's new vector from the other pairs. */
  residuals: Float64Array;
  /** Indices of the pairs that `residuals` are of. */
  seen: readonly number[];
}

/** Maximum number of pairs that the kernel learns from, evenly spaced: its cost grows with their cube. */
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

  /** Without `words` the kernel compares vectors alone. */
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
   * Predicts the vectors of the documents at `rows` from those before the step, `near` ones also by the kernel. Returns
   * `vectors` itself if there is no map or kernel to predict with.
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

  /** Fits the map's leave-one-out residuals: its errors on stale documents are of that kind. */
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
    // Its cosines are rounded to float32; a ridge below about 1e-4 does not make up for that.
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
