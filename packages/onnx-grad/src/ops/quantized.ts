/**
 * Products with quantised weights, which stay as they are. Activations are quantised as they come, one magnitude for each
 * row, so that a row's result does not depend on the rows beside it; weights have one scale for each column (LLM.int8(),
 * Dettmers et al. 2022, arXiv 2208.07339, section 2.1), or for each block of a column.
 */
import { axisSize, formatShape, sameShape } from '../dims.js';
import { onnxDataType } from '../emit.js';
import type { Emitter, NodeOptions, Value } from '../graph.js';
import { defineOperator } from '../operator.js';
import { mul } from './elementwise.js';
import { barrier } from './order.js';
import { transpose } from './shape.js';

/** The magnitude of a row of zeros, whose quotient would be NaN. */
const TINY = 1e-30;
/** Kernels for signed activations are slow on x86-64 (measured: 5 to 40 times), so zero is 128. */
const ZERO_POINT = 128;
const LEVELS = 127;

const formatType = ({ dtype, shape }: Value): string => `${dtype} ${formatShape(shape)}`;

const quantizeRowsOperator = defineOperator()({
  name: 'quantizeRows',
  operands: ['x'],
  results: ['values', 'magnitudes'],
  infer([x]) {
    if (x.shape.length !== 2 || x.dtype !== 'float32') {
      throw new TypeError(`quantizeRows: expected a float32 matrix, found ${formatType(x)}`);
    }
    return [
      { dtype: 'uint8', shape: x.shape },
      { dtype: 'float32', shape: [axisSize(x, 0), 1] },
    ];
  },
  emit(context, node) {
    const x = context.name(node.inputs[0]);
    const [values, magnitudes] = [context.name(node.outputs[0]), context.name(node.outputs[1])];
    const last = context.integers([-1]);
    // Two passes that only read are faster than one that writes |x|.
    const least = context.one('Neg', [context.one('ReduceMin', [x, last])]);
    context.node('Max', [context.one('ReduceMax', [x, last]), least, context.float(TINY)], {
      outputs: [magnitudes],
    });
    const scaled = context.one('Div', [x, magnitudes]);
    const step = context.float(1 / LEVELS);
    switch (context.provider) {
      case 'cpu':
        context.node('QuantizeLinear', [scaled, step, context.byte(ZERO_POINT)], { outputs: [values] });
        return;
      case 'webgpu': {
        const steps = context.one('Round', [context.one('Div', [scaled, step])]);
        context.node('Cast', [context.one('Add', [steps, context.float(ZERO_POINT)])], {
          attributes: { to: onnxDataType('uint8') },
          outputs: [values],
        });
        return;
      }
      default:
        context.provider satisfies never;
    }
  },
});

/** The rows of a matrix as multiples of `magnitude / 127`, stored as uint8 around 128. */
export interface QuantizedRows {
  /** uint8 [rows, width]. */
  readonly values: Value;
  /** float32 [rows, 1]: the largest magnitude of each row. */
  readonly magnitudes: Value;
}

/** Quantises each row of x [rows, width] by its largest magnitude. */
export function quantizeRows(x: Value): QuantizedRows {
  const [values, magnitudes] = x.graph.apply(quantizeRowsOperator, [x], null);
  return { values, magnitudes };
}

/** Emits the product of quantised rows, without their magnitudes, and int8 columns; returns its name. */
function emitIntegerProduct(
  context: Emitter,
  left: Value,
  right: Value,
  columns: Value,
  options: Pick<NodeOptions, 'outputs'>,
): string {
  const [values, weight, scales] = [context.name(left), context.name(right), context.name(columns)];
  const step = context.float(1 / LEVELS);
  switch (context.provider) {
    case 'cpu':
      return context.one('MatMulIntegerToFloat', [values, weight, step, scales, context.byte(ZERO_POINT)], {
        domain: 'com.microsoft',
        ...options,
      });
    case 'webgpu': {
      // It has no integer products. (Blocks are its fast way.)
      const float = (name: string) =>
        context.one('Cast', [name], { attributes: { to: onnxDataType('float32') } });
      const signed = context.one('Sub', [float(values), context.float(ZERO_POINT)]);
      const product = context.one('MatMul', [signed, float(weight)]);
      return context.one('Mul', [product, context.one('Mul', [scales, step])], options);
    }
    default:
      return context.provider satisfies never;
  }
}

const integerProductOperator = defineOperator()({
  name: 'integerProduct',
  operands: ['values', 'weight', 'scales'],
  results: ['product'],
  infer([values, weight, scales]) {
    const columns = axisSize(weight, 1);
    if (
      values.dtype !== 'uint8' ||
      weight.dtype !== 'int8' ||
      axisSize(values, 1) !== axisSize(weight, 0) ||
      !sameShape(scales.shape, [columns])
    ) {
      const found = [values, weight, scales].map(formatType).join(', ');
      throw new TypeError(
        `integerProduct: expected uint8 [m, k], int8 [k, n] and float32 [n], found ${found}`,
      );
    }
    return [{ dtype: 'float32', shape: [axisSize(values, 0), columns] }];
  },
  emit(context, node) {
    const [left, right, columns] = node.inputs;
    emitIntegerProduct(context, left, right, columns, { outputs: [context.name(node.outputs[0])] });
  },
});

/**
 * `A W` for quantised rows, without their magnitudes: multiply row i by `rows.magnitudes[i]`, unless what follows does
 * not depend on the scale of a row. weight int8 [width, columns] and its scales float32 [columns].
 */
export const integerProduct = (rows: QuantizedRows, weight: Value, scales: Value): Value =>
  weight.graph.apply(integerProductOperator, [rows.values, weight, scales], null)[0];

/** A frozen linear layer in int8. */
export interface IntegerWeight {
  /** int8 [inputs, outputs]. */
  readonly values: Value;
  /** float32 [outputs]: the value of a step of each column. */
  readonly scales: Value;
}

const integerLinearOperator = defineOperator()({
  name: 'integerLinear',
  operands: ['x', 'values', 'magnitudes', 'weight', 'scales'],
  results: ['y'],
  infer([x, values, magnitudes, weight, scales]) {
    const [inputs, outputs] = [axisSize(weight, 0), axisSize(weight, 1)];
    const right = [
      sameShape(values.shape, x.shape) && values.dtype === 'uint8',
      sameShape(magnitudes.shape, [axisSize(x, 0), 1]),
      axisSize(x, 1) === inputs && weight.dtype === 'int8',
      sameShape(scales.shape, [outputs]),
    ];
    if (right.includes(false)) {
      const found = [x, values, magnitudes, weight, scales].map(formatType).join(', ');
      throw new TypeError(
        `integerLinear: expected x [m, k], its quantised rows, int8 [k, n] and float32 [n], found ${found}`,
      );
    }
    return [{ dtype: 'float32', shape: [axisSize(x, 0), outputs] }];
  },
  emit(context, node) {
    const [, left, magnitudes, right, columns] = node.inputs;
    const product = emitIntegerProduct(context, left, right, columns, {});
    context.node('Mul', [product, context.name(magnitudes)], { outputs: [context.name(node.outputs[0])] });
  },
  vjp({ inputs: [x, , , weight, scales] }, [gradient]) {
    // y_n = sum_k x_k q_kn s_n, so the gradient of x_k is sum_n (g_n s_n) q_kn: a product of the same kind.
    const inputs = axisSize(weight, 0);
    if (typeof inputs !== 'number') throw new TypeError('integerLinear: expected a weight of known size');
    const data = new Float32Array(inputs).fill(1);
    const ones = x.graph.constant({ dtype: 'float32', shape: [inputs], data });
    // Transposed when it is needed: as fast as a stored copy (measured at 2,048 rows), without its memory. Behind the
    // barrier ONNX Runtime does not make that copy by itself.
    const transposed = transpose(barrier(weight, gradient), [1, 0]);
    const back = integerLinear(mul(gradient, scales), { values: transposed, scales: ones });
    return [back, undefined, undefined, undefined, undefined];
  },
});

/**
 * `x W` with the rows of x quantised on the way; differentiable with respect to x, whose gradient is computed in int8 too
 * (SwitchBack, Wortsman et al. 2023, arXiv 2304.13013): the scales of the columns are folded into the incoming gradient,
 * whose rows are quantised. Rounding has the gradient 1.
 * @param rows `quantizeRows(x)`, where several layers read the same x.
 */
export function integerLinear(x: Value, weight: IntegerWeight, rows: QuantizedRows = quantizeRows(x)): Value {
  const operands = [x, rows.values, rows.magnitudes, weight.values, weight.scales] as const;
  return x.graph.apply(integerLinearOperator, operands, null)[0];
}

export interface BlockWeight {
  /** uint8 [columns, blocks, bytes]: consecutive weights of a column; with 4 bits, the lower half of a byte first. */
  readonly packed: Value;
  /** float32 [columns * blocks]: the value of one step in each block; zero is in the middle of the range. */
  readonly scales: Value;
  readonly bits: 4 | 8;
  /** Weights that share a scale. */
  readonly block: number;
}

const blockProductOperator = defineOperator<{ bits: 4 | 8; block: number; width: number; columns: number }>()(
  {
    name: 'blockProduct',
    operands: ['x', 'packed', 'scales'],
    results: ['product'],
    infer([x, packed, scales], { bits, block, width, columns }) {
      const blocks = Math.ceil(width / block);
      const expected = [columns, blocks, (block * bits) / 8];
      if (
        axisSize(x, 1) !== width ||
        !sameShape(packed.shape, expected) ||
        !sameShape(scales.shape, [columns * blocks])
      ) {
        const found = [x, packed, scales].map(({ shape }) => formatShape(shape)).join(', ');
        throw new TypeError(
          `blockProduct: expected [m, ${width}], ${formatShape(expected)} and [${columns * blocks}], found ${found}`,
        );
      }
      return [{ dtype: 'float32', shape: [axisSize(x, 0), columns] }];
    },
    emit(context, node) {
      const { bits, block, width, columns } = node.attributes;
      context.simple(node, 'MatMulNBits', {
        domain: 'com.microsoft',
        // Level 4: activations are int8 by block. (Level 1, float32, is 40 times slower for few rows.)
        attributes: { K: width, N: columns, bits, block_size: block, accuracy_level: 4 },
      });
    },
  },
);

/** `x W` for x float32 [rows, width] and a weight that is quantised in blocks along its columns. */
export function blockProduct(x: Value, { packed, scales, bits, block }: BlockWeight, width: number): Value {
  const columns = packed.shape[0];
  if (typeof columns !== 'number') throw new TypeError('blockProduct: expected a weight of known size');
  return x.graph.apply(blockProductOperator, [x, packed, scales], { bits, block, width, columns })[0];
}
