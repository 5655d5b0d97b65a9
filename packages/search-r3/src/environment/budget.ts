/**
 * How much a step may encode: a number of documents, or as many as bring the expected error of the rewards below a
 * target. What audits find, measured in what was expected, corrects the expectation.
 */
import type { ResolvedSelectiveOptions } from './options.js';

/**
 * What is aimed at, as a share of the target: rewards err by a few places of a few rollouts, so that the mean of a hundred
 * steps still varies by a quarter to a half either way, and it is to stay below the target.
 */
const AIM = 0.5;

/** The expectation is corrected by at most this factor in all. */
const MOST_CORRECTION = 16;

/** Errors that make no difference, where no target says which do. */
const NEGLIGIBLE = 0.001;

/** Documents of the first step with a target, as a share of the corpus: the random ones among them are a share of it. */
const FIRST = 0.05;

export interface Allowance {
  /** Documents at most. */
  documents: number;
  /** Documents to draw the random share from. */
  usual: number;
  /** Expected error at which to stop; undefined to use the documents up. */
  target: number | undefined;
}

export class Budget {
  readonly #options: ResolvedSelectiveOptions['budget'];
  /** Audited errors in terms of expected ones. */
  #correction = 1;
  /** What the last step encoded. */
  #last: number | undefined;
  #version = -1;
  /** Encoded at this version so far. */
  #spent = 0;

  constructor(options: ResolvedSelectiveOptions['budget']) {
    this.#options = options;
  }

  /** What is left of the budget at a version, for a corpus of so many documents. */
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
    // A step that needed nothing tells nothing of what the next one needs.
    const usual = Math.min(whole, this.#last || Math.ceil(FIRST * documents));
    return { documents: left, usual, target: (AIM * targetError) / this.#correction };
  }

  spend(documents: number): void {
    this.#spent += documents;
  }

  /** An audit estimated the error; the square root of the ratio keeps one audit from deciding. */
  audited(expected: number, estimate: number): void {
    // Well below the target both are as good as equal.
    const floor = (this.#options.targetError ?? NEGLIGIBLE) / 4;
    const ratio = (estimate + floor) / (expected * this.#correction + floor);
    const corrected = this.#correction * Math.sqrt(ratio);
    this.#correction = Math.min(MOST_CORRECTION, Math.max(1 / MOST_CORRECTION, corrected));
  }

  /** The factor that audits suggest on the expected error. */
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
