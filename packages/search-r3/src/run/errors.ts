/** Errors a caller can act on. Bad files, options and requests fail with an `InputError`. */

export interface InputProblem {
  /** What holds the bad value: a file path, or the name of an option object. */
  source: string;
  /** The field, line or option inside the source, if any. */
  field?: string;
  expected: string;
  found: string;
  /** What the user can do about it, if it is not obvious. */
  remedy?: string;
}

/** Bad input: says where, what was expected and what was found. Nothing has been written when it is thrown. */
export class InputError extends Error {
  override readonly name = 'InputError';
  readonly problem: InputProblem;
  constructor(problem: InputProblem) {
    const where = problem.field === undefined ? problem.source : `${problem.source}: ${problem.field}`;
    const remedy = problem.remedy === undefined ? '' : ` ${problem.remedy}`;
    super(`${where}: expected ${problem.expected}, found ${problem.found}.${remedy}`);
    this.problem = problem;
  }
}

/** An `AbortSignal` stopped a long operation; everything completed is on disk and can be resumed. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';
}

/** Training produced numbers that are not finite and cannot continue; earlier checkpoints are on disk. */
export class DivergenceError extends Error {
  override readonly name = 'DivergenceError';
}
