/** Python's tuple, dict, the views of a dict, and range. */
import { equal, hashKey, isHashable, sameItems } from './equality.js';
import { raise, unsupported } from './errors.js';
import { repr } from './repr.js';
import { isList, PyIterator, PyObject, typeName, Undefined, type Value } from './values.js';

export class Tuple extends PyObject {
  override readonly typeName: string = 'tuple';
  constructor(readonly items: readonly Value[]) {
    super();
  }

  override truthy(): boolean {
    return this.items.length > 0;
  }

  override length(): number {
    return this.items.length;
  }

  override iterate(): Iterable<Value> {
    return this.items;
  }

  override repr(): string {
    const [first] = this.items;
    if (this.items.length === 1 && first !== undefined) return `(${repr(first)},)`;
    return `(${this.items.map(repr).join(', ')})`;
  }

  override equals(other: Value): boolean {
    return other instanceof Tuple && sameItems(this.items, other.items);
  }

  override get hashable(): boolean {
    return this.items.every(isHashable);
  }

  override hash(): unknown {
    // A symbol, so that no string can be mistaken for it.
    return Symbol.for(`(${this.items.map((item) => describeKey(hashKey(item))).join()})`);
  }
}

function describeKey(key: unknown): string {
  switch (typeof key) {
    case 'string':
      return JSON.stringify(key);
    case 'bigint':
      return `${key}n`;
    case 'symbol':
      return String(Symbol.keyFor(key));
    case 'number':
      return String(key);
    default:
      if (key === null || key === Undefined) return String(key === null ? key : 'Undefined');
      return unsupported('a tuple of objects as a key');
  }
}

interface Entry {
  key: Value;
  value: Value;
}

export class Dict extends PyObject {
  readonly typeName = 'dict';
  readonly #entries = new Map<unknown, Entry>();

  /** If a key occurs twice, the first key and the last value stay, as in Python. */
  constructor(pairs: Iterable<readonly [Value, Value]> = []) {
    super();
    for (const [key, value] of pairs) this.#set(key, value);
  }

  #set(key: Value, value: Value): void {
    const hash = hashKey(key);
    const known = this.#entries.get(hash);
    if (known === undefined) this.#entries.set(hash, { key, value });
    else known.value = value;
  }

  /** A dict of JSON values, made without copying each pair. */
  static ofStrings(pairs: Iterable<readonly [string, Value]>): Dict {
    const dict = new Dict();
    for (const [key, value] of pairs) dict.#entries.set(key, { key, value });
    return dict;
  }

  get(key: Value): Value | undefined {
    return this.#entries.get(hashKey(key))?.value;
  }

  has(key: Value): boolean {
    return this.#entries.has(hashKey(key));
  }

  *pairs(): Iterable<readonly [Value, Value]> {
    for (const { key, value } of this.#entries.values()) yield [key, value];
  }

  override truthy(): boolean {
    return this.#entries.size > 0;
  }

  override length(): number {
    return this.#entries.size;
  }

  override *iterate(): Iterable<Value> {
    for (const { key } of this.#entries.values()) yield key;
  }

  override repr(): string {
    const pairs = [...this.pairs()].map(([key, value]) => `${repr(key)}: ${repr(value)}`);
    return `{${pairs.join(', ')}}`;
  }

  override item(key: Value): Value | undefined {
    return isHashable(key) ? this.get(key) : undefined;
  }

  override equals(other: Value): boolean {
    if (!(other instanceof Dict) || other.length() !== this.length()) return false;
    for (const [key, value] of this.pairs()) {
      const counterpart = other.get(key);
      if (counterpart === undefined || !equal(value, counterpart)) return false;
    }
    return true;
  }

  override get hashable(): boolean {
    return false;
  }
}

/** `dict.keys()`, `dict.values()` or `dict.items()`. */
export class DictView extends PyObject {
  readonly typeName: string;
  constructor(
    readonly dict: Dict,
    readonly kind: 'keys' | 'values' | 'items',
  ) {
    super();
    this.typeName = `dict_${kind}`;
  }

  override truthy(): boolean {
    return this.dict.truthy();
  }

  override length(): number {
    return this.dict.length();
  }

  override *iterate(): Iterable<Value> {
    for (const [key, value] of this.dict.pairs()) {
      if (this.kind === 'items') yield new Tuple([key, value]);
      else yield this.kind === 'keys' ? key : value;
    }
  }

  override repr(): string {
    return `${this.typeName}([${[...this.iterate()].map(repr).join(', ')}])`;
  }

  override equals(other: Value): boolean {
    if (this === other) return true;
    if (!(other instanceof DictView) || this.kind === 'values' || other.kind === 'values') return false;
    return unsupported('comparing views of dicts');
  }

  override get hashable(): boolean {
    return this.kind === 'values';
  }
}

/** `range(start, stop, step)` over ints that a JavaScript number can hold. */
export class Range extends PyObject {
  readonly typeName = 'range';
  readonly #length: number;
  constructor(
    readonly start: number,
    readonly stop: number,
    readonly step: number,
  ) {
    super();
    this.#length = Math.max(0, Math.ceil((stop - start) / step));
  }

  override truthy(): boolean {
    return this.#length > 0;
  }

  override length(): number {
    return this.#length;
  }

  at(index: number): bigint {
    return BigInt(this.start + index * this.step);
  }

  override *iterate(): Iterable<Value> {
    for (let i = 0; i < this.#length; i++) yield this.at(i);
  }

  override repr(): string {
    const step = this.step === 1 ? '' : `, ${this.step}`;
    return `range(${this.start}, ${this.stop}${step})`;
  }

  override equals(other: Value): boolean {
    if (!(other instanceof Range) || other.#length !== this.#length) return false;
    if (this.#length === 0) return true;
    return this.start === other.start && (this.#length === 1 || this.step === other.step);
  }

  override attribute(name: string): Value | undefined {
    if (name === 'start' || name === 'stop' || name === 'step') return BigInt(this[name]);
    return undefined;
  }

  override hash(): unknown {
    return unsupported('a range as a key');
  }
}

/** The values of anything iterable. @throws if Python would raise a TypeError. */
export function iterate(value: Value): Iterable<Value> {
  const values = iterable(value);
  return values ?? raise(`'${typeName(value)}' object is not iterable`);
}

/** Like `iterate`, but undefined if the value is not iterable. */
export function iterable(value: Value): Iterable<Value> | undefined {
  if (typeof value === 'string') return value;
  if (isList(value)) return value;
  return value instanceof PyObject ? value.iterate() : undefined;
}

/** `reversed(value)`; undefined if Python raises a TypeError. */
export function reversed(value: Value): PyIterator | undefined {
  const ordered =
    typeof value === 'string' ||
    isList(value) ||
    value instanceof Tuple ||
    value instanceof Range ||
    value instanceof Dict ||
    value instanceof DictView ||
    value instanceof Undefined;
  if (!ordered) return undefined;
  const kind = isList(value) ? 'list_reverseiterator' : 'reversed';
  return new PyIterator([...iterate(value)].reverse(), kind);
}
