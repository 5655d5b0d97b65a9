/** Python's operators: order, membership and arithmetic. */
import { Dict, DictView, iterable, Range, Tuple } from './containers.js';
import { equal, indexOf, numeric, same } from './equality.js';
import { raise, unsupported } from './errors.js';
import { Markup } from './markup.js';
import { checkedInt, toFloat } from './numbers.js';
import { percentFormat } from './percent-format.js';
import { compareText } from './text.js';
import { isList, typeName, Undefined, type Value } from './values.js';

export type Comparison = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | 'not in';

export function compare(operator: Comparison, a: Value, b: Value): boolean {
  switch (operator) {
    case '==':
      return equal(a, b);
    case '!=':
      return !equal(a, b);
    case 'in':
      return contains(b, a);
    case 'not in':
      return !contains(b, a);
    case '<':
    case '<=':
    case '>':
    case '>=':
      return ordered(operator, a, b);
    default:
      return operator satisfies never;
  }
}

type Order = '<' | '<=' | '>' | '>=';

function ordered(operator: Order, a: Value, b: Value): boolean {
  const [left, right] = [numeric(a), numeric(b)];
  if (left !== undefined && right !== undefined) return decide(operator, left, right);
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  if ((typeof a === 'string' || a instanceof Markup) && (typeof b === 'string' || b instanceof Markup)) {
    return decide(operator, compareText(String(a), String(b)), 0);
  }
  if (isList(a) && isList(b)) return orderedItems(operator, a, b);
  if (a instanceof Tuple && b instanceof Tuple) return orderedItems(operator, a.items, b.items);
  if (a instanceof DictView && b instanceof DictView) unsupported('ordering views of dicts');
  return raise(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

function orderedItems(operator: Order, a: readonly Value[], b: readonly Value[]): boolean {
  for (let i = 0; i < a.length && i < b.length; i++) {
    if (!same(a[i]!, b[i]!)) return ordered(operator, a[i]!, b[i]!);
  }
  return decide(operator, a.length, b.length);
}

function decide(operator: Order, a: bigint | number, b: bigint | number): boolean {
  switch (operator) {
    case '<':
      return a < b;
    case '<=':
      return a <= b;
    case '>':
      return a > b;
    case '>=':
      return a >= b;
    default:
      return operator satisfies never;
  }
}

export function lessThan(a: Value, b: Value): boolean {
  return ordered('<', a, b);
}

/** `item in container`. */
export function contains(container: Value, item: Value): boolean {
  if (typeof container === 'string' || container instanceof Markup) {
    if (typeof item === 'string' || item instanceof Markup) return String(container).includes(String(item));
    return raise(`'in <string>' requires string as left operand, not ${typeName(item)}`);
  }
  if (isList(container)) return indexOf(container, item) !== -1;
  if (container instanceof Dict) return container.has(item);
  if (container instanceof DictView && container.kind === 'keys') return container.dict.has(item);
  if (container instanceof Range) return inRange(container, item);
  const values = iterable(container);
  if (values === undefined) return raise(`argument of type '${typeName(container)}' is not iterable`);
  for (const value of values) if (same(value, item)) return true;
  return false;
}

function inRange(range: Range, item: Value): boolean {
  const wanted = numeric(item);
  if (wanted === undefined || !Number.isInteger(Number(wanted))) return false;
  const steps = (Number(wanted) - range.start) / range.step;
  return Number.isInteger(steps) && steps >= 0 && steps < range.length();
}

export type Arithmetic = '+' | '-' | '*' | '/' | '//' | '%' | '**';

/** The most characters that a repeated string may have: far more than a prompt, far less than memory. */
const MAX_LENGTH = 1 << 26;

export function arithmetic(operator: Arithmetic, a: Value, b: Value): Value {
  const [left, right] = [numeric(a), numeric(b)];
  if (left !== undefined && right !== undefined) {
    return typeof left === 'bigint' && typeof right === 'bigint'
      ? intArithmetic(operator, left, right)
      : floatArithmetic(operator, asFloat(left), asFloat(right));
  }
  if (operator === '%' && (typeof a === 'string' || a instanceof Markup)) {
    return a instanceof Markup ? unsupported('% on escaped text') : percentFormat(a, b);
  }
  if (a instanceof Undefined) return a.fail();
  if (b instanceof Undefined) return b.fail();
  if (operator === '+') {
    if (a instanceof Markup || b instanceof Markup) return Markup.sum(a, b) ?? mismatch(operator, a, b);
    if (typeof a === 'string' && typeof b === 'string') return a + b;
    if (isList(a) && isList(b)) return [...a, ...b];
    if (a instanceof Tuple && b instanceof Tuple) return new Tuple([...a.items, ...b.items]);
  }
  if (operator === '*') {
    const [sequence, count] = left === undefined ? [a, right] : [b, left];
    if (typeof count === 'bigint') return repeated(sequence, count) ?? mismatch(operator, a, b);
  }
  if (operator === '-' && a instanceof DictView) unsupported('subtracting views of dicts');
  return mismatch(operator, a, b);
}

function mismatch(operator: Arithmetic, a: Value, b: Value): never {
  return raise(`unsupported operand type(s) for ${operator}: '${typeName(a)}' and '${typeName(b)}'`);
}

function asFloat(value: bigint | number): number {
  return typeof value === 'number' ? value : toFloat(value);
}

function repeated(sequence: Value, times: bigint): Value | undefined {
  const size = (length: number) => {
    const count = times > 0n ? Number(times) : 0;
    return count * length > MAX_LENGTH ? unsupported(`a sequence of ${count * length} items`) : count;
  };
  if (typeof sequence === 'string') return sequence.repeat(sequence === '' ? 0 : size(sequence.length));
  const items = isList(sequence) ? sequence : sequence instanceof Tuple ? sequence.items : undefined;
  if (items === undefined) return sequence instanceof Markup ? sequence.repeat(times) : undefined;
  const all = Array.from({ length: items.length === 0 ? 0 : size(items.length) }, () => items).flat();
  return isList(sequence) ? all : new Tuple(all);
}

function intArithmetic(operator: Arithmetic, a: bigint, b: bigint): Value {
  switch (operator) {
    case '+':
      return checkedInt(a + b);
    case '-':
      return checkedInt(a - b);
    case '*':
      return checkedInt(a * b);
    case '/':
      return intQuotient(a, b);
    case '//': {
      if (b === 0n) raise('integer division or modulo by zero');
      const quotient = a / b;
      return a % b !== 0n && a < 0n !== b < 0n ? quotient - 1n : quotient;
    }
    case '%': {
      if (b === 0n) raise('integer division or modulo by zero');
      const rest = a % b;
      return rest !== 0n && rest < 0n !== b < 0n ? rest + b : rest;
    }
    case '**':
      return intPower(a, b);
    default:
      return operator satisfies never;
  }
}

/** The float nearest to the quotient. For large ints, this is not always the quotient of their floats. */
function intQuotient(a: bigint, b: bigint): number {
  if (b === 0n) raise('division by zero');
  const [left, right] = [Number(a), Number(b)];
  if (Number.isSafeInteger(left) && Number.isSafeInteger(right)) return left / right;
  const bits = (value: bigint) => value.toString(2).length;
  const [size, by] = [a < 0n ? -a : a, b < 0n ? -b : b];
  // Enough bits that the last one only decides ties; it is set if there is a remainder.
  const shift = Math.max(0, 66 - bits(size) + bits(by));
  if (shift > 1000) unsupported('a quotient this small');
  const scaled = size << BigInt(shift);
  const quotient = (scaled / by) | (scaled % by === 0n ? 0n : 1n);
  const result = toFloat(quotient) / 2 ** shift;
  return a < 0n !== b < 0n ? -result : result;
}

function intPower(base: bigint, exponent: bigint): Value {
  if (exponent < 0n) {
    if (base === 0n) raise('0.0 cannot be raised to a negative power');
    return floatPower(toFloat(base), toFloat(exponent));
  }
  const size = base < 0n ? -base : base;
  if (size > 1n && exponent * BigInt(size.toString(2).length - 1) > 20_000n)
    unsupported('a power this large');
  return checkedInt(size > 1n ? base ** exponent : smallPower(base, exponent));
}

function smallPower(base: bigint, exponent: bigint): bigint {
  return base === -1n ? (exponent % 2n === 0n ? 1n : -1n) : base ** (exponent > 0n ? 1n : 0n);
}

function floatArithmetic(operator: Arithmetic, a: number, b: number): number {
  switch (operator) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '/':
      return b === 0 ? raise('float division by zero') : a / b;
    case '//':
      return b === 0 ? raise('float floor division by zero') : floatDivmod(a, b)[0];
    case '%':
      return b === 0 ? raise('float modulo') : floatDivmod(a, b)[1];
    case '**':
      return floatPower(a, b);
    default:
      return operator satisfies never;
  }
}

/** Quotient and remainder with the sign of the divisor, as CPython's float_divmod computes them. */
function floatDivmod(a: number, b: number): [number, number] {
  let rest = a % b;
  let quotient = (a - rest) / b;
  if (rest !== 0) {
    if (b < 0 !== rest < 0) {
      rest += b;
      quotient -= 1;
    }
  } else {
    rest = b < 0 ? -0 : 0;
  }
  if (quotient === 0) return [a / b < 0 || Object.is(a / b, -0) ? -0 : 0, rest];
  const floor = Math.floor(quotient);
  return [quotient - floor > 0.5 ? floor + 1 : floor, rest];
}

function floatPower(base: number, exponent: number): number {
  if (base === 1 || exponent === 0) return 1;
  if (base === -1 && !Number.isFinite(exponent)) return 1;
  if (base === 0 && exponent < 0) raise('0.0 cannot be raised to a negative power');
  if (base < 0 && Number.isFinite(base) && Number.isFinite(exponent) && !Number.isInteger(exponent)) {
    unsupported('a complex number');
  }
  const power = base ** exponent;
  const overflow = !Number.isFinite(power) && Number.isFinite(base) && Number.isFinite(exponent);
  return overflow ? raise('Numerical result out of range') : power;
}

/** `+value` or `-value`. */
export function signed(operator: '+' | '-', value: Value): Value {
  const number = numeric(value);
  if (number !== undefined) return operator === '-' ? -number : number;
  if (value instanceof Undefined) return value.fail();
  return raise(`bad operand type for unary ${operator}: '${typeName(value)}'`);
}
