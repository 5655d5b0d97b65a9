/**
 * Dimensions of tensors: fixed numbers, or symbols ("B", "S") whose size is known only at run time. Products of the two
 * have one canonical spelling ("4*B*S"), so that equal sizes are equal strings.
 */

export type Dim = number | string;
export type Shape = readonly Dim[];

interface Monomial {
  coefficient: number;
  symbols: string[];
}

function parse(dim: Dim): Monomial {
  if (typeof dim === 'number') return { coefficient: dim, symbols: [] };
  const factors = dim.split('*');
  const leading = Number(factors[0]);
  return Number.isNaN(leading) || factors[0] === ''
    ? { coefficient: 1, symbols: factors }
    : { coefficient: leading, symbols: factors.slice(1) };
}

function format({ coefficient, symbols }: Monomial): Dim {
  if (symbols.length === 0 || coefficient === 0) return coefficient;
  const sorted = symbols.slice().sort();
  return coefficient === 1 ? sorted.join('*') : [coefficient, ...sorted].join('*');
}

/** The product of dimensions in canonical form; 1 for none. */
export function product(...dims: Dim[]): Dim {
  const result: Monomial = { coefficient: 1, symbols: [] };
  for (const dim of dims) {
    const { coefficient, symbols } = parse(dim);
    result.coefficient *= coefficient;
    result.symbols.push(...symbols);
  }
  return format(result);
}

/** `a / b`. @throws RangeError if `b` does not divide `a` as a monomial. */
export function quotient(a: Dim, b: Dim): Dim {
  const numerator = parse(a);
  const denominator = parse(b);
  if (numerator.coefficient === 0 && denominator.coefficient !== 0) return 0;
  const symbols = numerator.symbols.slice();
  for (const symbol of denominator.symbols) {
    const at = symbols.indexOf(symbol);
    if (at < 0) throw new RangeError(`quotient: expected ${b} to divide ${a}`);
    symbols.splice(at, 1);
  }
  const coefficient = numerator.coefficient / denominator.coefficient;
  if (!Number.isInteger(coefficient)) throw new RangeError(`quotient: expected ${b} to divide ${a}`);
  return format({ coefficient, symbols });
}

/** The factors of a dimension: its number and its symbols. */
export function factors(dim: Dim): { coefficient: number; symbols: readonly string[] } {
  return parse(dim);
}

const SYMBOL = /^[A-Za-z_]\w*$/;

/**
 * A shape in canonical form.
 * @throws RangeError naming `where` for sizes that are negative or not integers, and for symbols that are neither
 * identifiers nor products of identifiers.
 */
export const canonicalShape = (where: string, shape: Shape): Dim[] =>
  shape.map((dim) => canonicalDim(where, dim));

/** A dimension in canonical form. @throws RangeError as `canonicalShape`. */
export function canonicalDim(where: string, dim: Dim): Dim {
  const { coefficient, symbols } = parse(dim);
  const valid = Number.isSafeInteger(coefficient) && coefficient >= 0;
  if (!valid || !symbols.every((name) => SYMBOL.test(name))) {
    throw new RangeError(`${where}: expected sizes or symbols, found ${JSON.stringify(dim)}`);
  }
  return format({ coefficient, symbols });
}

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((dim, i) => dim === b[i]);

export const formatShape = (shape: Shape): string => `[${shape.join(', ')}]`;

/** NumPy broadcasting of two shapes; a symbol equals only itself. @throws RangeError naming `where`. */
export function broadcast(where: string, a: Shape, b: Shape): Dim[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const left = a[a.length - rank + i] ?? 1;
    const right = b[b.length - rank + i] ?? 1;
    if (left === right || right === 1) return left;
    if (left === 1) return right;
    throw new RangeError(`${where}: shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast`);
  });
}

/** The axis as a non-negative number. @throws RangeError if it is out of range. */
export function normalizeAxis(where: string, axis: number, rank: number): number {
  const normalized = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || normalized < 0 || normalized >= rank) {
    throw new RangeError(`${where}: expected an axis in [${-rank}, ${rank}), found ${axis}`);
  }
  return normalized;
}

/** The size of an axis; negative ones count from the end. @throws RangeError if there is none. */
export function axisSize({ shape }: { readonly shape: Shape }, axis: number): Dim {
  const dim = shape.at(axis);
  if (dim === undefined) throw new RangeError(`axisSize: ${formatShape(shape)} has no axis ${axis}`);
  return dim;
}
