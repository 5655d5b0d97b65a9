/** `str.format`: fields, conversions and format specifications. */
import { Dict } from './containers.js';
import { numeric } from './equality.js';
import { raise, unsupported } from './errors.js';
import { floatDigits, grouped, plainDigits } from './number-format.js';
import { toFloat } from './numbers.js';
import { repr, str } from './repr.js';
import { subtext, textLength } from './text.js';
import { PyObject, typeName, type Value } from './values.js';

/** How a field reaches into a value: `{0.name}` and `{0[key]}`. */
export interface FieldAccess {
  attribute(object: Value, name: string): Value;
  item(object: Value, key: Value): Value;
}

type Arguments = { args: readonly Value[]; keyword: (name: string) => Value | undefined };

const PIECE = /\{\{|\}\}|\{|\}/g;

export function formatText(format: string, given: Arguments, access: FieldAccess): string {
  const numbering = { next: 0, manual: false };
  return formatPieces(format, given, access, numbering, 2);
}

interface Numbering {
  next: number;
  manual: boolean;
}

function formatPieces(
  format: string,
  given: Arguments,
  access: FieldAccess,
  numbering: Numbering,
  depth: number,
): string {
  if (depth < 0) raise('Max string recursion exceeded');
  let result = '';
  let position = 0;
  PIECE.lastIndex = 0;
  for (let piece = PIECE.exec(format); piece !== null; piece = PIECE.exec(format)) {
    result += format.slice(position, piece.index);
    position = piece.index + piece[0].length;
    if (piece[0] === '}') raise("Single '}' encountered in format string");
    if (piece[0].length === 2) {
      result += piece[0].charAt(0);
      continue;
    }
    const end = fieldEnd(format, position);
    const { name, conversion, spec } = parseField(format.slice(position, end));
    const value = fieldValue(name, given, access, numbering);
    const inner = formatPieces(spec, given, access, numbering, depth - 1);
    result += formatValue(converted(value, conversion), inner);
    position = end + 1;
    PIECE.lastIndex = position;
  }
  return result + format.slice(position);
}

function fieldEnd(format: string, start: number): number {
  let depth = 1;
  for (let i = start; i < format.length; i++) {
    if (format[i] === '{') depth++;
    if (format[i] === '}' && --depth === 0) return i;
  }
  return raise("expected '}' before end of string");
}

function parseField(field: string): { name: string; conversion: string; spec: string } {
  const [, name = '', rest = ''] = /^((?:[^[!:]|\[[^\]]*\])*)(.*)$/s.exec(field) ?? [];
  if (rest.startsWith('[')) raise("Missing ']' in format string");
  if (!rest.startsWith('!')) return { name, conversion: '', spec: rest.slice(1) };
  const [, conversion = '', spec = ''] =
    /^!(.)(?::(.*))?$/s.exec(rest) ?? raise('bad conversion in format string');
  return { name, conversion, spec };
}

function fieldValue(name: string, given: Arguments, access: FieldAccess, numbering: Numbering): Value {
  const [, first = '', rest = ''] = /^([^.[]*)(.*)$/s.exec(name) ?? [];
  let value = argument(name === '' ? automatic(numbering) : first, given);
  if (/^\d+$/.test(name)) {
    if (numbering.next > 0)
      raise('cannot switch from automatic field numbering to manual field specification');
    numbering.manual = true;
  }
  let position = 0;
  const step = /\.([^.[]+)|\[([^\]]+)\]/gy;
  for (let part = step.exec(rest); part !== null; part = step.exec(rest)) {
    position = step.lastIndex;
    const [, attribute, key = ''] = part;
    if (attribute !== undefined) value = access.attribute(value, attribute);
    else value = access.item(value, /^\d+$/.test(key) ? BigInt(key) : key);
  }
  return position === rest.length ? value : raise('Empty attribute in format string');
}

/** The number of a field that has no name. */
function automatic(numbering: Numbering): string {
  if (numbering.manual) raise('cannot switch from manual field specification to automatic field numbering');
  return String(numbering.next++);
}

function argument(name: string, { args, keyword }: Arguments): Value {
  if (/^\d+$/.test(name)) {
    const value = args[Number(name)];
    return value === undefined ? raise(`Replacement index ${name} out of range`) : value;
  }
  const value = keyword(name);
  return value === undefined ? raise(`KeyError: '${name}'`) : value;
}

function converted(value: Value, conversion: string): Value {
  switch (conversion) {
    case '':
      return value;
    case 's':
      return str(value);
    case 'r':
      return repr(value);
    default:
      return conversion === 'a' ? unsupported('!a') : raise(`Unknown conversion specifier ${conversion}`);
  }
}

const SPEC = /^(?:(.)?([<>=^]))?([-+ ])?(z)?(#)?(0)?(\d+)?([_,])?(?:\.(\d+))?(.)?$/su;

/** `format(value, spec)`. */
export function formatValue(value: Value, spec: string): string {
  if (spec === '') return str(value);
  if (
    value === null ||
    Array.isArray(value) ||
    (value instanceof PyObject && value.typeName !== 'Undefined')
  ) {
    raise(`unsupported format string passed to ${typeName(value)}.__format__`);
  }
  if (value instanceof PyObject) raise('unsupported format string passed to Undefined.__format__');
  const parts = SPEC.exec(spec);
  if (parts === null) return raise(`Invalid format specifier '${spec}'`);
  const [
    ,
    fillText,
    alignment,
    sign,
    negativeZero,
    alternate,
    zero,
    widthText,
    grouping,
    precisionText,
    kind,
  ] = parts;
  if (negativeZero !== undefined) unsupported("the option 'z' of a format specification");
  const width = Number(widthText ?? 0);
  const precision = precisionText === undefined ? undefined : Number(precisionText);
  if (width > 1 << 20) unsupported('a field this wide');
  const fill = fillText ?? (zero !== undefined ? '0' : ' ');
  if (typeof value === 'string') {
    if (kind !== undefined && kind !== 's') raise(`Unknown format code '${kind}' for object of type 'str'`);
    if (sign !== undefined || alternate !== undefined || grouping !== undefined || alignment === '=') {
      raise('this format specification is not allowed for str');
    }
    const text = precision === undefined ? value : subtext(value, 0, Math.min(precision, textLength(value)));
    return aligned(text, '', fill, alignment ?? '<', width);
  }
  const number = numeric(value as boolean | bigint | number) ?? 0n;
  const text = numberText(number, { kind, precision, alternate: alternate !== undefined, grouping, value });
  const negative = number < 0 || Object.is(number, -0);
  const prefix = negative ? '-' : sign === '+' || sign === ' ' ? sign : '';
  const align = alignment ?? (zero !== undefined ? '=' : '>');
  if (grouping !== undefined && align === '=' && fill === '0') unsupported('zeros with separators');
  return aligned(text.digits, prefix + text.prefix, fill, align, width);
}

interface NumberSpec {
  kind: string | undefined;
  precision: number | undefined;
  alternate: boolean;
  grouping: string | undefined;
  value: Value;
}

function numberText(number: bigint | number, spec: NumberSpec): { prefix: string; digits: string } {
  const { kind, precision, alternate, grouping, value } = spec;
  const group = (digits: string, size = 3) =>
    grouping === undefined ? digits : grouped(digits, grouping, size);
  if (typeof number === 'bigint' && (kind === undefined || /[bcdoxXn]/.test(kind))) {
    if (kind === 'c' || kind === 'n') unsupported(`the format code '${kind}'`);
    if (precision !== undefined) raise('Precision not allowed in integer format specifier');
    const radix = { b: 2, o: 8, x: 16, X: 16 }[kind ?? 'd'] ?? 10;
    if (radix !== 10 && grouping === ',') raise(`Cannot specify ',' with '${kind}'.`);
    const digits = (number < 0n ? -number : number).toString(radix);
    const prefix = alternate && radix !== 10 ? `0${kind}` : '';
    return { prefix, digits: group(kind === 'X' ? digits.toUpperCase() : digits, radix === 10 ? 3 : 4) };
  }
  if (kind !== undefined && !/[eEfFgG%]/.test(kind)) {
    raise(`Unknown format code '${kind}' for object of type '${typeName(value)}'`);
  }
  const float = typeof number === 'number' ? number : toFloat(number);
  if (kind === undefined) {
    if (alternate) unsupported("the option '#' without a type");
    return { prefix: '', digits: group(plainDigits(float, precision)) };
  }
  const percent = kind === '%';
  const digits = floatDigits(percent ? float * 100 : float, percent ? 'f' : kind, precision ?? 6, alternate);
  return { prefix: '', digits: group(digits) + (percent ? '%' : '') };
}

function aligned(text: string, prefix: string, fill: string, alignment: string, width: number): string {
  const missing = Math.max(0, width - textLength(prefix) - textLength(text));
  const before = { '<': 0, '>': missing, '^': Math.floor(missing / 2), '=': missing }[alignment] ?? 0;
  if (alignment === '=') return prefix + fill.repeat(missing) + text;
  return fill.repeat(before) + prefix + text + fill.repeat(missing - before);
}

/** The keyword arguments of `format_map`. */
export function keywordsOf(mapping: Value): (name: string) => Value | undefined {
  return mapping instanceof Dict ? (name) => mapping.get(name) : unsupported('format_map of this mapping');
}
