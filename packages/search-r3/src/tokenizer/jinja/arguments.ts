/** Binds the arguments of a call to the parameters of a built-in function, as Python does. */
import { numeric } from './equality.js';
import { raise } from './errors.js';
import { toIndex } from './numbers.js';
import { type Keywords, PyFunction, PyObject, typeName, type Value } from './values.js';

/** Arguments in the order of the parameters; undefined if one is not given. */
export type Bound = readonly (Value | undefined)[];

export interface Signature {
  parameters: readonly string[];
  /** How many arguments are required. */
  required: number;
  /** How many of the first parameters cannot be given by name. */
  positional: number;
}

/**
 * A signature as text: parameter names, with a question mark after optional ones and a slash after those that callers
 * cannot name. 'old new count? /' takes two or three arguments by position.
 */
export function signature(text: string): Signature {
  const words = text.split(' ').filter((word) => word !== '');
  const slash = words.indexOf('/');
  const parameters = words.filter((word) => word !== '/');
  return {
    parameters: parameters.map((word) => word.replace('?', '')),
    required: parameters.filter((word) => !word.endsWith('?')).length,
    positional: slash === -1 ? 0 : slash,
  };
}

export function bind(name: string, to: Signature, args: readonly Value[], keywords: Keywords): Bound {
  const { parameters, required, positional } = to;
  if (args.length > parameters.length) {
    raise(`${name}() takes at most ${parameters.length} arguments (${args.length} given)`);
  }
  const bound: (Value | undefined)[] = [...args];
  for (const [keyword, value] of keywords) {
    const index = parameters.indexOf(keyword);
    if (index < positional) raise(`${name}() got an unexpected keyword argument '${keyword}'`);
    if (bound[index] !== undefined) raise(`${name}() got multiple values for argument '${keyword}'`);
    bound[index] = value;
  }
  for (let i = 0; i < required; i++) {
    if (bound[i] === undefined) raise(`${name}() missing required argument '${parameters[i]}'`);
  }
  return bound;
}

/** A method of a built-in type: its signature, and the function that applies it to an object. */
export interface Method<T> {
  signature: Signature;
  apply: (self: T, ...args: Bound) => Value;
}

export function method<T>(parameters: string, apply: (self: T, ...args: Bound) => Value): Method<T> {
  return { signature: signature(parameters), apply };
}

/** The method `name` of `self`, as a callable value. */
export function boundMethod<T>(self: T, name: string, { signature: to, apply }: Method<T>): PyFunction {
  return new PyFunction(name, (args, keywords) => apply(self, ...bind(name, to, args, keywords)));
}

/** A global function. */
export function builtin(name: string, parameters: string, body: (...args: Bound) => Value): PyFunction {
  const to = signature(parameters);
  return new PyFunction(name, (args, keywords) => body(...bind(name, to, args, keywords)));
}

/** A str argument. */
export function textArgument(value: Value | undefined, what: string): string {
  return typeof value === 'string' ? value : raise(`${what} must be str, not ${typeName(value ?? null)}`);
}

/** A str argument that may be omitted or None. */
export function optionalText(value: Value | undefined, what: string): string | undefined {
  return value === undefined || value === null ? undefined : textArgument(value, what);
}

/** An int (or bool) argument as a safe integer. */
export function intArgument(value: Value | undefined, what: string): number {
  const number = numeric(value ?? null);
  if (typeof number === 'bigint') return toIndex(number);
  return raise(`${what} must be int, not ${typeName(value ?? null)}`);
}

export function call(callee: Value, args: readonly Value[], keywords: Keywords): Value {
  const invoke = callee instanceof PyObject ? callee.invoke : undefined;
  return invoke === undefined
    ? raise(`'${typeName(callee)}' object is not callable`)
    : invoke(args, keywords);
}
