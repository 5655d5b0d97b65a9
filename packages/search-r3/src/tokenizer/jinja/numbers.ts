/** Python's ints and floats: printing, parsing, and exact decimal rounding. */
import { raise, unsupported } from './errors.js';
import { stripEnd, stripStart } from './text.js';

/** The largest int that is computed, in bits. Python's own limit for printing is near 14,000. */
const MAX_BITS = 14_000;

/** Returns an int that is small enough to compute with; rejects others. */
export function checkedInt(value: bigint): bigint {
  if (value > MAX_INT || value < -MAX_INT) unsupported(`an int of more than ${MAX_BITS} bits`);
  return value;
}

const MAX_INT = 1n << BigInt(MAX_BITS);

/** An int as an index or a count, limited to the safe integers. */
export function toIndex(value: bigint): number {
  if (value > Number.MAX_SAFE_INTEGER) return Number.MAX_SAFE_INTEGER;
  return value < Number.MIN_SAFE_INTEGER ? Number.MIN_SAFE_INTEGER : Number(value);
}

export function toFloat(value: bigint): number {
  const float = Number(value);
  return Number.isFinite(float) ? float : raise('int too large to convert to float');
}

/** `int()` of a float. */
export function truncated(value: number): bigint {
  if (Number.isNaN(value)) raise('cannot convert float NaN to integer');
  if (!Number.isFinite(value)) raise('cannot convert float infinity to integer');
  return BigInt(Math.trunc(value));
}

/** `repr` of a float: the shortest digits that read back as the same float. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const [mantissa = '', exponentText = '0'] = Math.abs(value).toExponential().split('e');
  const digits = mantissa.replace('.', '');
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16) return sign + scientific(digits, exponent);
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  if (digits.length <= exponent + 1) return `${sign}${digits.padEnd(exponent + 1, '0')}.0`;
  return `${sign}${digits.slice(0, exponent + 1)}.${digits.slice(exponent + 1)}`;
}

/** Digits as d.ddde+XX. */
export function scientific(digits: string, exponent: number): string {
  const fraction = digits.length > 1 ? `.${digits.slice(1)}` : '';
  const size = String(Math.abs(exponent)).padStart(2, '0');
  return `${digits.slice(0, 1)}${fraction}e${exponent < 0 ? '-' : '+'}${size}`;
}

/** A finite float >= 0 as an exact fraction. */
function fraction(value: number): { numerator: bigint; denominator: bigint } {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const exponentBits = Number((bits >> 52n) & 0x7ffn);
  const mantissa = (bits & 0xfffffffffffffn) | (exponentBits === 0 ? 0n : 1n << 52n);
  const exponent = Math.max(exponentBits, 1) - 1075;
  return exponent >= 0
    ? { numerator: mantissa << BigInt(exponent), denominator: 1n }
    : { numerator: mantissa, denominator: 1n << BigInt(-exponent) };
}

/** `numerator / denominator` rounded to the nearest int, ties to even. */
function nearest(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator;
  const twice = 2n * (numerator % denominator);
  const up = twice > denominator || (twice === denominator && quotient % 2n === 1n);
  return up ? quotient + 1n : quotient;
}

/** `value * 10 ** places` to the nearest int, for a finite float >= 0. */
function scaledInt(value: number, places: number): bigint {
  const { numerator, denominator } = fraction(value);
  const power = 10n ** BigInt(Math.abs(places));
  return places >= 0 ? nearest(numerator * power, denominator) : nearest(numerator, denominator * power);
}

/** A finite float >= 0 with `places` decimal places. */
export function fixed(value: number, places: number): string {
  const digits = scaledInt(value, places)
    .toString()
    .padStart(places + 1, '0');
  return places === 0 ? digits : `${digits.slice(0, -places)}.${digits.slice(-places)}`;
}

/** The first `count` digits of a finite float >= 0, rounded, and the exponent of the first. */
export function significant(value: number, count: number): { digits: string; exponent: number } {
  if (value === 0) return { digits: '0'.repeat(count), exponent: 0 };
  let exponent = Number(value.toExponential().split('e')[1]);
  let digits = scaledInt(value, count - 1 - exponent).toString();
  // 9.99 becomes 10.
  if (digits.length > count) {
    digits = digits.slice(0, count);
    exponent++;
  }
  return { digits, exponent };
}

/** `round(float, places)`. */
export function roundFloat(value: number, places: number): number {
  if (!Number.isFinite(value) || value === 0) return value;
  const size = Math.abs(value);
  if (places > 323) return value;
  if (places < -308) return value < 0 ? -0 : 0;
  const rounded = Number(`${scaledInt(size, places)}e${-places}`);
  if (!Number.isFinite(rounded)) raise('rounded value too large to represent');
  return value < 0 ? -rounded : rounded;
}

/** `round(int, places)`: an int, rounded to tens or hundreds if `places` is negative. */
export function roundInt(value: bigint, places: bigint): bigint {
  if (places >= 0n) return value;
  if (places < -BigInt(MAX_BITS)) return 0n;
  const power = 10n ** -places;
  const size = nearest(value < 0n ? -value : value, power) * power;
  return value < 0n ? -size : size;
}

const SPACE_AROUND = (text: string) => stripStart(stripEnd(text));
const FLOAT = /^[+-]?(?:(?:\d+(?:_\d+)*)?\.?(?:\d+(?:_\d+)*)?(?:e[+-]?\d+(?:_\d+)*)?|inf|infinity|nan)$/i;

/** `float(text)`; undefined if Python raises a ValueError. */
export function parseFloatText(text: string): number | undefined {
  const trimmed = SPACE_AROUND(text);
  refuseForeignDigits(trimmed);
  if (!FLOAT.test(trimmed) || !/^[+-]?(?:\.?\d|[in])/i.test(trimmed)) return undefined;
  const plain = trimmed.replaceAll('_', '').toLowerCase();
  if (plain.endsWith('nan')) return Number.NaN;
  if (/inf/.test(plain)) return plain.startsWith('-') ? -Infinity : Infinity;
  return Number(plain);
}

const PREFIXES = new Map([
  [2, /^0b_?/i],
  [8, /^0o_?/i],
  [16, /^0x_?/i],
]);

/** `int(text, base)`; undefined if Python raises a ValueError. */
export function parseIntText(text: string, base: number): bigint | undefined {
  if (base !== 0 && (base < 2 || base > 36)) return undefined;
  const trimmed = SPACE_AROUND(text);
  refuseForeignDigits(trimmed);
  const sign = /^[+-]/.exec(trimmed)?.[0] ?? '';
  let digits = trimmed.slice(sign.length);
  let radix = base;
  for (const [prefixed, prefix] of PREFIXES) {
    if ((base !== 0 && base !== prefixed) || !prefix.test(digits)) continue;
    digits = digits.replace(prefix, '');
    radix = prefixed;
    break;
  }
  if (radix === 0) {
    if (/^0[\d_]*[1-9]/.test(digits)) return undefined;
    radix = 10;
  }
  if (!/^[\da-z]+(?:_[\da-z]+)*$/i.test(digits)) return undefined;
  let value = 0n;
  for (const digit of digits.replaceAll('_', '')) {
    const unit = Number.parseInt(digit, 36);
    if (unit >= radix) return undefined;
    value = checkedInt(value * BigInt(radix) + BigInt(unit));
  }
  return sign === '-' ? -value : value;
}

/** Rejects digits other than 0 to 9: Python reads the decimal digits of every script. */
function refuseForeignDigits(text: string): void {
  if (/(?!\d)\p{Nd}/u.test(text)) unsupported('a number with digits other than 0 to 9');
}

/** Removes the underscores of a literal. */
export function parseLiteral(text: string): bigint | number {
  const plain = text.replaceAll('_', '');
  return /^0[box]/i.test(plain) || /^\d+$/.test(plain) ? checkedInt(BigInt(plain)) : Number(plain);
}
