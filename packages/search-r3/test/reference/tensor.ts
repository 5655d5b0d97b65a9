/** Reverse-mode automatic differentiation for the reference implementation: float64 tensors that know their origin. */

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
