/** transformers' filter `tojson`: the spacing and order of `json.dumps`, and nothing escaped for HTML. */
import { Dict, Tuple } from './containers.js';
import { numeric } from './equality.js';
import { raise, unsupported } from './errors.js';
import { Markup } from './markup.js';
import { floatText } from './numbers.js';
import { repr } from './repr.js';
import { sorted } from './sorting.js';
import { isList, typeName, type Value } from './values.js';

export interface JsonOptions {
  /** Escape everything that is not ASCII. */
  ascii: boolean;
  /** The indent of each level; undefined to write a single line. */
  indent: string | undefined;
  itemSeparator: string;
  keySeparator: string;
  sortKeys: boolean;
}

export function toJson(value: Value, options: JsonOptions): string {
  return write(value, options, '\n');
}

/** @param newline the text that begins a line at the level of the value. */
function write(value: Value, options: JsonOptions, newline: string): string {
  if (value === null) return 'null';
  if (typeof value === 'string') return quoted(value, options.ascii);
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  if (typeof value === 'bigint') return repr(value);
  if (typeof value === 'number') return floatJson(value);
  if (value instanceof Markup) return quoted(String(value), options.ascii);
  const inner = newline + (options.indent ?? '');
  const items = isList(value) ? value : value instanceof Tuple ? value.items : undefined;
  if (items !== undefined) {
    return enclosed(
      '[',
      ']',
      items.map((item) => write(item, options, inner)),
      options,
      newline,
    );
  }
  if (!(value instanceof Dict)) return raise(`Object of type ${typeName(value)} is not JSON serializable`);
  const pairs = options.sortKeys ? sorted(value.pairs(), ([key]) => key, false) : [...value.pairs()];
  const texts = pairs.map(([key, item]) => {
    return quoted(keyText(key), options.ascii) + options.keySeparator + write(item, options, inner);
  });
  return enclosed('{', '}', texts, options, newline);
}

function enclosed(
  open: string,
  close: string,
  texts: readonly string[],
  { indent, itemSeparator }: JsonOptions,
  newline: string,
): string {
  if (texts.length === 0) return open + close;
  if (indent === undefined) return open + texts.join(itemSeparator) + close;
  const inner = newline + indent;
  return open + inner + texts.join(itemSeparator + inner) + newline + close;
}

function floatJson(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value < 0 ? '-Infinity' : 'Infinity';
  return floatText(value);
}

function keyText(key: Value): string {
  if (typeof key === 'string') return key;
  if (key instanceof Markup) return String(key);
  if (key === null) return 'null';
  if (typeof key === 'boolean') return key ? 'true' : 'false';
  if (typeof key === 'number') return floatJson(key);
  if (numeric(key) !== undefined) return repr(key);
  return raise(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\f': '\\f',
  '\b': '\\b',
};
const ESCAPED = /["\\]|\p{Cc}/gu;
const ESCAPED_ASCII = /["\\]|[^ -~]/g;

function quoted(text: string, ascii: boolean): string {
  const escaped = text.replace(ascii ? ESCAPED_ASCII : ESCAPED, (unit) => {
    const code = unit.charCodeAt(0);
    // If other characters stay unescaped, only those below the space are escaped.
    if (!ascii && code > 0x1f && SHORT[unit] === undefined) return unit;
    return SHORT[unit] ?? `\\u${code.toString(16).padStart(4, '0')}`;
  });
  return `"${escaped}"`;
}

/** The indent of `json.dumps`: a number of spaces, or a text. */
export function indentText(indent: Value): string | undefined {
  if (indent === null) return undefined;
  if (typeof indent === 'string') return indent;
  const size = numeric(indent);
  if (typeof size !== 'bigint') return raise(`indent must be int or str, not ${typeName(indent)}`);
  return size > 1000n ? unsupported(`an indent of ${size}`) : ' '.repeat(size > 0n ? Number(size) : 0);
}
