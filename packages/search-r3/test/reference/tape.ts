/**
 * Reverse-mode automatic differentiation over float64 tensors: the arithmetic of the reference implementation that
 * tests compare the engine with. It shares no code with the engine and favours being evidently right over speed.
 * Every change of layout (broadcast, transpose, slice, gather, ...) is one operation, `take`, with an index map;
 * its adjoint is `scatterAdd`, which in turn is every sum.
 */

export type Shape = readonly number[];

/** From the gradient of the result to the gradients of the parents, in the order of `parents`. */
type Vjp = (gradient: Float64Array) => readonly Float64Array[];

let created = 0;

/** A row-major tensor that remembers how it was made. */
export class Tensor {
  /** Creation order: parents always come before what is made of them. */
  readonly order = created++;
  /** Whether a parameter is among the ancestors. */
  readonly tracked: boolean;

  constructor(
    readonly data: Float64Array,
    readonly shape: Shape,
    readonly parents: readonly Tensor[] = [],
    readonly vjp?: Vjp,
    isParameter = false,
  ) {
    if (data.length !== sizeOf(shape)) {
      throw new RangeError(`Tensor: expected ${sizeOf(shape)} elements for [${shape}], found ${data.length}`);
    }
    this.tracked = isParameter || parents.some((parent) => parent.tracked);
  }

  /** The only element. */
  item(): number {
    if (this.data.length !== 1) throw new RangeError(`item: expected one element, found [${this.shape}]`);
    return this.data[0]!;
  }
}

export const sizeOf = (shape: Shape): number => shape.reduce((product, n) => product * n, 1);

/** A tensor without gradient; a number becomes a scalar. */
export function constant(data: ArrayLike<number> | number, shape?: Shape): Tensor {
  if (typeof data === 'number') return new Tensor(Float64Array.of(data), shape ?? []);
  return new Tensor(Float64Array.from(data), shape ?? [data.length]);
}

/** A leaf whose gradient can be asked for. The data are copied. */
export function parameter(data: ArrayLike<number>, shape: Shape): Tensor {
  return new Tensor(Float64Array.from(data), shape, [], undefined, true);
}

/** The gradients of the scalar `loss` with respect to `wrt`; zeros where the loss does not depend on one. */
export function gradients(loss: Tensor, wrt: readonly Tensor[]): Float64Array[] {
  loss.item();
  const reached = new Set<Tensor>();
  const pending = [loss];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (!node.tracked || reached.has(node)) continue;
    reached.add(node);
    pending.push(...node.parents);
  }
  const accumulated = new Map<Tensor, Float64Array>([[loss, Float64Array.of(1)]]);
  for (const node of [...reached].sort((a, b) => b.order - a.order)) {
    const gradient = accumulated.get(node);
    if (node.vjp === undefined || gradient === undefined) continue;
    for (const [i, contribution] of node.vjp(gradient).entries()) {
      const parent = node.parents[i]!;
      if (!parent.tracked) continue;
      const sofar = accumulated.get(parent);
      if (sofar === undefined) accumulated.set(parent, Float64Array.from(contribution));
      else for (let j = 0; j < sofar.length; j++) sofar[j]! += contribution[j]!;
    }
  }
  return wrt.map((leaf) => accumulated.get(leaf) ?? new Float64Array(leaf.data.length));
}

/** The same values as a constant: no gradient flows through. */
export const stopGradient = (x: Tensor): Tensor => new Tensor(x.data, x.shape);

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
  const out = new Float64Array(map.length);
  for (let i = 0; i < map.length; i++) out[i] = x.data[map[i]!]!;
  return new Tensor(out, shape, [x], (gradient) => [scatterAddData(gradient, map, x.data.length)]);
}

/** `result[map[i]] += x[i]`. */
function scatterAdd(x: Tensor, map: Int32Array, shape: Shape): Tensor {
  return new Tensor(scatterAddData(x.data, map, sizeOf(shape)), shape, [x], (gradient) => [
    Float64Array.from(map, (position) => gradient[position]!),
  ]);
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
  return new Tensor(out, shape, parts, (gradient) =>
    maps.map((map) => Float64Array.from(map, (position) => gradient[position]!)),
  );
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
function broadcastMap(from: Shape, shape: Shape, unit = 1): Int32Array {
  const missing = shape.length - from.length;
  const steps = strides(from);
  return indexMap(
    shape,
    shape.map((_, i) => (i < missing || from[i - missing] === 1 ? 0 : steps[i - missing]! * unit)),
  );
}

export function broadcastTo(x: Tensor, shape: Shape): Tensor {
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
      const slopes = Array.from(left.data, (x, i) => partials(x, right.data[i]!));
      return [gradient.map((g, i) => g * slopes[i]![0]), gradient.map((g, i) => g * slopes[i]![1])];
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

/** Matrix product over the last two axes; the axes before them broadcast. */
export function matmul(a: Tensor, b: Tensor): Tensor {
  const [m, k] = a.shape.slice(-2);
  const [inner, n] = b.shape.slice(-2);
  if (m === undefined || k === undefined || n === undefined || k !== inner) {
    throw new RangeError(`matmul: [${a.shape}] does not fit [${b.shape}]`);
  }
  const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const aAt = broadcastMap(a.shape.slice(0, -2), batch, m * k);
  const bAt = broadcastMap(b.shape.slice(0, -2), batch, k * n);
  const out = new Float64Array(aAt.length * m * n);
  const eachProduct = (visit: (ai: number, bi: number, oi: number) => void): void => {
    for (let batchIndex = 0; batchIndex < aAt.length; batchIndex++) {
      for (let i = 0; i < m; i++) {
        for (let p = 0; p < k; p++) {
          const ai = aAt[batchIndex]! + i * k + p;
          const bi = bAt[batchIndex]! + p * n;
          const oi = (batchIndex * m + i) * n;
          for (let j = 0; j < n; j++) visit(ai, bi + j, oi + j);
        }
      }
    }
  };
  eachProduct((ai, bi, oi) => {
    out[oi]! += a.data[ai]! * b.data[bi]!;
  });
  return new Tensor(out, [...batch, m, n], [a, b], (gradient) => {
    const toA = new Float64Array(a.data.length);
    const toB = new Float64Array(b.data.length);
    eachProduct((ai, bi, oi) => {
      toA[ai]! += gradient[oi]! * b.data[bi]!;
      toB[bi]! += gradient[oi]! * a.data[ai]!;
    });
    return [toA, toB];
  });
}
