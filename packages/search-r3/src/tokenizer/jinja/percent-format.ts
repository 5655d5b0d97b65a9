/** `format % values`: printf-style formatting. */
import { Dict, Range, Tuple } from './containers.js';
import { numeric } from './equality.js';
import { raise, unsupported } from './errors.js';
import { floatDigits } from './number-format.js';
import { toFloat, toIndex, truncated } from './numbers.js';
import { repr, str } from './repr.js';
import { subtext, textLength } from './text.js';
import { isList, typeName, Undefined, type Value } from './values.js';

/** What follows the % and the key in brackets. */
const DIRECTIVE = /([-+ #0]*)(\*|\d*)(?:(\.)(\*|\d*))?[hlL]?(.)?/suy;

interface Spec {
  flags: string;
  width: number;
  precision: number | undefined;
}

/** The widest field; no template needs more. */
const MAX_WIDTH = 1 << 20;

export function percentFormat(format: string, values: Value): string {
  const args = values instanceof Tuple ? values.items : [values];
  const mapping = values instanceof Dict ? values : undefined;
  let used = 0;
  const next = () => {
    const value = args[used++];
    return value === undefined ? raise('not enough arguments for format string') : value;
  };
  const count = (text: string | undefined) => {
    if (text !== '*') return Number(text === '' || text === undefined ? 0 : text);
    const value = next();
    return typeof value === 'bigint' ? toIndex(value) : raise('* wants int');
  };
  let result = '';
  let position = 0;
  while (true) {
    const start = format.indexOf('%', position);
    if (start === -1) break;
    result += format.slice(position, start);
    let key: Value | undefined;
    let rest = start + 1;
    if (format[rest] === '(') {
      const end = closing(format, rest);
      if (mapping === undefined) return raise('format requires a mapping');
      const name = format.slice(rest + 1, end);
      key = mapping.get(name) ?? (mapping.has(name) ? null : raise(`KeyError: '${name}'`));
      rest = end + 1;
    }
    DIRECTIVE.lastIndex = rest;
    const [whole = '', flags = '', widthText, point, precisionText, kind] = DIRECTIVE.exec(format) ?? [];
    if (kind === undefined) return raise('incomplete format');
    const width = count(widthText);
    const precision = point === undefined ? undefined : count(precisionText);
    const spec: Spec = {
      flags: width < 0 ? `${flags}-` : flags,
      width: Math.abs(width),
      precision: precision === undefined ? undefined : Math.max(0, precision),
    };
    if (spec.width > MAX_WIDTH || (spec.precision ?? 0) > MAX_WIDTH) unsupported('a field this wide');
    result += kind === '%' ? '%' : directiveText(kind, spec, key === undefined ? next() : key);
    position = rest + whole.length;
  }
  // Python only checks whether the value can be subscripted. If so, it may be a mapping that is not used.
  const isMapping = [Dict, Range, Undefined].some((type) => values instanceof type) || isList(values);
  if (used < args.length && !isMapping) {
    raise('not all arguments converted during string formatting');
  }
  return result + format.slice(position);
}

/** The bracket that closes the one at `start`. */
function closing(format: string, start: number): number {
  let depth = 0;
  for (let i = start; i < format.length; i++) {
    if (format[i] === '(') depth++;
    if (format[i] === ')' && --depth === 0) return i;
  }
  return raise('incomplete format key');
}

function directiveText(kind: string, spec: Spec, value: Value): string {
  const { flags, precision } = spec;
  switch (kind) {
    case 's':
    case 'r':
    case 'a': {
      if (kind === 'a') unsupported('%a');
      const text = kind === 's' ? str(value) : repr(value);
      return padded(
        spec,
        '',
        precision === undefined ? text : subtext(text, 0, Math.min(precision, textLength(text))),
        false,
      );
    }
    case 'c':
      return padded(spec, '', character(value), false);
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
      return intDirective(kind, spec, value);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': {
      const number = numeric(value);
      if (number === undefined) return raise(`must be real number, not ${typeName(value)}`);
      const float = typeof number === 'number' ? number : toFloat(number);
      const digits = floatDigits(float, kind, precision ?? 6, flags.includes('#'));
      const negative = float < 0 || Object.is(float, -0);
      return padded(spec, signOf(negative, flags), digits, true);
    }
    default:
      return raise(`unsupported format character '${kind}'`);
  }
}

function intDirective(kind: string, spec: Spec, value: Value): string {
  const { flags, precision } = spec;
  const number = numeric(value);
  if (number === undefined) {
    return raise(`%${kind} format: a real number is required, not ${typeName(value)}`);
  }
  if (typeof number === 'number' && /[oxX]/.test(kind)) {
    raise(`%${kind} format: an integer is required, not float`);
  }
  const int = typeof number === 'number' ? truncated(number) : number;
  const radix = { o: 8, x: 16, X: 16 }[kind] ?? 10;
  let digits = (int < 0n ? -int : int).toString(radix).padStart(precision ?? 0, '0');
  let prefix = '';
  if (flags.includes('#')) prefix = { o: '0o', x: '0x', X: '0X' }[kind] ?? '';
  if (kind === 'X') digits = digits.toUpperCase();
  return padded(spec, signOf(int < 0n, flags) + prefix, digits, true);
}

function signOf(negative: boolean, flags: string): string {
  if (negative) return '-';
  if (flags.includes('+')) return '+';
  return flags.includes(' ') ? ' ' : '';
}

function padded({ flags, width }: Spec, prefix: string, text: string, isNumber: boolean): string {
  const missing = Math.max(0, width - textLength(prefix) - textLength(text));
  if (flags.includes('-')) return prefix + text + ' '.repeat(missing);
  if (isNumber && flags.includes('0')) return prefix + '0'.repeat(missing) + text;
  return ' '.repeat(missing) + prefix + text;
}

function character(value: Value): string {
  if (typeof value === 'string' && textLength(value) === 1) return value;
  const code = numeric(value);
  if (typeof code !== 'bigint' || code < 0n || code > 0x10ffffn) return raise('%c requires int or char');
  if (code >= 0xd800n && code <= 0xdfffn) unsupported('half of a surrogate pair');
  return String.fromCodePoint(Number(code));
}
