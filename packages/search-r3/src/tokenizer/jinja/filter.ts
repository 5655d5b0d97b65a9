/** Filters as functions of the input, with arguments bound as Python binds them. */
import { type Bound, bind, signature } from './arguments.js';
import type { Keywords, Value } from './values.js';

export type Filter = (input: Value, args: readonly Value[], keywords: Keywords) => Value;

export type Test = (input: Value, args: readonly Value[], keywords: Keywords) => boolean;

export function filter(parameters: string, apply: (input: Value, ...args: Bound) => Value): Filter {
  const to = signature(parameters);
  return (input, args, keywords) => apply(input, ...bind('filter', to, args, keywords));
}

export function test(parameters: string, apply: (input: Value, ...args: Bound) => boolean): Test {
  const to = signature(parameters);
  return (input, args, keywords) => apply(input, ...bind('test', to, args, keywords));
}
