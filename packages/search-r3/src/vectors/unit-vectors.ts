/** Checks of embeddings, which have length 1: anything else, including NaN, is an error in making or storing them. */
import { InputError } from '../run/errors.js';

/** Largest deviation of a length from 1; float32 rounding stays far below it. */
const TOLERANCE = 1e-3;

/**
 * @param matrix [rows * dimension]
 * @param firstRow number of the first row in errors.
 * @throws InputError for a row whose length is not 1.
 */
export function refuseWrongLengths(
  matrix: Float32Array,
  dimension: number,
  source: string,
  firstRow = 0,
): void {
  for (let start = 0; start < matrix.length; start += dimension) {
    let squares = 0;
    for (let i = start; i < start + dimension; i++) squares += (matrix[i] as number) ** 2;
    const length = Math.sqrt(squares);
    if (Math.abs(length - 1) <= TOLERANCE) continue;
    const field = `vectors[${firstRow + start / dimension}]`;
    throw new InputError({ source, field, expected: 'a vector of length 1', found: `length ${length}` });
  }
}
