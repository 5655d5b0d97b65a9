/** What the optimiser side refuses: bad options or tensors that do not belong together. Nothing was changed by then. */

export interface OptimProblem {
  /** The function or method that refused. */
  call: string;
  /** The option or tensor. */
  field: string;
  expected: string;
  found: string;
}

/** A bad option, or tensors that do not belong together. */
export class OptimError extends Error {
  override readonly name = 'OptimError';
  readonly problem: OptimProblem;
  constructor(problem: OptimProblem) {
    super(`${problem.call}: ${problem.field}: expected ${problem.expected}, found ${problem.found}`);
    this.problem = problem;
  }
}

/** Throws an `OptimError` unless `ok` (which must be false for NaN). */
export function demand(ok: boolean, call: string, field: string, expected: string, found: unknown): void {
  if (!ok) throw new OptimError({ call, field, expected, found: String(found) });
}

/** The length of an array as messages put it. */
export const lengthOf = (array: Float32Array): string => `${array.length} elements`;
