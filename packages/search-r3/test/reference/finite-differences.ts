/** Central finite differences: what every gradient of the reference implementation is checked against. */

/** Euclidean norm. */
export const norm = (x: ArrayLike<number>): number => Math.hypot(...Array.from(x));

/** |found - expected| / |expected|, by Euclidean norm; absolute where the expectation is zero. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) {
    throw new RangeError(`relativeError: expected ${expected.length} elements, found ${found.length}`);
  }
  const difference = Array.from(expected, (value, i) => (found[i] as number) - value);
  const scale = norm(expected);
  return norm(difference) / (scale === 0 ? 1 : scale);
}

/**
 * The gradient of `f` at `x`, one element at a time: (f(x + h e) - f(x - h e)) / 2h, with one Richardson step
 * (4 D(h/2) - D(h)) / 3 that removes the h^2 term. `x` is changed while `f` runs and restored afterwards.
 */
export function numericalGradient(f: () => number, x: Float64Array, h = 1e-3): Float64Array {
  return Float64Array.from(x, (_, i) => directionalDerivative(f, x, unit(x.length, i), h));
}

/** The derivative of `f` at `x` along `direction`, in the same way: one number that involves every element. */
export function directionalDerivative(
  f: () => number,
  x: Float64Array,
  direction: Float64Array,
  h = 1e-3,
): number {
  const origin = Float64Array.from(x);
  const at = (step: number): number => {
    for (let i = 0; i < x.length; i++) x[i] = (origin[i] as number) + step * (direction[i] as number);
    return f();
  };
  const central = (step: number): number => (at(step) - at(-step)) / (2 * step);
  const derivative = (4 * central(h / 2) - central(h)) / 3;
  x.set(origin);
  return derivative;
}

function unit(length: number, i: number): Float64Array {
  const e = new Float64Array(length);
  e[i] = 1;
  return e;
}
