/** All filters and tests by name, including those that call others by name. */
import { iterate } from './containers.js';
import { raise } from './errors.js';
import { type Filter, type Test, test } from './filter.js';
import { NUMBER_FILTERS } from './number-filters.js';
import { SEQUENCE_FILTERS } from './sequence-filters.js';
import { attributeGetter } from './sorting.js';
import { VALUE_TESTS } from './tests.js';
import { TEXT_FILTERS } from './text-filters.js';
import { type Keywords, PyIterator, truthy, type Value } from './values.js';

function* map(value: Value, args: readonly Value[], keywords: Keywords): Iterable<Value> {
  if (!truthy(value)) return;
  const apply = mapped(args, keywords);
  for (const item of iterate(value)) yield apply(item);
}

function mapped([name, ...args]: readonly Value[], keywords: Keywords): (item: Value) => Value {
  const attribute = keywords.get('attribute');
  if (name === undefined && attribute !== undefined) {
    for (const keyword of keywords.keys()) {
      if (keyword !== 'attribute' && keyword !== 'default') raise(`Unexpected keyword argument '${keyword}'`);
    }
    const otherwise = keywords.get('default');
    return attributeGetter(attribute, otherwise === undefined ? null : otherwise);
  }
  if (name === undefined) return raise('map requires a filter argument');
  return (item) => {
    const filter = typeof name === 'string' ? FILTERS.get(name) : undefined;
    return filter === undefined ? raise(`No filter named '${String(name)}'.`) : filter(item, args, keywords);
  };
}

/** `select`, `reject`, `selectattr` and `rejectattr`. */
function selection(wanted: boolean, ofAttribute: boolean): Filter {
  return (value, args, keywords) => new PyIterator(selected(value, args, keywords, wanted, ofAttribute));
}

function* selected(
  value: Value,
  args: readonly Value[],
  keywords: Keywords,
  wanted: boolean,
  ofAttribute: boolean,
): Iterable<Value> {
  if (!truthy(value)) return;
  const [attribute] = args;
  if (ofAttribute && attribute === undefined) raise('Missing parameter for attribute name');
  const get = ofAttribute && attribute !== undefined ? attributeGetter(attribute) : (item: Value) => item;
  const [name, ...rest] = ofAttribute ? args.slice(1) : args;
  const passes = (item: Value) => {
    if (name === undefined) return truthy(item);
    const found = typeof name === 'string' ? TESTS.get(name) : undefined;
    return found === undefined ? raise(`No test named '${String(name)}'.`) : found(item, rest, keywords);
  };
  for (const item of iterate(value)) if (passes(get(item)) === wanted) yield item;
}

export const FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ...TEXT_FILTERS,
  ...NUMBER_FILTERS,
  ...SEQUENCE_FILTERS,
  ['map', (value, args, keywords) => new PyIterator(map(value, args, keywords))],
  ['select', selection(true, false)],
  ['reject', selection(false, false)],
  ['selectattr', selection(true, true)],
  ['rejectattr', selection(false, true)],
]);

export const TESTS: ReadonlyMap<string, Test> = new Map<string, Test>([
  ...VALUE_TESTS,
  ['filter', test('', (value) => typeof value === 'string' && FILTERS.has(value))],
  ['test', test('', (value) => typeof value === 'string' && TESTS.has(value))],
]);
