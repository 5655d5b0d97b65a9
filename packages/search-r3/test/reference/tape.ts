/**
 * Operations of the reference implementation on float64 tensors, each with its adjoint (see tensor.ts). They share no
 * code with the engine and favour being evidently right over speed. Every change of layout (broadcast, transpose,
 * slice, gather, ...) is one operation, `take`, with an index map; its adjoint is `scatterAdd`, which is also every sum.
 */
import { constant, type Shape, sizeOf, Tensor } from './tensor.js';

export * from './tensor.js';

// Index maps

function strides(shape: Shape): number[] {
  const steps = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) steps[axis] = steps[axis + 1]! * shape[axis + 1]!;
  return steps;
}

/** For every element of `shape` in row-major order, the flat position reached by `steps` per axis. */
function indexMap(shape: Shape, steps: readonly number[], offset = 0): Int32Array {
  let positions = Int32Array.of(offset);
  for (const [axis, n] of shape.entries()) {
    const step = steps[axis]!;
    const wider = new Int32Array(positions.length * n);
    for (let p = 0; p < positions.length; p++) {
      for (let i = 0; i < n; i++) wider[p * n + i] = positions[p]! + i * step;
    }
    positions = wider;
  }
  return positions;
}

function axisOf(x: Tensor, axis: number): number {
  const positive = axis < 0 ? axis + x.shape.length : axis;
  if (positive < 0 || positive >= x.shape.length) {
    throw new RangeError(`axis ${axis} is outside of [${x.shape}]`);
  }
  return positive;
}

/** `result[i] = x[map[i]]`. */
function take(x: Tensor, map: Int32Array, shape: Shape): Tensor {
  return new Tensor(takeData(x.data, map), shape, [x], (gradient) => [
    scatterAddData(gradient, map, x.data.length),
  ]);
}

/** `result[map[i]] += x[i]`. */
function scatterAdd(x: Tensor, map: Int32Array, shape: Shape): Tensor {
  const out = scatterAddData(x.data, map, sizeOf(shape));
  return new Tensor(out, shape, [x], (gradient) => [takeData(gradient, map)]);
}

function takeData(data: Float64Array, map: Int32Array): Float64Array {
  const out = new Float64Array(map.length);
  for (let i = 0; i < map.length; i++) out[i] = data[map[i]!]!;
  return out;
}

function scatterAddData(data: Float64Array, map: Int32Array, size: number): Float64Array {
  const out = new Float64Array(size);
  for (let i = 0; i < map.length; i++) out[map[i]!]! += data[i]!;
  return out;
}

// Layout

export function reshape(x: Tensor, shape: Shape): Tensor {
  return new Tensor(x.data, shape, [x], (gradient) => [gradient]);
}

/** `axes[i]` is the axis of `x` that becomes axis i. */
export function transpose(x: Tensor, axes: readonly number[]): Tensor {
  if (axes.length !== x.shape.length || new Set(axes).size !== axes.length) {
    throw new RangeError(`transpose: expected a permutation of the axes of [${x.shape}], found [${axes}]`);
  }
  const shape = axes.map((axis) => x.shape[axisOf(x, axis)]!);
  const steps = strides(x.shape);
  return take(
    x,
    indexMap(
      shape,
      axes.map((axis) => steps[axis]!),
    ),
    shape,
  );
}

/** Elements `start` (inclusive) to `end` (exclusive) of one axis. */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  const along = axisOf(x, axis);
  if (!(start >= 0 && start < end && end <= x.shape[along]!)) {
    throw new RangeError(`slice: ${start}..${end} is outside of axis ${axis} of [${x.shape}]`);
  }
  const steps = strides(x.shape);
  const shape = x.shape.with(along, end - start);
  return take(x, indexMap(shape, steps, start * steps[along]!), shape);
}

export function concat(parts: readonly Tensor[], axis: number): Tensor {
  const along = axisOf(parts[0]!, axis);
  const shape = parts[0]!.shape.with(
    along,
    parts.reduce((total, part) => total + part.shape[along]!, 0),
  );
  const steps = strides(shape);
  const out = new Float64Array(sizeOf(shape));
  let offset = 0;
  const maps = parts.map((part) => {
    if (part.shape.some((n, i) => i !== along && n !== shape[i])) {
      throw new RangeError(`concat: [${part.shape}] does not fit [${shape}] along axis ${axis}`);
    }
    const map = indexMap(part.shape, steps, offset * steps[along]!);
    for (let i = 0; i < map.length; i++) out[map[i]!] = part.data[i]!;
    offset += part.shape[along]!;
    return map;
  });
  return new Tensor(out, shape, parts, (gradient) => maps.map((map) => takeData(gradient, map)));
}

/** Rows (slices of axis 0) by number; a row may be taken several times. */
export function gatherRows(x: Tensor, rows: readonly number[]): Tensor {
  const width = sizeOf(x.shape.slice(1));
  const map = new Int32Array(rows.length * width);
  for (const [i, row] of rows.entries()) {
    if (!(row >= 0 && row < x.shape[0]!)) throw new RangeError(`gatherRows: no row ${row} in [${x.shape}]`);
    for (let j = 0; j < width; j++) map[i * width + j] = row * width + j;
  }
  return take(x, map, [rows.length, ...x.shape.slice(1)]);
}

/** One element of every row of a matrix [n, m]: [n]. */
export function pick(x: Tensor, columns: readonly number[]): Tensor {
  const [rows, width] = x.shape;
  if (width === undefined || x.shape.length !== 2 || rows !== columns.length) {
    throw new RangeError(`pick: expected a matrix with ${columns.length} rows, found [${x.shape}]`);
  }
  if (columns.some((column) => !(column >= 0 && column < width))) {
    throw new RangeError(`pick: a column of [${columns}] is outside of [${x.shape}]`);
  }
  return take(
    x,
    Int32Array.from(columns, (column, row) => row * width + column),
    [columns.length],
  );
}

// Broadcasting

function broadcastShape(a: Shape, b: Shape): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const n = a[i - rank + a.length] ?? 1;
    const m = b[i - rank + b.length] ?? 1;
    if (n !== m && n !== 1 && m !== 1) throw new RangeError(`cannot broadcast [${a}] with [${b}]`);
    return n === 1 ? m : n;
  });
}

/** Where every element of the wider `shape` comes from in a tensor of shape `from` (axes aligned at the end). */
function broadcastMap(from: Shape, shape: Shape): Int32Array {
  const missing = shape.length - from.length;
  const steps = strides(from);
  return indexMap(
    shape,
    shape.map((_, i) => (i < missing || from[i - missing] === 1 ? 0 : steps[i - missing]!)),
  );
}

export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  if (x.shape.join() === shape.join()) return x;
  if (broadcastShape(x.shape, shape).some((n, i) => n !== shape[i])) {
    throw new RangeError(`broadcastTo: [${x.shape}] does not broadcast to [${shape}]`);
  }
  return take(x, broadcastMap(x.shape, shape), shape);
}

type Operand = Tensor | number;
const lift = (x: Operand): Tensor => (typeof x === 'number' ? constant(x) : x);

function broadcastTogether(a: Operand, b: Operand): [Tensor, Tensor] {
  const shape = broadcastShape(lift(a).shape, lift(b).shape);
  return [broadcastTo(lift(a), shape), broadcastTo(lift(b), shape)];
}

/** An elementwise operation of two operands from its value and its partial derivatives. */
const binary =
  (value: (x: number, y: number) => number, partials: (x: number, y: number) => readonly [number, number]) =>
  (a: Operand, b: Operand): Tensor => {
    const [left, right] = broadcastTogether(a, b);
    const out = left.data.map((x, i) => value(x, right.data[i]!));
    return new Tensor(out, left.shape, [left, right], (gradient) => {
      const [toLeft, toRight] = [new Float64Array(out.length), new Float64Array(out.length)];
      for (let i = 0; i < out.length; i++) {
        const [dx, dy] = partials(left.data[i]!, right.data[i]!);
        toLeft[i] = gradient[i]! * dx;
        toRight[i] = gradient[i]! * dy;
      }
      return [toLeft, toRight];
    });
  };

/** At a tie each side gets half of the gradient, as in torch. */
const share = (x: number, y: number): readonly [number, number] =>
  x === y ? [0.5, 0.5] : x > y ? [1, 0] : [0, 1];

export const add = binary(
  (x, y) => x + y,
  () => [1, 1],
);
export const sub = binary(
  (x, y) => x - y,
  () => [1, -1],
);
export const mul = binary(
  (x, y) => x * y,
  (x, y) => [y, x],
);
export const div = binary(
  (x, y) => x / y,
  (x, y) => [1 / y, -x / (y * y)],
);
export const maximum = binary(Math.max, share);
export const minimum = binary(Math.min, (x, y) => share(-x, -y));

/** `a` where `condition` holds, else `b`; the value not chosen may be infinite. `condition` has the result's size. */
export function where(condition: readonly boolean[], a: Operand, b: Operand): Tensor {
  const [left, right] = broadcastTogether(a, b);
  const size = left.data.length;
  if (condition.length !== size) {
    throw new RangeError(`where: expected ${size} conditions, found ${condition.length}`);
  }
  const out = left.data.map((x, i) => (condition[i] ? x : right.data[i]!));
  return new Tensor(out, left.shape, [left, right], (gradient) => [
    gradient.map((g, i) => (condition[i] ? g : 0)),
    gradient.map((g, i) => (condition[i] ? 0 : g)),
  ]);
}

/** An elementwise operation from its value and its slope, which is given x and the value at x. */
const unary =
  (value: (x: number) => number, slope: (x: number, y: number) => number) =>
  (x: Tensor): Tensor => {
    const out = x.data.map(value);
    return new Tensor(out, x.shape, [x], (gradient) => [
      gradient.map((g, i) => g * slope(x.data[i]!, out[i]!)),
    ]);
  };

/** From the side that does not overflow. */
const logistic = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

export const neg = (x: Tensor): Tensor => mul(x, -1);
export const exp = unary(Math.exp, (_, y) => y);
export const log = unary(Math.log, (x) => 1 / x);
export const sqrt = unary(Math.sqrt, (_, y) => 0.5 / y);
export const sigmoid = unary(logistic, (_, y) => y * (1 - y));

/** Sum over `axes` (all by default); summed axes stay with size 1 where `keep` is set. */
export function sum(x: Tensor, axes: readonly number[] = x.shape.map((_, i) => i), keep = false): Tensor {
  const gone = new Set(axes.map((axis) => axisOf(x, axis)));
  const kept = x.shape.map((n, i) => (gone.has(i) ? 1 : n));
  const total = scatterAdd(x, broadcastMap(kept, x.shape), kept);
  return keep
    ? total
    : reshape(
        total,
        x.shape.filter((_, i) => !gone.has(i)),
      );
}

export function mean(x: Tensor, axes: readonly number[] = x.shape.map((_, i) => i), keep = false): Tensor {
  const total = sum(x, axes, keep);
  return mul(total, total.data.length / x.data.length);
}

/** log(softmax) over the last axis, shifted by the row's maximum. Entries may be -Infinity, but not a whole row. */
export function logSoftmax(x: Tensor): Tensor {
  const width = x.shape.at(-1) ?? 1;
  const out = new Float64Array(x.data.length);
  for (let row = 0; row < out.length; row += width) {
    const values = x.data.subarray(row, row + width);
    const top = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const logTotal = top + Math.log(values.reduce((total, v) => total + Math.exp(v - top), 0));
    for (let j = 0; j < width; j++) out[row + j] = values[j]! - logTotal;
  }
  return new Tensor(out, x.shape, [x], (gradient) => {
    const result = new Float64Array(out.length);
    for (let row = 0; row < out.length; row += width) {
      const total = gradient.subarray(row, row + width).reduce((a, b) => a + b, 0);
      for (let j = row; j < row + width; j++) result[j] = gradient[j]! - Math.exp(out[j]!) * total;
    }
    return [result];
  });
}

export const softmax = (x: Tensor): Tensor => exp(logSoftmax(x));

/** Per matrix of a batch: how far apart neighbours are in a column and in a row. */
type MatrixSteps = readonly [down: number, right: number];

/** `batch` products [m, k] x [k, n], the factors read with the given steps; row-major result. */
function products(
  batch: number,
  [m, k, n]: readonly [number, number, number],
  a: Float64Array,
  [aDown, aRight]: MatrixSteps,
  b: Float64Array,
  [bDown, bRight]: MatrixSteps,
): Float64Array {
  const out = new Float64Array(batch * m * n);
  for (let o = 0; o < out.length; o++) {
    const [index, i, j] = [Math.floor(o / (m * n)), Math.floor(o / n) % m, o % n];
    let [ai, bi] = [index * m * k + i * aDown, index * k * n + j * bRight];
    let total = 0;
    for (let p = 0; p < k; p++, ai += aRight, bi += bDown) total += a[ai]! * b[bi]!;
    out[o] = total;
  }
  return out;
}

/** Matrix product over the last two axes; the axes before them broadcast. */
export function matmul(left: Tensor, right: Tensor): Tensor {
  const [m, k] = left.shape.slice(-2);
  const [inner, n] = right.shape.slice(-2);
  if (m === undefined || k === undefined || n === undefined || k !== inner) {
    throw new RangeError(`matmul: [${left.shape}] does not fit [${right.shape}]`);
  }
  const outer = broadcastShape(left.shape.slice(0, -2), right.shape.slice(0, -2));
  const batch = sizeOf(outer);
  const a = broadcastTo(left, [...outer, m, k]);
  const b = broadcastTo(right, [...outer, k, n]);
  const out = products(batch, [m, k, n], a.data, [k, 1], b.data, [n, 1]);
  // With C = A B and its gradient G: G B^T to A and A^T G to B.
  return new Tensor(out, [...outer, m, n], [a, b], (gradient) => [
    products(batch, [m, n, k], gradient, [n, 1], b.data, [1, n]),
    products(batch, [k, m, n], a.data, [1, k], gradient, [n, 1]),
  ]);
}
