/** The messages to and from the thread of a retriever or a job, and how errors keep their types on the way. */
import { FeedError } from 'onnx-grad';
import type { Embedding, EmbedOptions } from '../../embed/index.js';
import { DivergenceError, InputError, type InputProblem, InterruptedError } from '../../run/index.js';
import type { DocumentInput } from '../../vectors/index.js';
import type { JobName, Jobs, TrainOptions } from '../jobs.js';
import type { LoadOptions } from '../local-retriever.js';
import type { FoundDocuments, IndexOptions, IndexSummary, SearchOptions } from '../types.js';

/** Options as callers pass them: with functions, which are not sent, and a signal. */
type Options = object;

/** Everything the thread does. */
export interface Operations {
  load: { argument: string; options: LoadOptions; result: { dimension: number } };
  /** `names`: names of the texts in errors, if the caller gave any. */
  embed: {
    argument: { texts: readonly string[]; names?: readonly string[] };
    options: Omit<EmbedOptions, 'nameOf'>;
    result: Embedding[];
  };
  index: { argument: string | readonly DocumentInput[]; options: IndexOptions; result: IndexSummary };
  /** The result has the number that identifies the index, and its size. */
  open: { argument: string; options: Options; result: { number: number; size: number } };
  search: {
    argument: { number: number; queries: readonly string[] };
    options: SearchOptions;
    result: FoundDocuments[];
  };
  close: { argument: number; options: Options; result: undefined };
  job: {
    argument: { [J in JobName]: { name: J; config: Jobs[J]['config'] } }[JobName];
    options: Omit<TrainOptions, 'thread'>;
    result: Jobs[JobName]['result'];
  };
  dispose: { argument: undefined; options: Options; result: undefined };
}

export type OperationName = keyof Operations;

export type Call = {
  [Name in OperationName]: {
    readonly kind: 'call';
    readonly id: number;
    readonly name: Name;
    readonly argument: Operations[Name]['argument'];
    readonly options: PortableOptions;
  };
}[OperationName];

export type ToThread = Call | { readonly kind: 'abort'; readonly id: number };

export type FromThread =
  | { readonly kind: 'result'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'error'; readonly id: number; readonly error: CarriedError }
  | {
      readonly kind: 'event';
      readonly id: number;
      readonly callback: string;
      readonly values: readonly unknown[];
    };

/** Options that can be sent: functions by name only. */
export interface PortableOptions {
  readonly values: Record<string, unknown>;
  readonly callbacks: readonly string[];
  /** Whether the caller's signal is already aborted. */
  readonly aborted: boolean;
}

export function portable(options: Options): PortableOptions {
  const values: Record<string, unknown> = {};
  const callbacks: string[] = [];
  let signal: AbortSignal | undefined;
  for (const [key, value] of Object.entries(options)) {
    if (typeof value === 'function') callbacks.push(key);
    else if (value instanceof AbortSignal) signal = value;
    else values[key] = value;
  }
  return { values, callbacks, aborted: signal?.aborted ?? false };
}

/** An error as sent between threads: structured cloning loses its class. */
export interface CarriedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** The problem of an `InputError`. */
  readonly problem?: InputProblem;
  /** Fields of a system error: `code`, `syscall`, `path` and so on. */
  readonly system?: Record<string, unknown>;
}

export function carry(thrown: unknown): CarriedError {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const { name, message, stack } = error;
  if (error instanceof InputError) return { name, message, stack, problem: error.problem };
  return 'syscall' in error ? { name, message, stack, system: { ...error } } : { name, message, stack };
}

const ERROR_TYPE = new Map<string, new (message: string) => Error>([
  ['InterruptedError', InterruptedError],
  ['DivergenceError', DivergenceError],
  ['FeedError', FeedError],
  ['RangeError', RangeError],
  ['TypeError', TypeError],
]);

/** The error as it was thrown, with the stack from its thread. */
export function revive({ name, message, stack, problem, system }: CarriedError): Error {
  const error =
    problem === undefined ? new (ERROR_TYPE.get(name) ?? Error)(message) : new InputError(problem);
  if (stack !== undefined) error.stack = stack;
  return Object.assign(error, system);
}
