/**
 * Python's values as a template sees them. None is `null`, an int a bigint, a float a number, a str a string, and a
 * list an array. The sandbox forbids changing lists and dicts, so sharing them is safe. Everything else is a
 * `PyObject`.
 */
import { raise, unsupported } from './errors.js';

export type Value = null | boolean | bigint | number | string | readonly Value[] | PyObject;

/** Arguments by name. */
export type Keywords = ReadonlyMap<string, Value>;

export const NO_KEYWORDS: Keywords = new Map();

/** A Python object; each hook has Python's default, and a subclass overrides what its type can do. */
export abstract class PyObject {
  /** The name of the Python type. */
  abstract readonly typeName: string;

  truthy(): boolean {
    return true;
  }

  /** `len()`; undefined if the type has none. */
  length(): number | undefined {
    return undefined;
  }

  /** `iter()`; undefined if the type is not iterable. Resuming is up to the iterator. */
  iterate(): Iterable<Value> | undefined {
    return undefined;
  }

  repr(): string {
    return unsupported(`the text of a ${this.typeName} is its address in memory`);
  }

  str(): string {
    return this.repr();
  }

  /** `getattr()`; undefined if Python raises an AttributeError. */
  attribute(_name: string): Value | undefined {
    return undefined;
  }

  /** `object[key]`; undefined if Python raises a TypeError, IndexError or KeyError. */
  item(_key: Value): Value | undefined {
    return undefined;
  }

  /** `object(...)`; undefined if the type is not callable. */
  get invoke(): ((args: readonly Value[], keywords: Keywords) => Value) | undefined {
    return undefined;
  }

  equals(other: Value): boolean {
    return this === other;
  }

  get hashable(): boolean {
    return true;
  }

  /** `hash()`, as a key of a JavaScript Map; called only for hashable values. */
  hash(): unknown {
    return this;
  }
}

/** A missing value. It prints as nothing, and is false and empty; any other use raises an error. */
export class Undefined extends PyObject {
  readonly typeName = 'Undefined';
  constructor(private readonly hint: string) {
    super();
  }

  static ofName(name: string): Undefined {
    return new Undefined(`'${name}' is undefined`);
  }

  fail(): never {
    return raise(this.hint);
  }

  override truthy(): boolean {
    return false;
  }

  override length(): number {
    return 0;
  }

  override iterate(): Iterable<Value> {
    return [];
  }

  override repr(): string {
    return 'Undefined';
  }

  override str(): string {
    return '';
  }

  override attribute(): Value {
    return this.fail();
  }

  override item(): Value {
    return this.fail();
  }

  override get invoke(): (args: readonly Value[], keywords: Keywords) => Value {
    return () => this.fail();
  }

  override equals(other: Value): boolean {
    return other instanceof Undefined;
  }

  override hash(): unknown {
    return Undefined;
  }
}

/** A function or method. */
export class PyFunction extends PyObject {
  override readonly typeName: string;
  constructor(
    readonly functionName: string,
    private readonly body: (args: readonly Value[], keywords: Keywords) => Value,
    typeName = 'builtin_function_or_method',
  ) {
    super();
    this.typeName = typeName;
  }

  override get invoke(): (args: readonly Value[], keywords: Keywords) => Value {
    return this.body;
  }

  override equals(other: Value): boolean {
    // Methods are created at each access here, but Python compares them by what they are bound to.
    return this === other || (other instanceof PyFunction && unsupported('comparing functions'));
  }
}

/** An iterator that yields each value once, no matter how often it is iterated. */
export class PyIterator extends PyObject {
  override readonly typeName: string;
  readonly #source: Iterator<Value>;
  constructor(values: Iterable<Value>, typeName = 'generator') {
    super();
    this.#source = values[Symbol.iterator]();
    this.typeName = typeName;
  }

  next(): IteratorResult<Value, unknown> {
    return this.#source.next();
  }

  override iterate(): Iterable<Value> {
    // No `return`: if a loop is left early, the next loop gets the rest.
    return { [Symbol.iterator]: () => ({ next: () => this.#source.next() }) };
  }
}

/** The name of the Python type of a value. */
export function typeName(value: Value): string {
  switch (typeof value) {
    case 'boolean':
      return 'bool';
    case 'bigint':
      return 'int';
    case 'number':
      return 'float';
    case 'string':
      return 'str';
    case 'object':
      if (value === null) return 'NoneType';
      return value instanceof PyObject ? value.typeName : 'list';
    default:
      return value satisfies never;
  }
}

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

export function truthy(value: Value): boolean {
  switch (typeof value) {
    case 'boolean':
      return value;
    case 'bigint':
      return value !== 0n;
    case 'number':
      // NaN is true in Python.
      return value !== 0;
    case 'string':
      return value !== '';
    case 'object':
      if (value === null) return false;
      return value instanceof PyObject ? value.truthy() : value.length > 0;
    default:
      return value satisfies never;
  }
}
