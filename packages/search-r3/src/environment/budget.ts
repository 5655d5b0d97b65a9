/**
 * How much a step may encode: a number of documents, or as many as bring the expected error of the rewards below a
 * target. The ratio of audited to expected errors corrects the expectation.
 */
import type { ResolvedSelectiveOptions } from './options.js';

/**
 * Share of the target to aim at. A few places of a few rollouts make up the error, so even the mean of a hundred steps
 * varies by a quarter to a half either way, and it should stay below the target.
 */
const AIM = 0.5;

/** Maximum total correction of the expectation, as a factor. */
const MOST_CORRECTION = 16;

/** Error that makes no difference if there is no target. */
const NEGLIGIBLE = 0.001;

/** With a target, share of the corpus that the random share of the first step is computed from. */
const FIRST = 0.05;

export interface Allowance {
  /** Maximum number of documents to encode. */
  documents: number;
  /** Number of documents that the random share is a share of. */
  usual: number;
  /** Expected error at which to stop; undefined to spend the whole budget. */
  target: number | undefined;
}

export class Budget {
  readonly #options: ResolvedSelectiveOptions['budget'];
  /** Ratio of audited to expected errors. */
  #correction = 1;
  /** Documents that the last step encoded. */
  #last: number | undefined;
  #version = -1;
  /** Documents encoded at this version so far. */
  #spent = 0;

  constructor(options: ResolvedSelectiveOptions['budget']) {
    this.#options = options;
  }

  /** The rest of the budget at `version`, for a corpus of `documents`. */
  allow(version: number, documents: number): Allowance {
    if (version !== this.#version) {
      if (this.#version >= 0) this.#last = this.#spent;
      this.#version = version;
      this.#spent = 0;
    }
    const whole = this.#whole(documents);
    const left = Math.max(0, whole - this.#spent);
    const { targetError } = this.#options;
    if (targetError === undefined) return { documents: left, usual: whole, target: undefined };
    // A step that encoded nothing says nothing about the next one.
    const usual = Math.min(whole, this.#last || Math.ceil(FIRST * documents));
    return { documents: left, usual, target: (AIM * targetError) / this.#correction };
  }

  spend(documents: number): void {
    this.#spent += documents;
  }

  /** Takes an audit's estimate of the error. The square root of the ratio limits the influence of one audit. */
  audited(expected: number, estimate: number): void {
    // Differences well below the target do not matter.
    const floor = (this.#options.targetError ?? NEGLIGIBLE) / 4;
    const ratio = (estimate + floor) / (expected * this.#correction + floor);
    const corrected = this.#correction * Math.sqrt(ratio);
    this.#correction = Math.min(MOST_CORRECTION, Math.max(1 / MOST_CORRECTION, corrected));
  }

  /** Factor on the expected error, from the audits. */
  get correction(): number {
    return this.#correction;
  }

  state(): BudgetState {
    return {
      correction: this.#correction,
      last: this.#last ?? null,
      version: this.#version,
      spent: this.#spent,
    };
  }

  restore({ correction, last, version, spent }: BudgetState): void {
    this.#correction = correction;
    this.#last = last ?? undefined;
    this.#version = version;
    this.#spent = spent;
  }

  #whole(documents: number): number {
    const { documents: most, fraction, most: share = 1 } = this.#options;
    return most ?? Math.ceil((fraction ?? share) * documents);
  }
}

export interface BudgetState {
  correction: number;
  last: number | null;
  version: number;
  spent: number;
}
