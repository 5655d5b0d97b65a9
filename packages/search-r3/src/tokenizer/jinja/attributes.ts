/** `object.name` and `object[key]`, as Jinja2's sandbox looks them up: each falls back to the other. */
import { boundMethod } from './arguments.js';
import { containerAttribute, DICT_MUTATORS, LIST_MUTATORS } from './container-methods.js';
import { Dict, Tuple } from './containers.js';
import { numeric } from './equality.js';
import { raise } from './errors.js';
import { formatText, keywordsOf } from './format.js';
import { Markup } from './markup.js';
import { toIndex } from './numbers.js';
import { repr } from './repr.js';
import { itemAt } from './slices.js';
import { STRING_METHODS } from './string-methods.js';
import { isList, PyFunction, PyObject, typeName, Undefined, type Value } from './values.js';

/**
 * Attributes of every object or of the containers. Templates cannot read them, but they take precedence over the keys
 * of a dict.
 */
const PRIVATE: ReadonlySet<string> = new Set(
  (
    'class delattr dir doc eq format ge getattribute getstate gt hash init init_subclass le lt ne new reduce ' +
    'reduce_ex repr setattr sizeof str subclasshook contains getitem iter len class_getitem delitem ior or reversed ' +
    'ror setitem'
  )
    .split(' ')
    .map((name) => `__${name}__`),
);

/** `getattr(object, name)` in the sandbox; undefined if Python raises an AttributeError. */
function safeAttribute(object: Value, name: string): Value | undefined {
  if (name.startsWith('_')) return PRIVATE.has(name) ? unsafe(object, name) : privateAttribute(object, name);
  if (isList(object) && LIST_MUTATORS.has(name)) return unsafe(object, name);
  if (object instanceof Dict && DICT_MUTATORS.has(name)) return unsafe(object, name);
  if (typeof object !== 'string') return containerAttribute(object, name);
  if (name === 'format') {
    return new PyFunction(name, (args, keywords) =>
      formatText(object, { args, keyword: (keyword) => keywords.get(keyword) }, ACCESS),
    );
  }
  if (name === 'format_map') {
    return new PyFunction(name, (args, keywords) => {
      const [mapping] = args;
      if (args.length !== 1 || mapping === undefined || keywords.size > 0) {
        return raise('format_map() takes exactly one argument');
      }
      return formatText(object, { args: [], keyword: keywordsOf(mapping) }, ACCESS);
    });
  }
  const found = STRING_METHODS.get(name);
  return found === undefined ? undefined : boundMethod(object, name, found);
}

const ACCESS = { attribute: getAttribute, item: getItem };

/** The attributes of Jinja2's own objects that begin with an underscore are hidden too. */
function privateAttribute(object: Value, name: string): Value | undefined {
  const own = object instanceof PyObject && !(object instanceof Markup) && !(object instanceof Dict);
  return own ? unsafe(object, name) : undefined;
}

function unsafe(object: Value, name: string): Undefined {
  return new Undefined(`access to attribute '${name}' of '${typeName(object)}' object is unsafe.`);
}

/** `object.name`: the attribute, or the item if there is no such attribute. */
export function getAttribute(object: Value, name: string): Value {
  if (object instanceof Undefined && !PRIVATE.has(name)) object.fail();
  const attribute = safeAttribute(object, name);
  if (attribute !== undefined) return attribute;
  const item = subscript(object, name);
  return item === undefined ? missing(object, name) : item;
}

/** `object[key]`: the item, or the attribute if there is no such item. */
export function getItem(object: Value, key: Value): Value {
  const item = subscript(object, key);
  if (item !== undefined) return item;
  const attribute = typeof key === 'string' ? safeAttribute(object, key) : undefined;
  return attribute === undefined ? missing(object, key) : attribute;
}

/** Only the attribute, never the item: for the filter `attr`. */
export function onlyAttribute(object: Value, name: string): Value {
  const attribute = safeAttribute(object, name);
  return attribute === undefined ? missing(object, name) : attribute;
}

function missing(object: Value, key: Value): Undefined {
  const type = object === null ? 'None' : `${typeName(object)} object`;
  return new Undefined(
    typeof key === 'string' ? `'${type}' has no attribute '${key}'` : `${type} has no element ${repr(key)}`,
  );
}

/** Python's `object[key]`; undefined if Python raises a TypeError or LookupError. */
function subscript(object: Value, key: Value): Value | undefined {
  if (object instanceof Tuple || isList(object) || typeof object === 'string')
    return sequenceItem(object, key);
  if (!(object instanceof PyObject)) return undefined;
  const item = object.item(key);
  return item === undefined ? sequenceItem(object, key) : item;
}

function sequenceItem(sequence: Value, key: Value): Value | undefined {
  const index = numeric(key);
  return typeof index === 'bigint' ? itemAt(sequence, toIndex(index)) : undefined;
}
