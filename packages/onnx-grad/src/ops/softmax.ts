/** Softmax over the last axis, its logarithm, and cross-entropy of labelled rows. */
import { formatShape, sameShape } from '../dims.js';
import type { Value } from '../graph.js';
import { defineOperator } from '../operator.js';
import { exp, mul, stopGradient, sub } from './elementwise.js';
import { gatherElements, scatterAdd } from './gather.js';
import { scaleRows } from './matmul.js';
import { barrier } from './order.js';
import { expand, max, sum } from './reduce.js';
import { reshape } from './shape.js';

const softmaxOperator = defineOperator()({
  name: 'softmax',
  operands: ['x'],
  results: ['y'],
  infer: ([{ dtype, shape }]) => [{ dtype, shape }],
  emit: (context, node) => context.simple(node, 'Softmax', { attributes: { axis: -1 } }),
  vjp: ({ outputs: [y] }, [gradient]) => [mul(y, sub(gradient, sum(mul(gradient, y), [-1], true)))],
});

/** Softmax over the last axis. */
export const softmax = (x: Value): Value => x.graph.apply(softmaxOperator, [x], null)[0];

const logSoftmaxOperator = defineOperator()({
  name: 'logSoftmax',
  operands: ['x'],
  results: ['y'],
  infer: ([{ dtype, shape }]) => [{ dtype, shape }],
  emit(context, node) {
    switch (context.provider) {
      case 'cpu':
        context.simple(node, 'LogSoftmax', { attributes: { axis: -1 } });
        return;
      case 'webgpu': {
        const { inputs, outputs } = node;
        const last = context.integers([-1]);
        const x = context.name(inputs[0]);
        const shifted = context.one('Sub', [x, context.one('ReduceMax', [x, last])]);
        const total = context.one('ReduceSum', [context.one('Exp', [shifted]), last]);
        context.node('Sub', [shifted, context.one('Log', [total])], { outputs: [context.name(outputs[0])] });
        return;
      }
      default:
        context.provider satisfies never;
    }
  },
  vjp: ({ outputs: [y] }, [gradient]) => [sub(gradient, mul(exp(y), sum(gradient, [-1], true)))],
});

/** Logarithm of the softmax over the last axis. */
export const logSoftmax = (x: Value): Value => x.graph.apply(logSoftmaxOperator, [x], null)[0];

/**
 * Operands: logits [rows, classes], targets [rows], and the distance of each target's logit from the highest of its row
 * [rows, 1]. Results: loss [rows], softmax [rows, classes]. With p = softmax(x), the log-sum-exp is max(x) -
 * log(max(p)), and max(p) >= 1 / classes, so neither tiny probabilities nor ones near 1 give infinities or NaN.
 */
const crossEntropyOperator = defineOperator()({
  name: 'crossEntropy',
  operands: ['logits', 'targets', 'behind'],
  results: ['loss'],
  byproducts: ['probabilities'],
  infer: ([logits, targets]) => [
    { dtype: 'float32', shape: targets.shape },
    { dtype: 'float32', shape: logits.shape },
  ],
  emit(context, { inputs: [logits, , behind], outputs: [loss, probabilities] }) {
    const last = context.integers([-1]);
    const softmax = context.name(probabilities);
    context.node('Softmax', [context.name(logits)], { attributes: { axis: -1 }, outputs: [softmax] });
    const highest = context.one('ReduceMax', [softmax, last], { attributes: { keepdims: 1 } });
    const difference = context.one('Sub', [context.name(behind), context.one('Log', [highest])]);
    context.node('Squeeze', [difference, last], { outputs: [context.name(loss)] });
  },
  vjp({ inputs: [, targets], outputs: [loss, probabilities] }, [gradient]) {
    const column = [targets.shape[0] ?? 0, 1];
    const minusOne = expand(reshape(gradient.graph.scalar(-1), [1, 1]), column);
    const difference = scatterAdd(
      barrier(probabilities, stopGradient(loss)),
      reshape(targets, column),
      minusOne,
      -1,
    );
    return [scaleRows(difference, reshape(gradient, column)), undefined, undefined];
  },
});

/**
 * -log softmax(logits)[target] per row: logits [rows, classes], int64 targets [rows] -> [rows]. A negative target
 * counts from the end; no target is ignored.
 *
 * There may be many classes, so the softmax reuses the memory of the logits and the gradient that of the softmax: ONNX
 * Runtime's kernels for Softmax and ScatterElements overwrite an argument that nothing reads later (those for binary
 * arithmetic never do), and barriers make sure that nothing does.
 */
export function crossEntropy(logits: Value, targets: Value): Value {
  if (
    logits.shape.length !== 2 ||
    targets.dtype !== 'int64' ||
    !sameShape(targets.shape, logits.shape.slice(0, 1))
  ) {
    throw new RangeError(
      `crossEntropy: expected logits [rows, classes] and int64 targets [rows], found ${formatShape(
        logits.shape,
      )} and ${targets.dtype} ${formatShape(targets.shape)}`,
    );
  }
  const column = reshape(targets, [targets.shape[0] ?? 0, 1]);
  // Large logits lose no precision: the difference is exact if the target is the highest.
  const behind = sub(max(logits, [-1], true), stopGradient(gatherElements(logits, column)));
  const released = barrier(logits, behind);
  return logits.graph.apply(crossEntropyOperator, [released, targets, behind], null)[0];
}
