/** Tensors in JavaScript memory: feeds and results of programs, and checks against their declarations. */
import { type Dim, factors, type Shape } from './dims.js';
import { ARRAY_TYPE, type Dtype, type TensorData, type TensorType } from './dtypes.js';

/** A tensor in JavaScript memory, row-major. */
export interface HostTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** A feed that does not fit the program. */
export class FeedError extends Error {
  override readonly name = 'FeedError';
}

/** Compares tensors with their declarations; a symbol must have the same size in all of them. */
export class Matcher {
  readonly #where: string;
  readonly #symbols = new Map<string, number>();
  readonly #products: { name: string; dim: string; size: number }[] = [];

  constructor(where: string) {
    this.#where = where;
  }

  /** Tensors on a device have no `data`. */
  match(name: string, expected: TensorType, found: Omit<HostTensor, 'data'> & { data?: TensorData }): void {
    const { dtype, shape, data } = found;
    const fitting = data === undefined || data instanceof ARRAY_TYPE[expected.dtype];
    if (!fitting || dtype !== expected.dtype) {
      this.#refuse(name, expected.dtype, data === undefined ? dtype : `${dtype} in ${data.constructor.name}`);
    }
    const fits =
      expected.shape.length === shape.length &&
      expected.shape.every((dim, axis) => this.#fits(name, dim, shape[axis] as number));
    if (!fits) this.#refuse(name, this.#format(expected.shape), `[${shape.join(', ')}]`);
    const size = shape.reduce((a, b) => a * b, 1);
    if (data !== undefined && size !== data.length) {
      this.#refuse(name, `${size} elements`, String(data.length));
    }
  }

  /** Checks elements that index an axis of `size`, if that is known; negative ones may count from the end. */
  bound(name: string, data: TensorData, size: Dim, wraps: boolean): void {
    const end = this.resolve([size])?.[0];
    if (end === undefined) return;
    const start = wraps ? -end : 0;
    for (const index of data) {
      if (index < start || index >= end) {
        this.#refuse(name, `indices in [${start}, ${end})`, String(index));
      }
    }
  }

  /** Checks sizes that are products of symbols; call it after the last `match`. */
  finish(): void {
    // A product of symbols without known sizes keeps the first size it was seen with.
    const first = new Map<string, number>();
    for (const { name, dim, size } of this.#products) {
      const expected = this.resolve([dim])?.[0] ?? first.get(dim) ?? size;
      first.set(dim, expected);
      if (expected !== size) this.#refuse(name, `${dim} = ${expected}`, String(size));
    }
  }

  /** A declared shape with the sizes of symbols so far; undefined if one is unknown. */
  resolve(shape: Shape): number[] | undefined {
    const sizes = shape.map((dim) => {
      const { coefficient, symbols } = factors(dim);
      return symbols.reduce((n, symbol) => n * (this.#symbols.get(symbol) ?? Number.NaN), coefficient);
    });
    return sizes.some(Number.isNaN) ? undefined : sizes;
  }

  #fits(name: string, dim: Dim, size: number): boolean {
    if (typeof dim === 'number') return dim === size;
    if (dim.includes('*')) {
      this.#products.push({ name, dim, size });
      return true;
    }
    const known = this.#symbols.get(dim);
    if (known === undefined) this.#symbols.set(dim, size);
    return known === undefined || known === size;
  }

  #format(shape: Shape): string {
    const known = (dim: Dim) => (typeof dim === 'string' ? this.#symbols.get(dim) : undefined);
    return `[${shape.map((dim) => (known(dim) === undefined ? dim : `${dim} = ${known(dim)}`)).join(', ')}]`;
  }

  #refuse(name: string, expected: string, found: string): never {
    throw new FeedError(`${this.#where}: ${name}: expected ${expected}, found ${found}`);
  }
}

/** A tensor of zeros. */
export function allocate(dtype: Dtype, shape: readonly number[]): HostTensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return { dtype, shape, data: new ARRAY_TYPE[dtype](size) };
}

/** A float32 tensor. */
export const f32 = (data: Float32Array, shape: readonly number[]): HostTensor => ({
  dtype: 'float32',
  shape,
  data,
});

/** An int64 tensor from ordinary numbers. */
export const i64 = (values: ArrayLike<number>, shape: readonly number[]): HostTensor => ({
  dtype: 'int64',
  shape,
  data: BigInt64Array.from(values as number[], BigInt),
});

/** The elements of a float32 result. @throws TypeError for anything else. */
export function floats(tensor: HostTensor | undefined): Float32Array {
  if (!(tensor?.data instanceof Float32Array)) throw new TypeError('floats: expected a float32 tensor');
  return tensor.data;
}
