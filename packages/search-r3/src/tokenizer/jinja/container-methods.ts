/** The methods of list, tuple, range and dict, and the attributes of numbers, that the sandbox allows. */
import { boundMethod, intArgument, type Method, method } from './arguments.js';
import { Dict, DictView, iterate, Range, Tuple } from './containers.js';
import { same } from './equality.js';
import { raise, unsupported } from './errors.js';
import { isList, PyIterator, type PyObject, typeName, type Value } from './values.js';

/** Methods that change their object: the sandbox hides them. */
export const LIST_MUTATORS: ReadonlySet<string> = new Set(
  'append clear pop reverse insert sort extend remove'.split(' '),
);
export const DICT_MUTATORS: ReadonlySet<string> = new Set('clear pop popitem setdefault update'.split(' '));

const countOf = (items: readonly Value[], wanted: Value | undefined) =>
  BigInt(items.filter((item) => same(item, wanted ?? null)).length);

function placeOf(items: readonly Value[], wanted: Value | undefined, start?: Value, stop?: Value): bigint {
  const bound = (value: Value | undefined, otherwise: number) => {
    if (value === undefined) return otherwise;
    const index = intArgument(value, 'slice indices');
    return index < 0 ? Math.max(0, index + items.length) : index;
  };
  const end = Math.min(items.length, bound(stop, items.length));
  for (let i = bound(start, 0); i < end; i++) if (same(items[i]!, wanted ?? null)) return BigInt(i);
  return raise('ValueError: the item is not in the sequence');
}

const LIST_METHODS = new Map<string, Method<readonly Value[]>>([
  ['count', method('value /', countOf)],
  ['index', method('value start? stop? /', placeOf)],
  ['copy', method('', (items) => [...items])],
]);

const TUPLE_METHODS = new Map<string, Method<Tuple>>([
  ['count', method('value /', ({ items }, wanted) => countOf(items, wanted))],
  [
    'index',
    method('value start? stop? /', ({ items }, wanted, start, stop) => placeOf(items, wanted, start, stop)),
  ],
]);

const RANGE_METHODS = new Map<string, Method<Range>>([
  ['count', method('value /', (range, wanted) => countOf([...range.iterate()], wanted))],
  ['index', method('value /', (range, wanted) => placeOf([...range.iterate()], wanted))],
]);

/** `dict.fromkeys`. */
export const FROM_KEYS: Method<unknown> = method('iterable value? /', (_, keys, value = null) => {
  return new Dict(Array.from(iterate(keys ?? null), (key) => [key, value] as const));
});

const DICT_METHODS = new Map<string, Method<Dict>>([
  [
    'get',
    method('key default? /', (dict, key = null, otherwise = null) =>
      dict.has(key) ? (dict.get(key) ?? null) : otherwise,
    ),
  ],
  ['items', method('', (dict) => new DictView(dict, 'items'))],
  ['keys', method('', (dict) => new DictView(dict, 'keys'))],
  ['values', method('', (dict) => new DictView(dict, 'values'))],
  ['copy', method('', (dict) => new Dict(dict.pairs()))],
  ['fromkeys', FROM_KEYS],
]);

const UNSUPPORTED_OF_NUMBERS: ReadonlySet<string> = new Set(
  'as_integer_ratio bit_count from_bytes to_bytes fromhex hex'.split(' '),
);

function numberAttribute(value: bigint | number, name: string): Value | undefined {
  const isInt = typeof value === 'bigint';
  switch (name) {
    case 'real':
      return value;
    case 'imag':
      return isInt ? 0n : 0;
    case 'numerator':
    case 'denominator':
      return isInt ? (name === 'numerator' ? value : 1n) : undefined;
    case 'conjugate':
      return boundMethod(
        value,
        name,
        method('', (self) => self),
      );
    case 'bit_length':
      return isInt ? boundMethod(value, name, method('', bitLength)) : undefined;
    case 'is_integer':
      return isInt
        ? undefined
        : boundMethod(
            value,
            name,
            method('', (self) => Number.isInteger(self)),
          );
    default:
      return UNSUPPORTED_OF_NUMBERS.has(name)
        ? unsupported(`the attribute '${name}' of a number`)
        : undefined;
  }
}

const bitLength = (value: bigint | number) =>
  value === 0n ? 0n : BigInt(BigInt(value).toString(2).replace('-', '').length);

/** The attribute of a value that is not a str; undefined if Python raises an AttributeError. */
export function containerAttribute(value: Value, name: string): Value | undefined {
  if (value === null || typeof value === 'string') return undefined;
  if (typeof value === 'boolean') return numberAttribute(value ? 1n : 0n, name);
  if (typeof value === 'bigint' || typeof value === 'number') return numberAttribute(value, name);
  if (isList(value)) return bound(value, name, LIST_METHODS);
  if (value instanceof Tuple) return bound(value, name, TUPLE_METHODS) ?? value.attribute(name);
  if (value instanceof Dict) return bound(value, name, DICT_METHODS);
  if (value instanceof Range) return value.attribute(name) ?? bound(value, name, RANGE_METHODS);
  const hidden = value instanceof DictView ? ['isdisjoint', 'mapping'] : iteratorAttributes(value);
  if (hidden.includes(name)) unsupported(`the attribute '${name}' of a ${typeName(value)}`);
  return value.attribute(name);
}

const iteratorAttributes = (value: PyObject) =>
  value instanceof PyIterator && value.typeName === 'generator'
    ? ['close', 'send', 'throw', 'gi_running', 'gi_suspended', 'gi_yieldfrom', 'gi_frame', 'gi_code']
    : [];

function bound<T>(self: T, name: string, methods: ReadonlyMap<string, Method<T>>): Value | undefined {
  const found = methods.get(name);
  return found === undefined ? undefined : boundMethod(self, name, found);
}
