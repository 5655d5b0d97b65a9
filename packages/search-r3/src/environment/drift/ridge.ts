/**
 * The linear part of the drift: ridge regression towards the identity. A policy update moves all vectors alike to a
 * large extent. From the pairs (old vector, new vector) of the documents just encoded,
 *
 *     minimise |X M - Y|^2 + lambda |M - I|^2,  so  M = I + (X'X + lambda I)^-1 X' (Y - X).
 *
 * With fewer pairs than dimensions the dual form is solved, M = I + X' (XX' + lambda I)^-1 (Y - X). Leave-one-out
 * errors come in closed form from the diagonal of the hat matrix H, e_i / (1 - H_ii).
 */
import { factorised } from './cholesky.js';

/** Pairs of vectors of the same documents, [count * dimension] each. */
export interface DriftPairs {
  count: number;
  dimension: number;
  old: Float32Array;
  fresh: Float32Array;
}

export interface DriftMap {
  /** M, row-major [dimension * dimension]: a row vector times M is its prediction. */
  matrix: Float32Array;
  /** [count * dimension]: leave-one-out errors of the new vectors. */
  residuals: Float64Array;
}

/** The map of one or more pairs. `lambda` is above 0; undefined if it is too small to solve for the map. */
export function fitDriftMap(pairs: DriftPairs, lambda: number): DriftMap | undefined {
  return pairs.count <= pairs.dimension ? dual(pairs, lambda) : primal(pairs, lambda);
}

/** Y - X. */
export function movement({ old, fresh }: DriftPairs): Float64Array {
  const moved = new Float64Array(fresh);
  for (let i = 0; i < moved.length; i++) moved[i] = (moved[i] as number) - (old[i] as number);
  return moved;
}

function dual(pairs: DriftPairs, lambda: number): DriftMap | undefined {
  const { count, dimension } = pairs;
  const old = new Float64Array(pairs.old);
  const gram = new Float64Array(count * count);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < dimension; k++) {
        sum += (old[i * dimension + k] as number) * (old[j * dimension + k] as number);
      }
      gram[i * count + j] = sum;
    }
    gram[i * count + i] = (gram[i * count + i] as number) + lambda;
  }
  const factor = factorised(gram, count);
  if (factor === undefined) return undefined;
  const coefficients = factor.solve(movement(pairs), dimension);
  const change = new Float64Array(dimension * dimension);
  addProduct(change, old, coefficients, count, dimension);
  // I - H = lambda (XX' + lambda I)^-1, and the residuals have the same factor: it cancels.
  const diagonal = factor.inverseDiagonal();
  const residuals = coefficients.map((value, at) => value / (diagonal[Math.floor(at / dimension)] as number));
  return { matrix: plusIdentity(change, dimension), residuals };
}

function primal(pairs: DriftPairs, lambda: number): DriftMap | undefined {
  const { count, dimension } = pairs;
  // In float64 like everything it is multiplied with: loops over both kinds of arrays are several times slower.
  const old = new Float64Array(pairs.old);
  const moved = movement(pairs);
  const gram = new Float64Array(dimension * dimension);
  addProduct(gram, old, old, count, dimension);
  for (let i = 0; i < dimension; i++) gram[i * dimension + i] = (gram[i * dimension + i] as number) + lambda;
  const factor = factorised(gram, dimension);
  if (factor === undefined) return undefined;
  const change = new Float64Array(dimension * dimension);
  addProduct(change, old, moved, count, dimension);
  factor.solve(change, dimension);
  // H_ii = |L^-1 x_i|^2: all x_i as columns at once.
  const columns = new Float64Array(dimension * count);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < dimension; k++) columns[k * count + i] = old[i * dimension + k] as number;
  }
  factor.forward(columns, count);
  const residuals = new Float64Array(moved);
  for (let i = 0; i < count; i++) {
    let leverage = 0;
    for (let k = 0; k < dimension; k++) leverage += (columns[k * count + i] as number) ** 2;
    for (let k = 0; k < dimension; k++) {
      const factor = old[i * dimension + k] as number;
      for (let j = 0; j < dimension; j++) {
        const at = i * dimension + j;
        residuals[at] = (residuals[at] as number) - factor * (change[k * dimension + j] as number);
      }
    }
    for (let j = i * dimension; j < (i + 1) * dimension; j++) {
      residuals[j] = (residuals[j] as number) / (1 - leverage);
    }
  }
  return { matrix: plusIdentity(change, dimension), residuals };
}

/** Adds A' B to `target`, A and B [count * dimension]. */
export function addProduct(
  target: Float64Array,
  a: Float64Array,
  b: Float64Array,
  count: number,
  dimension: number,
): Float64Array {
  for (let from = 0; from < count * dimension; from += dimension) {
    for (let k = 0; k < dimension; k++) {
      const factor = a[from + k] as number;
      const to = k * dimension;
      for (let j = 0; j < dimension; j++) {
        target[to + j] = (target[to + j] as number) + factor * (b[from + j] as number);
      }
    }
  }
  return target;
}

/** The transpose of a square matrix. */
export function transposed(matrix: Float64Array, dimension: number): Float64Array {
  const result = new Float64Array(matrix.length);
  for (let i = 0; i < dimension; i++) {
    for (let j = 0; j < dimension; j++) result[j * dimension + i] = matrix[i * dimension + j] as number;
  }
  return result;
}

function plusIdentity(change: Float64Array, dimension: number): Float32Array {
  const matrix = Float32Array.from(change);
  for (let i = 0; i < dimension; i++) {
    matrix[i * dimension + i] = (change[i * dimension + i] as number) + 1;
  }
  return matrix;
}
