/** Rows of a matrix stored in one array. */

/** Copies `rows` of `matrix` [any * dimension] into `target` [rows * dimension] and returns `target`. */
export function copyRows<T extends Float32Array | Float64Array>(
  target: T,
  matrix: T,
  rows: readonly number[] | Int32Array,
  dimension: number,
): T {
  for (const [i, row] of rows.entries()) {
    target.set(matrix.subarray(row * dimension, (row + 1) * dimension), i * dimension);
  }
  return target;
}
