/** Numbers as printf-style formats and format specifications write them. */
import { unsupported } from './errors.js';
import { fixed, floatText, scientific, significant } from './numbers.js';

/** More digits than any template needs. */
const MAX_PRECISION = 1000;

/** The digits of a float without its sign, in the format of `kind` (e, f, g, in either case). */
export function floatDigits(value: number, kind: string, precision: number, alternate: boolean): string {
  const upper = kind === kind.toUpperCase();
  const text = lowerDigits(Math.abs(value), kind.toLowerCase(), precision, alternate);
  return upper ? text.toUpperCase() : text;
}

function lowerDigits(size: number, kind: string, precision: number, alternate: boolean): string {
  if (Number.isNaN(size)) return 'nan';
  if (!Number.isFinite(size)) return 'inf';
  if (precision > MAX_PRECISION) unsupported(`a precision of ${precision}`);
  const point = alternate && precision === 0 ? '.' : '';
  if (kind === 'f') return fixed(size, precision) + point;
  if (kind === 'e') {
    const { digits, exponent } = significant(size, precision + 1);
    return scientific(digits, exponent).replace('e', `${point}e`);
  }
  const { digits, exponent } = significant(size, Math.max(1, precision));
  const places = Math.max(1, precision);
  if (exponent < -4 || exponent >= places) {
    const kept = alternate ? digits : digits.replace(/(?!^)0+$/, '');
    return scientific(kept, exponent);
  }
  const text = fixed(size, Math.max(0, places - 1 - exponent));
  if (alternate) return text.includes('.') ? text : `${text}.`;
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

/**
 * What `format(float)` writes without a type: like `repr`, or like `g` if a precision is given, but always with a
 * point.
 */
export function plainDigits(value: number, precision: number | undefined): string {
  const size = Math.abs(value);
  if (precision === undefined || !Number.isFinite(size)) return floatText(size);
  const places = Math.max(1, precision);
  const { digits, exponent } = significant(size, places);
  if (exponent < -4 || exponent >= places - 1) return scientific(digits.replace(/(?!^)0+$/, ''), exponent);
  const text = lowerDigits(size, 'g', places, false);
  return text.includes('.') ? text : `${text}.0`;
}

/** Puts `separator` between groups of `size` digits before the point. */
export function grouped(digits: string, separator: string, size = 3): string {
  const [, whole = '', rest = ''] = /^([\da-fA-F]*)(.*)$/s.exec(digits) ?? [];
  const first = whole.length % size;
  const groups = first === 0 ? [] : [whole.slice(0, first)];
  for (let i = first; i < whole.length; i += size) groups.push(whole.slice(i, i + size));
  return groups.join(separator) + rest;
}
