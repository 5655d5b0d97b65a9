/** Root mean square layer normalisation (Zhang & Sennrich 2019, arXiv 1910.07467). */
import { axisSize, formatShape, product, sameShape } from '../dims.js';
import type { Value } from '../graph.js';
import { defineOperator } from '../operator.js';
import { div, mul, sub } from './elementwise.js';
import { gemm } from './matmul.js';
import { dimension, reshape } from './shape.js';

/** Results: y, and 1 / rms with a last axis of 1, which the backward pass reuses. */
const rmsNormOperator = defineOperator<{ epsilon: number }>()({
  name: 'rmsNorm',
  operands: ['x', 'weight'],
  results: ['y'],
  byproducts: ['reciprocal'],
  infer([x, weight]) {
    if (weight.shape.length !== 1 || weight.shape[0] !== x.shape.at(-1)) {
      throw new RangeError(
        `rmsNorm: expected a weight of [${x.shape.at(-1)}], found [${weight.shape.join(', ')}]`,
      );
    }
    return [
      { dtype: 'float32', shape: x.shape },
      { dtype: 'float32', shape: [...x.shape.slice(0, -1), 1] },
    ];
  },
  emit(context, node) {
    const { epsilon } = node.attributes;
    switch (context.provider) {
      case 'cpu':
        context.simple(node, 'SimplifiedLayerNormalization', {
          attributes: { axis: -1, stash_type: 1 },
          floats: { epsilon },
        });
        return;
      case 'webgpu': {
        // Its fused kernel has the mean as the second result, where others have the reciprocal.
        const [x, weight] = [context.name(node.inputs[0]), context.name(node.inputs[1])];
        const [y, reciprocal] = [context.name(node.outputs[0]), context.name(node.outputs[1])];
        const mean = context.one('ReduceMean', [context.one('Mul', [x, x]), context.integers([-1])]);
        const rms = context.one('Sqrt', [context.one('Add', [mean, context.float(epsilon)])]);
        context.node('Reciprocal', [rms], { outputs: [reciprocal] });
        context.node('Mul', [context.one('Mul', [x, reciprocal]), weight], { outputs: [y] });
        return;
      }
      default:
        context.provider satisfies never;
    }
  },
  vjp({ inputs: [x, weight], outputs: [, reciprocal] }, [gradient], needed) {
    const width = axisSize(weight, 0);
    const rows = product(...x.shape.slice(0, -1));
    // Both sums are matrix-vector products: of g x with the weight over columns, and with 1 / rms over rows.
    const products = reshape(mul(gradient, x), [rows, width]);
    const dx = () => {
      const dots = reshape(gemm(products, reshape(weight, [width, 1])), reciprocal.shape);
      const cube = mul(reciprocal, mul(reciprocal, reciprocal));
      const along = mul(cube, div(dots, dimension(x.graph, width)));
      return sub(mul(mul(gradient, weight), reciprocal), mul(x, along));
    };
    const dweight = () => gemm(reshape(reciprocal, [rows, 1]), products, { transA: true });
    return [needed[0] ? dx() : undefined, needed[1] ? reshape(dweight(), weight.shape) : undefined];
  },
});

/** `x / sqrt(mean(x^2) + epsilon) * weight` over the last axis. */
export const rmsNorm = (x: Value, weight: Value, epsilon: number): Value =>
  x.graph.apply(rmsNormOperator, [x, weight], { epsilon })[0];

const addRmsNormOperator = defineOperator<{ epsilon: number }>()({
  name: 'addRmsNorm',
  operands: ['x', 'y', 'weight'],
  results: ['normed', 'sum'],
  infer([x, y, weight]) {
    if (!sameShape(x.shape, y.shape) || !sameShape(weight.shape, [axisSize(x, -1)])) {
      const found = [x, y, weight].map(({ shape }) => formatShape(shape)).join(', ');
      throw new RangeError(
        `addRmsNorm: expected two equal shapes and a weight of their width, found ${found}`,
      );
    }
    const { dtype, shape } = x;
    return [
      { dtype, shape },
      { dtype, shape },
    ];
  },
  emit(context, node) {
    const [normed, sum] = [context.name(node.outputs[0]), context.name(node.outputs[1])];
    context.node(
      'SkipSimplifiedLayerNormalization',
      node.inputs.map((input) => context.name(input)),
      {
        domain: 'com.microsoft',
        floats: { epsilon: node.attributes.epsilon },
        outputs: [normed, '', '', sum],
      },
    );
  },
});

/** For inference only: `sum = x + y` and `normed = rmsNorm(sum, weight, epsilon)` in one pass over memory. */
export function addRmsNorm(
  x: Value,
  y: Value,
  weight: Value,
  epsilon: number,
): { normed: Value; sum: Value } {
  const [normed, sum] = x.graph.apply(addRmsNormOperator, [x, y, weight], { epsilon });
  return { normed, sum };
}
