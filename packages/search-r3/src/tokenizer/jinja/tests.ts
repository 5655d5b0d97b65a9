/** The tests of Jinja2: what follows `is`. */
import { Dict, iterable, Range, Tuple } from './containers.js';
import { equal, numeric } from './equality.js';
import { unsupported } from './errors.js';
import { type Test, test } from './filter.js';
import { Markup } from './markup.js';
import { arithmetic, compare } from './operators.js';
import { str } from './repr.js';
import { isLower, isUpper } from './string-methods.js';
import { isList, PyObject, Undefined, type Value } from './values.js';

const remainderIs = (value: Value, by: Value, rest: bigint) => equal(arithmetic('%', value, by), rest);

const isDefined = (value: Value) => !(value instanceof Undefined);

function isSequence(value: Value): boolean {
  if (typeof value === 'string' || isList(value)) return true;
  return [Tuple, Dict, Range, Markup, Undefined].some((type) => value instanceof type);
}

/** `a is b`; unsupported if Python's answer depends on how it stores a value. */
function isSame(a: Value, b: Value): boolean {
  if (a === null || b === null || typeof a === 'boolean' || typeof b === 'boolean') return a === b;
  if (a instanceof PyObject || isList(a)) return a === b;
  if (typeof a !== typeof b || a !== b) return false;
  // Python keeps a single object only for each small int.
  return typeof a === 'bigint' && a >= -5n && a <= 256n ? true : unsupported('sameas of equal values');
}

const comparison = (operator: Parameters<typeof compare>[0]) =>
  test('other /', (value, other = null) => compare(operator, value, other));

const equals = comparison('==');
const differs = comparison('!=');
const less = comparison('<');
const lessOrEqual = comparison('<=');
const greater = comparison('>');
const greaterOrEqual = comparison('>=');

/** All tests except `filter` and `test`, which check whether a filter or test exists. */
export const VALUE_TESTS: ReadonlyMap<string, Test> = new Map<string, Test>([
  ['odd', test('', (value) => remainderIs(value, 2n, 1n))],
  ['even', test('', (value) => remainderIs(value, 2n, 0n))],
  ['divisibleby', test('num', (value, by = null) => remainderIs(value, by, 0n))],
  ['defined', test('', isDefined)],
  ['undefined', test('', (value) => !isDefined(value))],
  ['none', test('', (value) => value === null)],
  ['boolean', test('', (value) => typeof value === 'boolean')],
  ['false', test('', (value) => value === false)],
  ['true', test('', (value) => value === true)],
  ['integer', test('', (value) => typeof value === 'bigint')],
  ['float', test('', (value) => typeof value === 'number')],
  ['number', test('', (value) => numeric(value) !== undefined)],
  ['lower', test('', (value) => isLower(str(value)))],
  ['upper', test('', (value) => isUpper(str(value)))],
  ['string', test('', (value) => typeof value === 'string' || value instanceof Markup)],
  ['mapping', test('', (value) => value instanceof Dict)],
  ['sequence', test('', isSequence)],
  ['iterable', test('', (value) => iterable(value) !== undefined)],
  ['callable', test('', (value) => value instanceof PyObject && value.invoke !== undefined)],
  ['sameas', test('other', (value, other = null) => isSame(value, other))],
  ['escaped', test('', (value) => value instanceof Markup)],
  ['in', test('seq', (value, container = null) => compare('in', value, container))],
  ['==', equals],
  ['eq', equals],
  ['equalto', equals],
  ['!=', differs],
  ['ne', differs],
  ['<', less],
  ['lt', less],
  ['lessthan', less],
  ['<=', lessOrEqual],
  ['le', lessOrEqual],
  ['>', greater],
  ['gt', greater],
  ['greaterthan', greater],
  ['>=', greaterOrEqual],
  ['ge', greaterOrEqual],
]);
