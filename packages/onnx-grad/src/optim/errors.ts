/** Errors of the optimiser, thrown before anything is changed. */

export interface OptimProblem {
  /** The function or method that threw. */
  call: string;
  /** The option or tensor. */
  field: string;
  expected: string;
  found: string;
}

/** A bad option, or tensors that do not match. */
export class OptimError extends Error {
  override readonly name = 'OptimError';
  readonly problem: OptimProblem;
  constructor(problem: OptimProblem) {
    super(`${problem.call}: ${problem.field}: expected ${problem.expected}, found ${problem.found}`);
    this.problem = problem;
  }
}

/** @throws OptimError unless `ok`, which must be false for NaN. */
export function demand(ok: boolean, call: string, field: string, expected: string, found: unknown): void {
  if (!ok) throw new OptimError({ call, field, expected, found: String(found) });
}

/** The length of an array, for messages. */
export const lengthOf = (array: Float32Array): string => `${array.length} elements`;
