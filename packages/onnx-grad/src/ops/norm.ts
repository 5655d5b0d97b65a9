/** Root mean square layer normalisation (Zhang & Sennrich 2019, arXiv 1910.07467), by ONNX Runtime's fused kernel. */
import { type Operator, single, type Value } from '../graph.js';
import { mul, sub } from './elementwise.js';
import { mean } from './mean.js';
import { sumTo } from './reduce.js';

/** Outputs: y, and 1 / rms with a last axis of 1, which the backward pass reuses. */
const rmsNormOperator: Operator<{ epsilon: number }> = {
  name: 'rmsNorm',
  differentiable: 1,
  infer(inputs) {
    const [x, weight] = inputs as [Value, Value];
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
  emit: (context, node) =>
    context.simple(node, 'SimplifiedLayerNormalization', {
      attributes: { axis: -1, stash_type: 1 },
      floats: { epsilon: node.attributes.epsilon },
    }),
  vjp(node, [gradient], needed) {
    if (gradient === undefined) return [];
    const [x, weight] = node.inputs as [Value, Value];
    const reciprocal = node.outputs[1] as Value;
    const normalized = mul(x, reciprocal);
    const dx = () => {
      const inner = mul(gradient, weight);
      return mul(reciprocal, sub(inner, mul(normalized, mean(mul(inner, normalized), [-1], true))));
    };
    return [
      needed[0] ? dx() : undefined,
      needed[1] ? sumTo(mul(gradient, normalized), weight.shape) : undefined,
    ];
  },
};

/** `x / sqrt(mean(x^2) + epsilon) * weight` over the last axis. */
export const rmsNorm = (x: Value, weight: Value, epsilon: number): Value =>
  single(x.graph.apply(rmsNormOperator, [x, weight], { epsilon }));
