/** Filters on numbers. */
import { intArgument, textArgument } from './arguments.js';
import { numeric } from './equality.js';
import { raise, unsupported } from './errors.js';
import { type Filter, filter } from './filter.js';
import { Markup } from './markup.js';
import { fixed, parseFloatText, parseIntText, roundFloat, roundInt, toFloat, truncated } from './numbers.js';
import { arithmetic } from './operators.js';
import { truthy, typeName, Undefined, type Value } from './values.js';

function number(value: Value): bigint | number {
  if (value instanceof Undefined) value.fail();
  const found = numeric(value);
  return found === undefined ? raise(`a number is required, not '${typeName(value)}'`) : found;
}

function absolute(value: Value): Value {
  const size = number(value);
  if (typeof size === 'bigint') return size < 0n ? -size : size;
  return Math.abs(size);
}

function round(value: Value, precision: Value = 0n, how: Value = 'common'): Value {
  if (how !== 'common' && how !== 'ceil' && how !== 'floor') raise('method must be common, ceil or floor');
  const rounded = number(value);
  if (how === 'common') {
    if (precision === null) {
      return typeof rounded === 'number' ? truncated(roundFloat(checkFinite(rounded), 0)) : rounded;
    }
    const places = intArgument(precision, 'precision');
    return typeof rounded === 'bigint' ? roundInt(rounded, BigInt(places)) : roundFloat(rounded, places);
  }
  const power = arithmetic('**', 10n, precision);
  const scaled = arithmetic('*', rounded, power);
  const whole =
    typeof scaled === 'number' ? truncated(how === 'ceil' ? Math.ceil(scaled) : Math.floor(scaled)) : scaled;
  return arithmetic('/', whole, power);
}

const checkFinite = (value: number) =>
  Number.isFinite(value) ? value : raise('cannot convert float NaN or infinity to integer');

/** `int(value)` with Jinja2's fallbacks. */
function toInt(value: Value, otherwise: Value = 0n, base: Value = 10n): Value {
  if (value instanceof Undefined) value.fail();
  if (typeof value === 'string' || value instanceof Markup) {
    const text = String(value);
    const int = parseIntText(text, intArgument(base, 'base'));
    if (int !== undefined) return int;
    const float = parseFloatText(text);
    return float === undefined || !Number.isFinite(float) ? otherwise : truncated(float);
  }
  const given = numeric(value);
  if (given === undefined || Number.isNaN(given)) return otherwise;
  return typeof given === 'bigint' ? given : truncated(given);
}

function toFloatOr(value: Value, otherwise: Value = 0): Value {
  if (value instanceof Undefined) value.fail();
  if (typeof value === 'string' || value instanceof Markup) {
    const float = parseFloatText(String(value));
    return float === undefined ? otherwise : float;
  }
  const given = numeric(value);
  if (given === undefined) return otherwise;
  return typeof given === 'bigint' ? toFloat(given) : given;
}

const UNITS = 'kMGTPEZY';

function fileSize(value: Value, binary: Value = false): string {
  const parsed = typeof value === 'string' ? parseFloatText(value) : number(value);
  if (parsed === undefined)
    return raise(`could not convert string to float: '${textArgument(value, 'value')}'`);
  const bytes = typeof parsed === 'bigint' ? toFloat(parsed) : parsed;
  if (!Number.isFinite(bytes)) unsupported('filesizeformat of NaN or infinity');
  const base = truthy(binary) ? 1024 : 1000;
  if (bytes === 1) return '1 Byte';
  if (bytes < base) return `${truncated(bytes)} Bytes`;
  let index = 0;
  while (index < UNITS.length - 1 && bytes >= Number(BigInt(base) ** BigInt(index + 2))) index++;
  const amount = (base * bytes) / Number(BigInt(base) ** BigInt(index + 2));
  const unit = UNITS.charAt(index);
  return `${fixed(amount, 1)} ${truthy(binary) ? `${unit.toUpperCase()}iB` : `${unit}B`}`;
}

export const NUMBER_FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ['abs', filter('', absolute)],
  ['round', filter('precision? method?', round)],
  ['int', filter('default? base?', toInt)],
  ['float', filter('default?', toFloatOr)],
  ['filesizeformat', filter('binary?', fileSize)],
]);
