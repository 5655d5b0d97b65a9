/** Matrix products: `gemm` for linear layers in checkpoint layout, `matmul` for batches of matrices (attention). */
import { broadcast, type Dim, formatShape, type Shape, sameShape } from '../dims.js';
import { type Node, type Operator, single, type Value } from '../graph.js';
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

const flipped = (shape: Shape, transposed: boolean): [Dim, Dim] =>
  transposed ? [shape[1] as Dim, shape[0] as Dim] : [shape[0] as Dim, shape[1] as Dim];

export const gemmOperator: Operator<GemmAttributes> = {
  name: 'gemm',
  infer(inputs, { transA, transB }) {
    const [a, b, c] = inputs as [Value, Value, Value | undefined];
    if (a.shape.length !== 2 || b.shape.length !== 2) {
      throw new RangeError(
        `gemm: expected matrices, found ${formatShape(a.shape)} and ${formatShape(b.shape)}`,
      );
    }
    const [m, k] = flipped(a.shape, transA);
    const [k2, n] = flipped(b.shape, transB);
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
  vjp(node, [gradient], needed) {
    if (gradient === undefined) return [];
    const { transA, transB } = node.attributes;
    const [a, b, c] = node.inputs as [Value, Value, Value | undefined];
    const scaled = gradient.node?.operator === (scaleRowsOperator as Node['operator']) && !transA;
    if (scaled && c === undefined) return scaledProducts(node, gradient.node as Node, needed);
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
};

/**
 * The gradients of `A B` if that of the product is a matrix with scaled rows. Scaling the thinner factors instead
 * avoids a pass over the wide matrix (which may have a row per label and a column per class).
 */
function scaledProducts(node: Node<GemmAttributes>, gradient: Node, needed: readonly boolean[]) {
  const { transB } = node.attributes;
  const [a, b] = node.inputs as [Value, Value];
  const [wide, column] = gradient.inputs as [Value, Value];
  const db = () => {
    const thin = scaleRows(a, column);
    return transB ? gemm(wide, thin, { transA: true }) : gemm(thin, wide, { transA: true });
  };
  return [
    needed[0] ? scaleRows(gemm(wide, b, { transB: !transB }), column) : undefined,
    needed[1] ? db() : undefined,
  ];
}

const scaleRowsOperator: Operator<null> = {
  name: 'scaleRows',
  infer: ([x]) => [{ dtype: 'float32', shape: (x as Value).shape }],
  emit: (context, node) => context.simple(node, 'Mul'),
  vjp(node, [gradient], needed) {
    if (gradient === undefined) return [];
    const [x, column] = node.inputs as [Value, Value];
    return [
      needed[0] ? scaleRows(gradient, column) : undefined,
      needed[1] ? sumTo(mul(gradient, x), column.shape) : undefined,
    ];
  },
};

/** x [rows, width] times a column [rows, 1]; the backward pass of `gemm` recognises it (`scaledProducts`). */
export const scaleRows = (x: Value, column: Value): Value =>
  single(x.graph.apply(scaleRowsOperator, [x, column], null));

/** `A B + C` for matrices, each optionally transposed. */
export function gemm(a: Value, b: Value, options: GemmOptions = {}): Value {
  const inputs = options.c === undefined ? [a, b] : [a, b, options.c];
  const attributes = { transA: options.transA ?? false, transB: options.transB ?? false };
  return single(a.graph.apply(gemmOperator, inputs, attributes));
}

/** A linear layer in checkpoint layout: x [rows, in], weight [out, in], bias [out] -> [rows, out]. */
export const linear = (x: Value, weight: Value, bias?: Value): Value =>
  gemm(x, weight, { transB: true, ...(bias && { c: bias }) });

interface MatmulAttributes {
  transA: boolean;
  transB: boolean;
  alpha: number;
}

const matmulOperator: Operator<MatmulAttributes> = {
  name: 'matmul',
  infer(inputs, { transA, transB }) {
    const [a, b] = inputs as [Value, Value];
    const batch = a.shape.slice(0, -2);
    const ranks = a.shape.length >= 2 && b.shape.length === a.shape.length;
    if (!ranks || !sameShape(batch, b.shape.slice(0, -2))) {
      throw new RangeError(
        `matmul: expected equal batch dimensions, found ${formatShape(a.shape)} and ${formatShape(b.shape)}`,
      );
    }
    const [m, k] = flipped(a.shape.slice(-2), transA);
    const [k2, n] = flipped(b.shape.slice(-2), transB);
    if (k !== k2) {
      throw new RangeError(
        `matmul: inner sizes of ${formatShape(a.shape)} and ${formatShape(b.shape)} differ`,
      );
    }
    return [{ dtype: 'float32', shape: [...batch, m, n] }];
  },
  emit: (context, node) =>
    context.simple(node, 'FusedMatMul', {
      domain: 'com.microsoft',
      attributes: { transA: node.attributes.transA ? 1 : 0, transB: node.attributes.transB ? 1 : 0 },
      floats: { alpha: node.attributes.alpha },
    }),
  vjp(node, [gradient], needed) {
    if (gradient === undefined) return [];
    const { transA, transB, alpha } = node.attributes;
    const [a, b] = node.inputs as [Value, Value];
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
};

export interface MatmulOptions {
  transA?: boolean;
  transB?: boolean;
  /** Factor on the product. Default 1. */
  alpha?: number;
}

/** `alpha A B` over the last two axes; all leading (batch) axes must be equal. */
export const matmul = (a: Value, b: Value, options: MatmulOptions = {}): Value =>
  single(
    a.graph.apply(matmulOperator, [a, b], {
      transA: options.transA ?? false,
      transB: options.transB ?? false,
      alpha: options.alpha ?? 1,
    }),
  );
