/** Filters on text. */
import { intArgument, optionalText, textArgument } from './arguments.js';
import { Dict, DictView, iterable, iterate, Tuple } from './containers.js';
import { raise, unsupported } from './errors.js';
import { type Filter, filter } from './filter.js';
import { Markup } from './markup.js';
import { percentFormat } from './percent-format.js';
import { repr, str } from './repr.js';
import { lengthOf } from './slices.js';
import { attributeGetter } from './sorting.js';
import { capitalize, pad, replace } from './string-methods.js';
import { SPACES, splitLines, stripEnd, stripStart, subtext, textLength } from './text.js';
import { indentText, toJson } from './tojson.js';
import { isList, PyObject, truthy, typeName, Undefined, type Value } from './values.js';

/** `soft_str(value)`, for filters whose result is not marked as escaped. */
function softText(value: Value): string {
  return value instanceof Markup ? unsupported('a text filter on escaped text') : str(value);
}

/** A str, required because Jinja2 calls methods of str without checking the type. */
function needText(value: Value, filterName: string): string {
  if (value instanceof Undefined) value.fail();
  return typeof value === 'string' ? value : raise(`${filterName} needs str, not ${typeName(value)}`);
}

const WORD_START = new RegExp(`([-${SPACES}({\\[<]+)`, 'u');

function title(value: Value): string {
  const words = softText(value).split(WORD_START);
  const changed = words.map((word) => {
    const [first = ''] = word;
    return first.toUpperCase() + word.slice(first.length).toLowerCase();
  });
  return changed.join('');
}

function indent(value: Value, width: Value = 4n, first: Value = false, blank: Value = false): string {
  const by = typeof width === 'string' ? width : ' '.repeat(Math.max(0, intArgument(width, 'width')));
  const lines = splitLines(`${needText(value, 'indent')}\n`);
  const [head = '', ...rest] = truthy(blank) ? lines.map((line, i) => (i === 0 ? line : by + line)) : lines;
  const body = truthy(blank) ? rest : rest.map((line) => (line === '' ? line : by + line));
  return (truthy(first) ? by : '') + [head, ...body].join('\n');
}

function truncate(
  value: Value,
  length: Value = 255n,
  killWords: Value = false,
  end: Value = '...',
  leeway: Value = null,
): Value {
  const [most, more] = [intArgument(length, 'length'), leeway === null ? 5 : intArgument(leeway, 'leeway')];
  const ending = textArgument(end, 'end');
  const kept = most - textLength(ending);
  if (kept < 0) raise(`expected length >= ${textLength(ending)}, got ${most}`);
  if (more < 0) raise(`expected leeway >= 0, got ${more}`);
  const size = lengthOf(value) ?? raise(`object of type '${typeName(value)}' has no len()`);
  if (size <= most + more) return value;
  const text = subtext(needText(value, 'truncate'), 0, kept);
  if (truthy(killWords)) return text + ending;
  const space = text.lastIndexOf(' ');
  return (space === -1 ? text : text.slice(0, space)) + ending;
}

function join(value: Value, separator: Value = '', attribute: Value = null): string {
  const get = attribute === null ? undefined : attributeGetter(attribute);
  return Array.from(iterate(value), (item) => str(get === undefined ? item : get(item))).join(str(separator));
}

function strip(value: Value, characters: Value | undefined): string {
  const text = softText(value);
  const chars = optionalText(characters, 'strip arg');
  return stripStart(stripEnd(text, chars), chars);
}

function quote(value: Value, inQuery: boolean): string {
  const text = str(value);
  if (/\p{Cs}/u.test(text)) unsupported('half of a surrogate pair in a URL');
  const encoded = encodeURIComponent(text);
  // Python leaves fewer characters unescaped.
  const strict = encoded.replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
  return inQuery ? strict.replaceAll('%20', '+') : strict.replaceAll('%2F', '/');
}

function urlEncode(value: Value): string {
  const items = value instanceof Dict ? new DictView(value, 'items').iterate() : iterable(value);
  if (items === undefined || typeof value === 'string') return quote(value, false);
  const pairs = Array.from(items, (item) => {
    const [key, part, ...more] = iterate(item);
    if (key === undefined || part === undefined || more.length > 0) return raise('urlencode needs pairs');
    return `${quote(key, true)}=${quote(part, true)}`;
  });
  return pairs.join('&');
}

function xmlAttributes(value: Value, space: Value = true): string {
  if (value instanceof Undefined) value.fail();
  if (!(value instanceof Dict)) return raise(`'${typeName(value)}' object has no attribute 'items'`);
  const parts: string[] = [];
  for (const [key, part] of value.pairs()) {
    if (part === null || part instanceof Undefined) continue;
    const name = textArgument(key, 'an attribute name');
    if (/[ \t\n\r\f\v/>=]/.test(name)) raise(`Invalid character in attribute name: ${repr(name)}`);
    parts.push(`${Markup.escape(name)}="${Markup.escape(part)}"`);
  }
  const text = parts.join(' ');
  return truthy(space) && text !== '' ? ` ${text}` : text;
}

function stripTags(value: Value): string {
  let text = str(value);
  for (const [open, close] of [
    ['<!--', '-->'],
    ['<', '>'],
  ] as const) {
    for (let start = text.indexOf(open); start !== -1; start = text.indexOf(open)) {
      const end = text.indexOf(close, start);
      if (end === -1) break;
      text = text.slice(0, start) + text.slice(end + close.length);
    }
  }
  if (text.includes('&')) unsupported('striptags on text with &');
  const words = text.split(new RegExp(`[${SPACES}]+`)).filter((word) => word !== '');
  return words.join(' ');
}

/** `pprint` changes only values that do not fit on a line of 80 characters, and the order of dicts. */
function prettyPrint(value: Value): string {
  const text = repr(value);
  return isPlain(value) && textLength(text) < 80 ? text : unsupported('pprint of a value this large');
}

const isPlain = (value: Value): boolean =>
  isList(value) ? value.every(isPlain) : !(value instanceof PyObject);

function separatorsOf(value: Value): [string, string] {
  const [item, key, ...more] = iterate(value);
  if (item === undefined || key === undefined || more.length > 0) raise('separators must be two');
  return [textArgument(item, 'a separator'), textArgument(key, 'a separator')];
}

const orNull = (value: Value | undefined): Value => value ?? null;

export const TEXT_FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ['capitalize', filter('', (value) => capitalize(softText(value)))],
  ['center', filter('width?', (value, width = 80n) => pad(softText(value), width, undefined, 'c'))],
  ['e', filter('', (value) => Markup.escape(value))],
  ['escape', filter('', (value) => Markup.escape(value))],
  ['forceescape', filter('', (value) => Markup.escape(str(value)))],
  ['safe', filter('', (value) => new Markup(str(value)))],
  ['string', filter('', (value) => (value instanceof Markup ? value : str(value)))],
  ['lower', filter('', (value) => softText(value).toLowerCase())],
  ['upper', filter('', (value) => softText(value).toUpperCase())],
  ['title', filter('', title)],
  ['trim', filter('chars?', strip)],
  ['indent', filter('width? first? blank?', indent)],
  ['truncate', filter('length? killwords? end? leeway?', truncate)],
  ['join', filter('d? attribute?', join)],
  [
    'replace',
    filter('old new count?', (value, old, replacement, count) => {
      const limit = count === undefined || count === null ? -1 : intArgument(count, 'count');
      return replace(str(value), str(orNull(old)), str(orNull(replacement)), limit);
    }),
  ],
  ['wordcount', filter('', (value) => BigInt(softText(value).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0))],
  ['wordwrap', () => unsupported('the filter wordwrap')],
  ['urlencode', filter('', urlEncode)],
  ['urlize', () => unsupported('the filter urlize')],
  ['xmlattr', filter('autospace?', xmlAttributes)],
  ['striptags', filter('', stripTags)],
  ['pprint', filter('', prettyPrint)],
  [
    'format',
    (value, args, keywords) => {
      if (args.length > 0 && keywords.size > 0) {
        raise("can't handle positional and keyword arguments at the same time");
      }
      return percentFormat(softText(value), keywords.size > 0 ? Dict.ofStrings(keywords) : new Tuple(args));
    },
  ],
  [
    'tojson',
    filter(
      'ensure_ascii? indent? separators? sort_keys?',
      (value, ascii = false, by = null, ends = null, sort = false) => {
        const indentation = indentText(by);
        const [item, key] =
          ends === null ? [indentation === undefined ? ', ' : ',', ': '] : separatorsOf(ends);
        return toJson(value, {
          ascii: truthy(ascii),
          indent: indentation,
          itemSeparator: item,
          keySeparator: key,
          sortKeys: truthy(sort),
        });
      },
    ),
  ],
]);
