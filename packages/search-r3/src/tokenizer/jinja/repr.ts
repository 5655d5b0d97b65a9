/** `str()` and `repr()` of values. */
import { unsupported } from './errors.js';
import { floatText } from './numbers.js';
import { isList, PyObject, type Value } from './values.js';

/** `str(value)`: what a value prints as. */
export function str(value: Value): string {
  if (typeof value === 'string') return value;
  return value instanceof PyObject ? value.str() : repr(value);
}

export function repr(value: Value): string {
  switch (typeof value) {
    case 'boolean':
      return value ? 'True' : 'False';
    case 'bigint':
      return intText(value);
    case 'number':
      return floatText(value);
    case 'string':
      return stringRepr(value);
    case 'object':
      if (value === null) return 'None';
      return isList(value) ? `[${value.map(repr).join(', ')}]` : value.repr();
    default:
      return value satisfies never;
  }
}

/** The most digits of an int that Python prints. */
const MAX_DIGITS = 4300;

function intText(value: bigint): string {
  const text = value.toString();
  return text.length > MAX_DIGITS ? unsupported('printing an int of over 4,300 digits') : text;
}

/** The characters for which `str.isprintable` is false, and the space, for which it is true. */
export const NOT_PRINTABLE = /[\p{C}\p{Zl}\p{Zp}\p{Zs}]/u;
const NOT_PRINTABLE_NOR_SPACE = /(?! )[\p{C}\p{Zl}\p{Zp}\p{Zs}]/gu;
const NAMED = new Map([
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
]);

function stringRepr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text
    .replaceAll('\\', '\\\\')
    .replaceAll(quote, `\\${quote}`)
    .replace(NOT_PRINTABLE_NOR_SPACE, (character) => NAMED.get(character) ?? escapeCode(character));
  return quote + escaped + quote;
}

function escapeCode(character: string): string {
  const code = character.codePointAt(0)!;
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}
