/**
 * The linear part of the drift: ridge regression towards the identity. A policy update moves all vectors alike to a large
 * part; from the pairs (old vector, new vector) of the documents just encoded,
 *
 *     minimise |X M - Y|^2 + lambda |M - I|^2,  so  M = I + (X'X + lambda I)^-1 X' (Y - X).
 *
 * With fewer pairs than dimensions the dual form is solved, M = I + X' (XX' + lambda I)^-1 (Y - X). Errors of prediction
 * without the pair at hand (leave-one-out) come in closed form from the diagonal of the hat matrix H, e_i / (1 - H_ii).
 */
import { Cholesky } from './cholesky.js';

/** Pairs of vectors of the same documents, [count * dimension] each. */
export interface DriftPairs {
  count: number;
  dimension: number;
  old: Float32Array;
  fresh: Float32Array;
}

export interface DriftMap {
  /** M, [dimension * dimension] by rows: a row vector times M is its prediction. */
  matrix: Float32Array;
  /** [count * dimension]: what the map of all other pairs leaves of each new vector. */
  residuals: Float64Array;
}

/** The map of some pairs; at least one. `lambda` is above 0. */
export function fitDriftMap(pairs: DriftPairs, lambda: number): DriftMap {
  return pairs.count <= pairs.dimension ? dual(pairs, lambda) : primal(pairs, lambda);
}

/** Y - X. */
export function movement({ old, fresh }: DriftPairs): Float64Array {
  return Float64Array.from(fresh, (value, i) => value - (old[i] as number));
}

function dual(pairs: DriftPairs, lambda: number): DriftMap {
  const { count, dimension, old } = pairs;
  const gram = new Float64Array(count * count);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j <= i; j++) gram[i * count + j] = dot(old, i, old, j, dimension);
    gram[i * count + i] = (gram[i * count + i] as number) + lambda;
  }
  const factor = new Cholesky(gram, count);
  const coefficients = factor.solve(movement(pairs), dimension);
  const change = new Float64Array(dimension * dimension);
  addProduct(change, old, coefficients, count, dimension);
  // I - H = lambda (XX' + lambda I)^-1, and so is what is left of the movement: the factor cancels.
  const diagonal = factor.inverseDiagonal();
  const residuals = coefficients.map((value, at) => value / (diagonal[Math.floor(at / dimension)] as number));
  return { matrix: plusIdentity(change, dimension), residuals };
}

function primal(pairs: DriftPairs, lambda: number): DriftMap {
  const { count, dimension, old } = pairs;
  const moved = movement(pairs);
  const gram = new Float64Array(dimension * dimension);
  addProduct(gram, old, old, count, dimension);
  for (let i = 0; i < dimension; i++) gram[i * dimension + i] = (gram[i * dimension + i] as number) + lambda;
  const factor = new Cholesky(gram, dimension);
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
      subtractScaled(residuals, i, change, k, old[i * dimension + k] as number, dimension);
    }
    for (let j = i * dimension; j < (i + 1) * dimension; j++) {
      residuals[j] = (residuals[j] as number) / (1 - leverage);
    }
  }
  return { matrix: plusIdentity(change, dimension), residuals };
}

type Numbers = Float32Array | Float64Array;

function dot(a: Numbers, i: number, b: Numbers, j: number, dimension: number): number {
  let sum = 0;
  for (let k = 0; k < dimension; k++) {
    sum += (a[i * dimension + k] as number) * (b[j * dimension + k] as number);
  }
  return sum;
}

/** Adds A' B to `target`, A and B [count * dimension]. */
function addProduct(target: Float64Array, a: Numbers, b: Numbers, count: number, dimension: number): void {
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < dimension; k++) {
      subtractScaled(target, k, b, i, -(a[i * dimension + k] as number), dimension);
    }
  }
}

/** target[i] -= factor * source[j], by rows. */
function subtractScaled(
  target: Float64Array,
  i: number,
  source: Numbers,
  j: number,
  factor: number,
  dimension: number,
): void {
  const to = i * dimension;
  const from = j * dimension;
  for (let k = 0; k < dimension; k++)
    target[to + k] = (target[to + k] as number) - factor * (source[from + k] as number);
}

function plusIdentity(change: Float64Array, dimension: number): Float32Array {
  const matrix = Float32Array.from(change);
  for (let i = 0; i < dimension; i++) {
    matrix[i * dimension + i] = (change[i * dimension + i] as number) + 1;
  }
  return matrix;
}
