/** The mean over axes: a sum and a division of the smaller result. */
import { normalizeAxis, product } from '../dims.js';
import type { Value } from '../graph.js';
import { div } from './elementwise.js';
import { sum } from './reduce.js';
import { dimension } from './shape.js';

/** Mean over `axes` (default all). */
export function mean(x: Value, axes?: readonly number[], keepDims = false): Value {
  const all = (axes ?? x.shape.map((_, axis) => axis)).map((axis) =>
    normalizeAxis('mean', axis, x.shape.length),
  );
  const count = dimension(x.graph, product(...all.map((axis) => x.shape[axis] ?? 1)));
  return div(sum(x, all, keepDims), count);
}
