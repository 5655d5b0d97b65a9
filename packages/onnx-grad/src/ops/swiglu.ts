/**
 * The gate of a feed-forward layer (SwiGLU, Shazeer 2020, arXiv 2002.05202) as one operator, whose backward pass takes
 * fewer passes over memory than those of its parts.
 */
import { formatShape, sameShape } from '../dims.js';
import type { Value } from '../graph.js';
import { defineOperator } from '../operator.js';
import { add, mul, sub } from './elementwise.js';

/** Results: y = silu(gate) * up, silu(gate), sigmoid(gate); the last two are for the backward pass. */
const swigluOperator = defineOperator()({
  name: 'swiglu',
  operands: ['gate', 'up'],
  results: ['y'],
  byproducts: ['activated', 'sigmoid'],
  infer([gate, up]) {
    if (!sameShape(gate.shape, up.shape)) {
      throw new RangeError(
        `swiglu: expected equal shapes, found ${formatShape(gate.shape)} and ${formatShape(up.shape)}`,
      );
    }
    const type = { dtype: 'float32', shape: gate.shape } as const;
    return [type, type, type];
  },
  emit(context, { inputs: [gate, up], outputs: [y, activated, sigmoid] }) {
    const emit = (onnx: string, operands: Value[], result: Value) =>
      context.node(
        onnx,
        operands.map((operand) => context.name(operand)),
        { outputs: [context.name(result)] },
      );
    emit('Sigmoid', [gate], sigmoid);
    emit('Mul', [gate, sigmoid], activated);
    emit('Mul', [activated, up], y);
  },
  vjp({ inputs: [, up], outputs: [y, activated, sigmoid] }, [gradient], needed) {
    // With s = sigmoid(gate): up (s + gate s (1 - s)) = y + s (up - y), whose rounding error is that of numbers of size
    // 1 + |gate|.
    const slope = () => add(y, mul(sigmoid, sub(up, y)));
    return [needed[0] ? mul(gradient, slope()) : undefined, needed[1] ? mul(gradient, activated) : undefined];
  },
});

/** `silu(gate) * up`, elementwise, for equal shapes. */
export const swiglu = (gate: Value, up: Value): Value =>
  gate.graph.apply(swigluOperator, [gate, up], null)[0];
