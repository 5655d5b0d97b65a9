/** Sorting, and what the filters that look at attributes of items share. */
import { getItem } from './attributes.js';
import { unsupported } from './errors.js';
import { Markup } from './markup.js';
import { lessThan } from './operators.js';
import { isList, Undefined, type Value } from './values.js';

/** Strings in lower case, and other values unchanged. */
export function ignoreCase(value: Value): Value {
  if (value instanceof Markup) unsupported('comparing escaped text');
  return typeof value === 'string' ? value.toLowerCase() : value;
}

/** The parts of an attribute's path: 'a.0.b' is the item 'b' of the item 0 of the item 'a'. */
function pathOf(attribute: Value): Value[] {
  if (attribute === null) return [];
  if (typeof attribute !== 'string') return [attribute];
  return attribute.split('.').map((part) => (/^\d+$/.test(part) ? BigInt(part) : part));
}

/** Looks up a path of attributes. An undefined value on the way becomes `otherwise`, unless that is None. */
export function attributeGetter(attribute: Value, otherwise: Value = null): (item: Value) => Value {
  const path = pathOf(attribute);
  return (item) => {
    let value = item;
    for (const part of path) {
      value = getItem(value, part);
      if (otherwise !== null && value instanceof Undefined) value = otherwise;
    }
    return value;
  };
}

/** The values of several attributes, separated by commas. */
export function attributesGetter(attribute: Value): (item: Value) => Value[] {
  const paths = typeof attribute === 'string' ? attribute.split(',') : [attribute];
  const getters = paths.map((path) => attributeGetter(path));
  return (item) => getters.map((get) => get(item));
}

/** `sorted(items, key=key, reverse=reverse)`: stable, also in reverse. */
export function sorted<T>(items: Iterable<T>, key: (item: T) => Value, reverse: boolean): T[] {
  const keyed = Array.from(items, (item) => ({ item, key: key(item) }));
  if (keyed.some((one) => holdsNaN(one.key))) unsupported('sorting NaN');
  const direction = reverse ? -1 : 1;
  keyed.sort((a, b) => {
    if (lessThan(a.key, b.key)) return -direction;
    return lessThan(b.key, a.key) ? direction : 0;
  });
  return keyed.map(({ item }) => item);
}

const holdsNaN = (key: Value): boolean => Number.isNaN(key) || (isList(key) && key.some(holdsNaN));
