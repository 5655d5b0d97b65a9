/** Equality and hashes across types, as in Python: 1 == 1.0 == True, but '' != False. */
import { raise, unsupported } from './errors.js';
import { isList, PyObject, typeName, type Value } from './values.js';

/** A bool or number as a number; undefined for anything else. */
export function numeric(value: Value): bigint | number | undefined {
  if (typeof value === 'boolean') return value ? 1n : 0n;
  return typeof value === 'bigint' || typeof value === 'number' ? value : undefined;
}

/** `a == b`. */
export function equal(a: Value, b: Value): boolean {
  if (a === b) return true;
  if (isList(a)) return isList(b) && sameItems(a, b);
  if (a instanceof PyObject) return a.equals(b);
  if (b instanceof PyObject) return b.equals(a);
  const [left, right] = [numeric(a), numeric(b)];
  // biome-ignore lint/suspicious/noDoubleEquals: an int and a float of one value are equal
  return left !== undefined && right !== undefined && left == right;
}

/** `a is b or a == b`, as containers compare their items. */
export function same(a: Value, b: Value): boolean {
  if (Number.isNaN(a) && Number.isNaN(b)) unsupported('NaN within a container that is compared');
  return equal(a, b);
}

export function sameItems(a: readonly Value[], b: readonly Value[]): boolean {
  return a.length === b.length && a.every((item, i) => same(item, b[i]!));
}

/** The index of the first item that is equal to `item`; -1 if there is none. */
export function indexOf(items: readonly Value[], item: Value): number {
  return items.findIndex((other) => same(other, item));
}

/** `hash(value)` as a key of a Map: values that are equal in Python, such as 1, 1.0 and True, share a key. */
export function hashKey(value: Value): unknown {
  if (typeof value === 'string' || value === null) return value;
  const number = numeric(value);
  if (number !== undefined) return Number.isInteger(number) ? BigInt(number) : number;
  if (!isHashable(value)) return raise(`unhashable type: '${typeName(value)}'`);
  return value instanceof PyObject ? value.hash() : value;
}

export function isHashable(value: Value): boolean {
  return value instanceof PyObject ? value.hashable : !isList(value);
}
