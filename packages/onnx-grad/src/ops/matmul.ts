/** Matrix products: `gemm` for linear layers in checkpoint layout, `matmul` for batches of matrices (attention). */
import { axisSize, broadcast, type Dim, formatShape, sameShape } from '../dims.js';
import type { Emitter, NodeOptions, Value } from '../graph.js';
import { applies, defineOperator } from '../operator.js';
import { mul } from './elementwise.js';
import { sumTo } from './reduce.js';

export interface GemmOptions {
  transA?: boolean;
  transB?: boolean;
  /** Added to the product, broadcast to its shape: [n], [1, n] or [m, n]. */
  c?: Value;
}

interface GemmAttributes {
  transA: boolean;
  transB: boolean;
}

/** The last two sizes of a value, exchanged if it is transposed. */
function lastTwo(x: Value, transposed: boolean): [Dim, Dim] {
  const rank = x.shape.length;
  const sizes = [axisSize(x, rank - 2), axisSize(x, rank - 1)] as const;
  return transposed ? [sizes[1], sizes[0]] : [...sizes];
}

export const gemmOperator = defineOperator<GemmAttributes>()({
  name: 'gemm',
  operands: ['a', 'b', 'c?'],
  results: ['y'],
  infer([a, b, c], { transA, transB }) {
    if (a.shape.length !== 2 || b.shape.length !== 2) {
      throw new RangeError(
        `gemm: expected matrices, found ${formatShape(a.shape)} and ${formatShape(b.shape)}`,
      );
    }
    const [m, k] = lastTwo(a, transA);
    const [k2, n] = lastTwo(b, transB);
    if (k !== k2) {
      throw new RangeError(`gemm: inner sizes of ${formatShape(a.shape)} and ${formatShape(b.shape)} differ`);
    }
    if (c !== undefined && !sameShape(broadcast('gemm', [m, n], c.shape), [m, n])) {
      throw new RangeError(
        `gemm: expected an additive operand that broadcasts to ${formatShape([m, n])}, found ${formatShape(c.shape)}`,
      );
    }
    return [{ dtype: 'float32', shape: [m, n] }];
  },
  emit: (context, node) =>
    context.simple(node, 'Gemm', {
      attributes: { transA: node.attributes.transA ? 1 : 0, transB: node.attributes.transB ? 1 : 0 },
    }),
  vjp({ inputs: [a, b, c], attributes: { transA, transB } }, [gradient], needed) {
    if (applies(gradient.node, scaleRowsOperator) && !transA && c === undefined) {
      return scaledProducts(a, b, transB, gradient.node.inputs, needed);
    }
    const da = () =>
      transA ? gemm(b, gradient, { transA: transB, transB: true }) : gemm(gradient, b, { transB: !transB });
    const db = () =>
      transB ? gemm(gradient, a, { transA: true, transB: transA }) : gemm(a, gradient, { transA: !transA });
    return [
      needed[0] ? da() : undefined,
      needed[1] ? db() : undefined,
      c !== undefined && needed[2] ? sumTo(gradient, c.shape) : undefined,
    ];
  },
});

/**
 * The gradients of `A B` if that of the product is a matrix with scaled rows. Scaling the thinner factors instead
 * avoids a pass over the wide matrix (which may have a row per label and a column per class).
 */
function scaledProducts(
  a: Value,
  b: Value,
  transB: boolean,
  [wide, column]: readonly [Value, Value],
  needed: readonly [boolean, boolean, ...boolean[]],
): [Value | undefined, Value | undefined] {
  const db = () => {
    const thin = scaleRows(a, column);
    return transB ? gemm(wide, thin, { transA: true }) : gemm(thin, wide, { transA: true });
  };
  return [
    needed[0] ? scaleRows(gemm(wide, b, { transB: !transB }), column) : undefined,
    needed[1] ? db() : undefined,
  ];
}

const scaleRowsOperator = defineOperator()({
  name: 'scaleRows',
  operands: ['x', 'column'],
  results: ['y'],
  infer: ([x]) => [{ dtype: 'float32', shape: x.shape }],
  emit: (context, node) => context.simple(node, 'Mul'),
  vjp: ({ inputs: [x, column] }, [gradient], needed) => [
    needed[0] ? scaleRows(gradient, column) : undefined,
    needed[1] ? sumTo(mul(gradient, x), column.shape) : undefined,
  ],
});

/** x [rows, width] times a column [rows, 1]; the backward pass of `gemm` recognises it (`scaledProducts`). */
export const scaleRows = (x: Value, column: Value): Value =>
  x.graph.apply(scaleRowsOperator, [x, column], null)[0];

/** `A B + C` for matrices, each optionally transposed. */
export function gemm(a: Value, b: Value, options: GemmOptions = {}): Value {
  const added = options.c === undefined ? [] : [options.c];
  const attributes = { transA: options.transA ?? false, transB: options.transB ?? false };
  return a.graph.apply(gemmOperator, [a, b, ...added], attributes)[0];
}

/** A linear layer in checkpoint layout: x [rows, in], weight [out, in], bias [out] -> [rows, out]. */
export const linear = (x: Value, weight: Value, bias?: Value): Value =>
  gemm(x, weight, { transB: true, ...(bias && { c: bias }) });

interface MatmulAttributes {
  transA: boolean;
  transB: boolean;
  alpha: number;
}

/** Emits `alpha A B` for factors of one rank; returns the name of the product. */
export function emitMatmul(
  context: Emitter,
  [a, b]: readonly [string, string],
  rank: number,
  { transA, transB, alpha }: MatmulAttributes,
  options: Pick<NodeOptions, 'outputs'> = {},
): string {
  switch (context.provider) {
    case 'cpu':
      return context.one('FusedMatMul', [a, b], {
        domain: 'com.microsoft',
        attributes: { transA: transA ? 1 : 0, transB: transB ? 1 : 0 },
        floats: { alpha },
        ...options,
      });
    case 'webgpu': {
      const perm = Array.from({ length: rank }, (_, axis) => axis).toSpliced(-2, 2, rank - 1, rank - 2);
      const factor = (name: string, transposed: boolean) =>
        transposed ? context.one('Transpose', [name], { attributes: { perm } }) : name;
      const factors = [factor(a, transA), factor(b, transB)];
      if (alpha === 1) return context.one('MatMul', factors, options);
      return context.one('Mul', [context.one('MatMul', factors), context.float(alpha)], options);
    }
    default:
      return context.provider satisfies never;
  }
}

const matmulOperator = defineOperator<MatmulAttributes>()({
  name: 'matmul',
  operands: ['a', 'b'],
  results: ['y'],
  infer([a, b], { transA, transB }) {
    const batch = a.shape.slice(0, -2);
    const ranks = a.shape.length >= 2 && b.shape.length === a.shape.length;
    if (!ranks || !sameShape(batch, b.shape.slice(0, -2))) {
      throw new RangeError(
        `matmul: expected equal batch dimensions, found ${formatShape(a.shape)} and ${formatShape(b.shape)}`,
      );
    }
    const [m, k] = lastTwo(a, transA);
    const [k2, n] = lastTwo(b, transB);
    if (k !== k2) {
      throw new RangeError(
        `matmul: inner sizes of ${formatShape(a.shape)} and ${formatShape(b.shape)} differ`,
      );
    }
    return [{ dtype: 'float32', shape: [...batch, m, n] }];
  },
  emit(context, { inputs: [a, b], outputs: [y], attributes }) {
    const factors = [context.name(a), context.name(b)] as const;
    emitMatmul(context, factors, a.shape.length, attributes, { outputs: [context.name(y)] });
  },
  vjp({ inputs: [a, b], attributes: { transA, transB, alpha } }, [gradient], needed) {
    const da = () =>
      transA
        ? matmul(b, gradient, { transA: transB, transB: true, alpha })
        : matmul(gradient, b, { transB: !transB, alpha });
    const db = () =>
      transB
        ? matmul(gradient, a, { transA: true, transB: transA, alpha })
        : matmul(a, gradient, { transA: !transA, alpha });
    return [needed[0] ? da() : undefined, needed[1] ? db() : undefined];
  },
});

export interface MatmulOptions {
  transA?: boolean;
  transB?: boolean;
  /** Factor on the product. Default 1. */
  alpha?: number;
}

/** `alpha A B` over the last two axes; all leading (batch) axes must be equal. */
export const matmul = (a: Value, b: Value, options: MatmulOptions = {}): Value =>
  a.graph.apply(matmulOperator, [a, b], {
    transA: options.transA ?? false,
    transB: options.transB ?? false,
    alpha: options.alpha ?? 1,
  })[0];
