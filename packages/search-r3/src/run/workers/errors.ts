/** Errors on their way between threads: structured cloning loses their class and their fields. */
import { DivergenceError, InputError, type InputProblem, InterruptedError } from '../errors.js';

export interface CarriedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly cause?: CarriedError;
  /** The problem of an `InputError`. */
  readonly problem?: InputProblem;
  /** Fields of a system error: `code`, `syscall`, `path` and so on. */
  readonly system?: Record<string, unknown>;
}

export function carry(thrown: unknown): CarriedError {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const { name, message, stack, cause } = error;
  return {
    name,
    message,
    stack,
    ...(cause !== undefined && { cause: carry(cause) }),
    ...(error instanceof InputError && { problem: error.problem }),
    ...('syscall' in error && { system: { ...error } }),
  };
}

const CLASSES: ReadonlyMap<string, new (message: string) => Error> = new Map(
  [InterruptedError, DivergenceError, RangeError, TypeError].map((type) => [type.name, type]),
);

/** The error as it was thrown, with the stack of its thread. Errors of other classes keep their name. */
export function revive({ name, message, stack, cause, problem, system }: CarriedError): Error {
  const error = problem === undefined ? new (CLASSES.get(name) ?? Error)(message) : new InputError(problem);
  const hidden = (value: unknown) => ({ value, writable: true, configurable: true });
  if (error.name !== name) Object.defineProperty(error, 'name', hidden(name));
  if (cause !== undefined) Object.defineProperty(error, 'cause', hidden(revive(cause)));
  if (stack !== undefined) error.stack = stack;
  return Object.assign(error, system);
}
