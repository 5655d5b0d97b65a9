/** Macros, and the bodies of call blocks, as values that can be called. */
import type { Bound } from './arguments.js';
import { Dict, Tuple } from './containers.js';
import { raise } from './errors.js';
import { repr } from './repr.js';
import { type Keywords, PyObject, Undefined, type Value } from './values.js';

/** Stops any recursion that Python would stop. Its limit depends on the caller, so this one is lower. */
const MAX_DEPTH = 120;
let depth = 0;

/** Runs a function of the template that may call itself. */
export function recurse<T>(action: () => T): T {
  if (depth >= MAX_DEPTH) raise('maximum recursion depth exceeded');
  depth++;
  try {
    return action();
  } finally {
    depth--;
  }
}

/** A macro, or the body of a call block. */
export class Macro extends PyObject {
  readonly typeName = 'Macro';
  constructor(
    private readonly macroName: string | undefined,
    private readonly parameters: readonly string[],
    private readonly accepts: { caller: boolean; keywords: boolean; rest: boolean },
    /** Renders the body. The arguments: one per parameter, then caller, kwargs and varargs if it accepts them. */
    private readonly body: (args: readonly (Value | undefined)[]) => string,
  ) {
    super();
  }

  override get invoke(): (args: readonly Value[], keywords: Keywords) => Value {
    return (args, keywords) => recurse(() => this.body(this.#arguments(args, keywords)));
  }

  #arguments(args: readonly Value[], keywords: Keywords): Bound {
    const { parameters, accepts } = this;
    const named = new Map(keywords);
    const take = (name: string) => {
      const value = named.get(name);
      named.delete(name);
      return value;
    };
    const bound: (Value | undefined)[] = args.slice(0, parameters.length);
    // Whether a parameter called "caller" has already been handled.
    let foundCaller = bound.length === parameters.length && parameters.includes('caller');
    for (const parameter of parameters.slice(bound.length)) {
      bound.push(take(parameter));
      foundCaller ||= parameter === 'caller';
    }
    if (accepts.caller && !foundCaller) {
      const caller = take('caller');
      bound.push(caller === undefined || caller === null ? new Undefined('No caller defined') : caller);
    }
    if (accepts.keywords) bound.push(Dict.ofStrings(named));
    else for (const name of named.keys()) raise(`macro ${this.repr()} takes no keyword argument '${name}'`);
    if (accepts.rest) bound.push(new Tuple(args.slice(parameters.length)));
    else if (args.length > parameters.length) {
      raise(`macro ${this.repr()} takes not more than ${parameters.length} argument(s)`);
    }
    return bound;
  }

  override repr(): string {
    return `<Macro ${this.macroName === undefined ? 'anonymous' : repr(this.macroName)}>`;
  }

  override attribute(name: string): Value | undefined {
    switch (name) {
      case 'name':
        return this.macroName ?? null;
      case 'arguments':
        return new Tuple(this.parameters);
      case 'catch_kwargs':
        return this.accepts.keywords;
      case 'catch_varargs':
        return this.accepts.rest;
      case 'caller':
        return this.accepts.caller;
      case 'explicit_caller':
        return this.parameters.includes('caller');
      default:
        return undefined;
    }
  }
}
