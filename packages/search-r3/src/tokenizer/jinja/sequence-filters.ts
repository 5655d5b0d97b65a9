/** Filters on sequences and dicts. */
import { intArgument, textArgument } from './arguments.js';
import { onlyAttribute } from './attributes.js';
import { Dict, DictView, iterate, reversed, Tuple } from './containers.js';
import { equal, hashKey } from './equality.js';
import { raise, unsupported } from './errors.js';
import { type Filter, filter } from './filter.js';
import { Markup } from './markup.js';
import { arithmetic, lessThan } from './operators.js';
import { lengthOf } from './slices.js';
import { attributeGetter, attributesGetter, ignoreCase, sorted } from './sorting.js';
import { codePoints } from './text.js';
import { PyIterator, truthy, typeName, Undefined, type Value } from './values.js';

const unchanged = (value: Value): Value => value;
const caseOf = (sensitive: Value) => (truthy(sensitive) ? unchanged : ignoreCase);

function length(value: Value): bigint {
  return BigInt(lengthOf(value) ?? raise(`object of type '${typeName(value)}' has no len()`));
}

function first(value: Value): Value {
  const { value: item, done } = iterate(value)[Symbol.iterator]().next();
  return done ? new Undefined('No first item, sequence was empty.') : item;
}

function last(value: Value): Value {
  const backwards = reversed(value) ?? raise(`'${typeName(value)}' object is not reversible`);
  const { value: item, done } = backwards.next();
  return done ? new Undefined('No last item, sequence was empty.') : (item as Value);
}

function reverse(value: Value): Value {
  if (typeof value === 'string') return codePoints(value).reverse().join('');
  if (value instanceof Markup) return unsupported('reversing escaped text');
  return reversed(value) ?? [...iterate(value)].reverse();
}

function extreme(
  value: Value,
  sensitive: Value,
  attribute: Value,
  better: (a: Value, b: Value) => boolean,
): Value {
  const get = attributeGetter(attribute);
  const fold = caseOf(sensitive);
  let best: { item: Value; key: Value } | undefined;
  for (const item of iterate(value)) {
    const key = fold(get(item));
    if (Number.isNaN(key)) unsupported('the least or greatest of NaN');
    if (best === undefined || better(key, best.key)) best = { item, key };
  }
  return best === undefined ? new Undefined('No aggregated item, sequence was empty.') : best.item;
}

function* unique(value: Value, sensitive: Value, attribute: Value): Iterable<Value> {
  const get = attributeGetter(attribute);
  const fold = caseOf(sensitive);
  const seen = new Set<unknown>();
  for (const item of iterate(value)) {
    const key = hashKey(fold(get(item)));
    if (seen.has(key)) continue;
    seen.add(key);
    yield item;
  }
}

function sum(value: Value, attribute: Value = null, start: Value = 0n): Value {
  const get = attribute === null ? unchanged : attributeGetter(attribute);
  const items = iterate(value);
  if (typeof start === 'string') return raise("sum() can't sum strings [use ''.join(seq) instead]");
  let total: Value = start;
  for (const item of items) total = arithmetic('+', total, get(item));
  return total;
}

function* batch(value: Value, size: Value, fill: Value): Iterable<Value> {
  let row: Value[] = [];
  for (const item of iterate(value)) {
    if (equal(BigInt(row.length), size)) {
      yield row;
      row = [];
    }
    row.push(item);
  }
  if (row.length === 0) return;
  if (fill !== null) {
    const missing = intArgument(size, 'linecount') - row.length;
    for (let i = 0; i < missing; i++) row.push(fill);
  }
  yield row;
}

function* slice(value: Value, slices: Value, fill: Value): Iterable<Value> {
  const items = [...iterate(value)];
  const count = intArgument(slices, 'slices');
  if (count === 0) raise('integer division or modulo by zero');
  const size = Math.floor(items.length / count);
  const longer = items.length - size * count;
  let start = 0;
  for (let i = 0; i < count; i++) {
    const end = start + size + (i < longer ? 1 : 0);
    const part = items.slice(start, end);
    if (fill !== null && i >= longer) part.push(fill);
    yield part;
    start = end;
  }
}

/** A group of `groupby`: a pair with named parts. */
class Group extends Tuple {
  override readonly typeName = '_GroupTuple';

  override attribute(name: string): Value | undefined {
    if (name === 'grouper') return this.items[0];
    return name === 'list' ? this.items[1] : undefined;
  }
}

function groupBy(
  value: Value,
  attribute: Value = null,
  otherwise: Value = null,
  sensitive: Value = false,
): Value {
  const get = attributeGetter(attribute, otherwise);
  const fold = caseOf(sensitive);
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of sorted(iterate(value), (one) => fold(get(one)), false)) {
    const key = fold(get(item));
    const group = groups.at(-1);
    if (group !== undefined && equal(group.key, key)) group.items.push(item);
    else groups.push({ key, items: [item] });
  }
  // The key, spelled as in the first item.
  return groups.map(({ key, items }) => new Group([truthy(sensitive) ? key : get(items[0]!), items]));
}

function sort(
  value: Value,
  backwards: Value = false,
  sensitive: Value = false,
  attribute: Value = null,
): Value {
  const get = attributesGetter(attribute);
  const fold = caseOf(sensitive);
  return sorted(iterate(value), (item) => get(item).map(fold), truthy(backwards));
}

function dictSort(
  value: Value,
  sensitive: Value = false,
  by: Value = 'key',
  backwards: Value = false,
): Value {
  if (by !== 'key' && by !== 'value') raise('You can only sort by either "key" or "value"');
  if (value instanceof Undefined) value.fail();
  if (!(value instanceof Dict)) return raise(`'${typeName(value)}' object has no attribute 'items'`);
  const fold = caseOf(sensitive);
  const pairs = sorted(value.pairs(), ([key, item]) => fold(by === 'key' ? key : item), truthy(backwards));
  return pairs.map((pair) => new Tuple(pair));
}

function* items(value: Value): Iterable<Value> {
  if (value instanceof Undefined) return;
  if (!(value instanceof Dict)) raise('Can only get item pairs from a mapping.');
  else yield* new DictView(value, 'items').iterate();
}

function defaulted(value: Value, otherwise: Value = '', boolean: Value = false): Value {
  return value instanceof Undefined || (truthy(boolean) && !truthy(value)) ? otherwise : value;
}

export const SEQUENCE_FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ['attr', filter('name', (value, name = null) => onlyAttribute(value, textArgument(name, 'the attribute')))],
  [
    'batch',
    filter(
      'linecount fill_with?',
      (value, size = null, fill = null) => new PyIterator(batch(value, size, fill)),
    ),
  ],
  ['count', filter('', length)],
  ['length', filter('', length)],
  ['d', filter('default_value? boolean?', defaulted)],
  ['default', filter('default_value? boolean?', defaulted)],
  ['dictsort', filter('case_sensitive? by? reverse?', dictSort)],
  ['first', filter('', first)],
  ['last', filter('', last)],
  ['groupby', filter('attribute default? case_sensitive?', groupBy)],
  ['items', filter('', (value) => new PyIterator(items(value)))],
  ['list', filter('', (value) => [...iterate(value)])],
  [
    'max',
    filter('case_sensitive? attribute?', (value, sensitive = false, attribute = null) =>
      extreme(value, sensitive, attribute, (a, b) => lessThan(b, a)),
    ),
  ],
  [
    'min',
    filter('case_sensitive? attribute?', (value, sensitive = false, attribute = null) =>
      extreme(value, sensitive, attribute, lessThan),
    ),
  ],
  ['random', () => unsupported('the filter random')],
  ['reverse', filter('', reverse)],
  [
    'slice',
    filter(
      'slices fill_with?',
      (value, count = null, fill = null) => new PyIterator(slice(value, count, fill)),
    ),
  ],
  ['sort', filter('reverse? case_sensitive? attribute?', sort)],
  ['sum', filter('attribute? start?', sum)],
  [
    'unique',
    filter(
      'case_sensitive? attribute?',
      (value, sensitive = false, attribute = null) => new PyIterator(unique(value, sensitive, attribute)),
    ),
  ],
]);
