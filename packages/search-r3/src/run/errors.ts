/** Errors a caller can act on. Everything that comes from outside (files, options, requests) fails with one of these. */

export interface InputProblem {
  /** What holds the bad value: a file path, or the name of an option object. */
  source: string;
  /** The field, line or option inside the source, where there is one. */
  field?: string;
  expected: string;
  found: string;
  /** What the user can do about it, where it is not obvious. */
  remedy?: string;
}

/** Bad input: names the thing, what was expected and what was found. Nothing has been written when it is thrown. */
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

/** A long operation was stopped by its `AbortSignal`; what was complete is on disk and can be resumed. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';
}

/** Training has left what numbers can express and can not go on; what was saved before that is on disk. */
export class DivergenceError extends Error {
  override readonly name = 'DivergenceError';
}
