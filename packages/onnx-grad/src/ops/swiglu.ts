/**
 * The gate of a feed-forward layer (SwiGLU, Shazeer 2020, arXiv 2002.05202) as one operator, whose backward pass takes
 * fewer passes over memory than those of its parts.
 */
import { formatShape, sameShape } from '../dims.js';
import { type Operator, single, type Value } from '../graph.js';
import { add, mul, sub } from './elementwise.js';

/** Outputs: y = silu(gate) * up, silu(gate), sigmoid(gate); the last two are for the backward pass. */
const swigluOperator: Operator<null> = {
  name: 'swiglu',
  differentiable: 1,
  infer(inputs) {
    const [gate, up] = inputs as [Value, Value];
    if (!sameShape(gate.shape, up.shape)) {
      throw new RangeError(
        `swiglu: expected equal shapes, found ${formatShape(gate.shape)} and ${formatShape(up.shape)}`,
      );
    }
    return Array.from({ length: 3 }, () => ({ dtype: 'float32', shape: gate.shape }));
  },
  emit(context, node) {
    const [gate, up] = node.inputs.map((input) => context.name(input)) as [string, string];
    const [y, activated, sigmoid] = node.outputs.map((output) => context.name(output)) as [
      string,
      string,
      string,
    ];
    context.node('Sigmoid', [gate], { outputs: [sigmoid] });
    context.node('Mul', [gate, sigmoid], { outputs: [activated] });
    context.node('Mul', [activated, up], { outputs: [y] });
  },
  vjp(node, [gradient], needed) {
    if (gradient === undefined) return [];
    const up = node.inputs[1] as Value;
    const [y, activated, sigmoid] = node.outputs as [Value, Value, Value];
    // With s = sigmoid(gate): up (s + gate s (1 - s)) = y + s (up - y), whose rounding error is that of numbers of size
    // 1 + |gate|.
    const slope = () => add(y, mul(sigmoid, sub(up, y)));
    return [needed[0] ? mul(gradient, slope()) : undefined, needed[1] ? mul(gradient, activated) : undefined];
  },
};

/** `silu(gate) * up`, elementwise, for equal shapes. */
export const swiglu = (gate: Value, up: Value): Value =>
  single(gate.graph.apply(swigluOperator, [gate, up], null));
