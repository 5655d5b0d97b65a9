/**
 * Float64 arrays for reference computations: tests write each forward function as a formula over indices, sharing no
 * code with the engine.
 */

export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** A tensor from a formula over indices. */
export function tabulate(shape: readonly number[], f: (...index: number[]) => number): Tensor {
  const data = new Float64Array(sizeOf(shape));
  const index = shape.map(() => 0);
  for (let flat = 0; flat < data.length; flat++) {
    data[flat] = f(...index);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = (index[axis] as number) + 1;
      if ((index[axis] as number) < (shape[axis] as number)) break;
      index[axis] = 0;
    }
  }
  return { shape, data };
}

/**
 * The element at an index. Broadcasts as NumPy does: surplus leading indices are dropped and axes of size 1 stand for
 * every index. Throws on any other index out of range.
 */
export function at({ shape, data }: Tensor, ...index: number[]): number {
  let flat = 0;
  for (const [axis, size] of shape.entries()) {
    const i = size === 1 ? 0 : (index[index.length - shape.length + axis] ?? Number.NaN);
    if (!(i >= 0 && i < size)) throw new RangeError(`at: [${index}] is outside [${shape}]`);
    flat = flat * size + i;
  }
  return data[flat] as number;
}

/** `f` of every element. */
export const map = ({ shape, data }: Tensor, f: (x: number) => number): Tensor => ({
  shape,
  data: data.map((x) => f(x)),
});

/** The sum of `f(0) + ... + f(n - 1)`. */
export function sumOver(n: number, f: (i: number) => number): number {
  let total = 0;
  for (let i = 0; i < n; i++) total += f(i);
  return total;
}

export const norm = (x: ArrayLike<number>): number =>
  Math.sqrt(sumOver(x.length, (i) => (x[i] as number) ** 2));

/** |found - expected| / |expected| by Euclidean norm; the absolute error if `expected` is zero. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) {
    throw new RangeError(`relativeError: expected ${expected.length} elements, found ${found.length}`);
  }
  const difference = Array.from(expected, (value, i) => (found[i] as number) - value);
  const scale = norm(expected);
  return norm(difference) / (scale === 0 ? 1 : scale);
}
