/**
 * Where variables live while a template renders. Templates, blocks, macros and recursive loops are functions. Each call
 * keeps its variables in an array of slots. A nested function reads the current values of the variables of the function
 * around it.
 */
import { unsupported } from './errors.js';
import type { Statement } from './nodes.js';
import type { Symbols, Variable } from './symbols.js';
import { Undefined, type Value } from './values.js';

/** The variables of the template itself, where blocks look up names. */
export class Context {
  readonly #own = new Map<string, Value>();
  constructor(
    private readonly given: ReadonlyMap<string, Value>,
    readonly blocks: ReadonlyMap<string, (context: Context) => string>,
  ) {}

  resolve(name: string): Value | undefined {
    const own = this.#own.get(name);
    return own === undefined ? this.given.get(name) : own;
  }

  set(name: string, value: Value | undefined): void {
    // A name that is not assigned yet is not a variable.
    if (value === undefined) this.#own.delete(name);
    else this.#own.set(name, value);
  }

  /** A context with the variables of a scope on top, for a block marked `scoped`. */
  derived(locals: Iterable<readonly [string, Value]>): Context {
    return new Context(new Map([...this.given, ...this.#own, ...locals]), this.blocks);
  }
}

/** A call of a function of the template. */
export interface Activation {
  /** A slot without a value is a variable that is not assigned. */
  slots: (Value | undefined)[];
  outer: Activation | undefined;
  context: Context;
  /** What has been written since the last block that captures its text. */
  output: string;
  /** The body of the filter block whose filters are applied now. */
  captured: string;
}

export function activate(context: Context, outer?: Activation): Activation {
  return { slots: [], outer, context, output: '', captured: '' };
}

/** Why the rest of a body is skipped. */
export type Signal = 'break' | 'continue' | undefined;

export type Execute = (activation: Activation) => Signal;

export type CompileBody = (body: readonly Statement[], scope: Scope) => Execute;

/** A function of the template while it is being compiled. */
export class FunctionScope {
  readonly #slots = new Map<string, number>();
  /** @param level the level of its outermost scope: variables of lower levels belong to the functions around it. */
  constructor(
    readonly level: number,
    readonly outer?: FunctionScope,
  ) {}

  slot({ level, name }: Variable): number {
    const id = `${level} ${name}`;
    const known = this.#slots.get(id);
    if (known !== undefined) return known;
    const slot = this.#slots.size;
    this.#slots.set(id, slot);
    return slot;
  }
}

/** A scope while it is being compiled. */
export interface Scope {
  symbols: Symbols;
  function: FunctionScope;
  /** Whether variables assigned here belong to the template. */
  topLevel: boolean;
  /** Inside an `if`: an unknown filter is an error only if it is reached. */
  soft: boolean;
  /** Inside a loop of the same function, which `break` can leave. */
  inLoop: boolean;
}

export type Read = (activation: Activation) => Value | undefined;
export type Write = (activation: Activation, value: Value | undefined) => void;

/** How many functions out a variable is, and its slot there. */
function locate(variable: Variable, from: FunctionScope): { hops: number; slot: number } {
  let scope = from;
  let hops = 0;
  while (variable.level < scope.level && scope.outer !== undefined) {
    scope = scope.outer;
    hops++;
  }
  return { hops, slot: scope.slot(variable) };
}

export function reader(variable: Variable, from: FunctionScope): Read {
  const { hops, slot } = locate(variable, from);
  if (hops === 0) return ({ slots }) => slots[slot];
  if (hops === 1) return ({ outer }) => outer?.slots[slot];
  return (activation) => {
    let at: Activation | undefined = activation;
    for (let i = 0; i < hops; i++) at = at?.outer;
    return at?.slots[slot];
  };
}

export function writer(variable: Variable, from: FunctionScope): Write {
  const { slot } = locate(variable, from);
  return ({ slots }, value) => {
    slots[slot] = value;
  };
}

/** The value of a name, which may be undefined. */
export function nameReader(
  name: string,
  { symbols, function: from }: Scope,
): (activation: Activation) => Value {
  const variable = symbols.reference(name);
  const read = reader(variable, from);
  const isOuterParameter = variable.level < from.level && symbols.loadOf(variable)?.kind === 'parameter';
  return (activation) => {
    const value = read(activation);
    if (value !== undefined) return value;
    // Jinja2 assumes that parameters are assigned, and prints its own marker if one is not.
    if (isOuterParameter) unsupported(`the variable "${name}" of a loop that has ended`);
    return Undefined.ofName(name);
  };
}

/** What entering a scope does. */
export function entrance({ symbols, function: from }: Scope): (activation: Activation) => void {
  const steps: ((activation: Activation) => void)[] = [];
  for (const { variable, load } of symbols.loads) {
    const write = writer(variable, from);
    switch (load.kind) {
      case 'parameter':
        break;
      case 'resolve':
        steps.push((activation) => write(activation, activation.context.resolve(load.name)));
        break;
      case 'alias': {
        const read = reader(load.of, from);
        steps.push((activation) => write(activation, read(activation)));
        break;
      }
      case 'undefined':
        steps.push((activation) => write(activation, undefined));
        break;
      default:
        load satisfies never;
    }
  }
  return all(steps);
}

/** What leaving a scope does. A macro that was made in the scope and outlives it no longer has its variables. */
export function exit({ symbols, function: from }: Scope): (activation: Activation) => void {
  const writes = Array.from(symbols.loads, ({ variable }) => writer(variable, from));
  return all(writes.map((write) => (activation: Activation) => write(activation, undefined)));
}

function all(steps: readonly ((activation: Activation) => void)[]): (activation: Activation) => void {
  const [only] = steps;
  if (steps.length === 1 && only !== undefined) return only;
  return (activation) => {
    for (const step of steps) step(activation);
  };
}
