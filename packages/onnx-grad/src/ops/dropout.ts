/**
 * Dropout (Srivastava et al. 2014), inverted: what is kept grows, so that the mean stays. The mask is a function of two
 * noise vectors that the caller draws: the backward pass, a recomputation and a resumed run see the same one, which the
 * random operators of ONNX cannot promise.
 */
import { axisSize, sameShape } from '../dims.js';
import type { Emitter, Value } from '../graph.js';
import { defineOperator } from '../operator.js';

/** How often the product of two noises wraps around 1: often enough that neighbours do not look alike. */
const WRAPS = 4096;

interface DropoutAttributes {
  rate: number;
}

/** The name of x times the mask. */
function emitMasked(
  context: Emitter,
  [x, rows, columns]: readonly [Value, Value, Value],
  { rate }: DropoutAttributes,
  outputs: readonly string[],
): void {
  const column = context.one('Reshape', [context.name(rows), context.integers([-1, 1])]);
  const noise = context.one('Mul', [
    context.one('Mul', [column, context.float(WRAPS)]),
    context.name(columns),
  ]);
  const uniform = context.one('Sub', [noise, context.one('Floor', [noise])]);
  const kept = context.one('GreaterOrEqual', [uniform, context.float(rate)]);
  const scaled = context.one('Mul', [context.name(x), context.float(1 / (1 - rate))]);
  context.node('Where', [kept, scaled, context.float(0)], { outputs });
}

const dropoutOperator = defineOperator<DropoutAttributes>()({
  name: 'dropout',
  operands: ['x', 'rowNoise', 'columnNoise'],
  results: ['y'],
  infer([x, rowNoise, columnNoise]) {
    const shapes = [
      sameShape(rowNoise.shape, [axisSize(x, 0)]),
      x.shape.length === 2 && sameShape(columnNoise.shape, [axisSize(x, 1)]),
    ];
    if (shapes.includes(false)) throw new RangeError('dropout: expected x [m, n] and noise [m] and [n]');
    return [{ dtype: 'float32', shape: x.shape }];
  },
  emit(context, { inputs, attributes, outputs: [y] }) {
    emitMasked(context, inputs, attributes, [context.name(y)]);
  },
  vjp: ({ inputs: [, rowNoise, columnNoise], attributes }, [gradient]) => [
    dropout(gradient, rowNoise, columnNoise, attributes.rate),
    undefined,
    undefined,
  ],
});

/**
 * x [rows, width] with about `rate` of its elements zero and the others divided by 1 - rate: element (i, j) is kept where
 * the fraction of 4096 u_i v_j is at least `rate`.
 * @param rowNoise u [rows] and columnNoise v [width], drawn uniformly from [1, 2) anew for each mask.
 */
export const dropout = (x: Value, rowNoise: Value, columnNoise: Value, rate: number): Value =>
  x.graph.apply(dropoutOperator, [x, rowNoise, columnNoise], { rate })[0];
