/** Softmax over the last axis, its logarithm, and cross-entropy of labelled rows. */
import { formatShape, sameShape } from '../dims.js';
import { type Operator, single, type Value } from '../graph.js';
import { barrier, exp, mul, stopGradient, sub } from './elementwise.js';
import { gatherElements, scatterAdd } from './gather.js';
import { scaleRows } from './matmul.js';
import { expand, max, sum } from './reduce.js';
import { reshape } from './shape.js';

const sameType: Operator<null>['infer'] = (inputs) => [
  { dtype: (inputs[0] as Value).dtype, shape: (inputs[0] as Value).shape },
];

const softmaxOperator: Operator<null> = {
  name: 'softmax',
  infer: sameType,
  emit: (context, node) => context.simple(node, 'Softmax', { attributes: { axis: -1 } }),
  vjp(node, [gradient]) {
    if (gradient === undefined) return [];
    const y = single(node.outputs);
    return [mul(y, sub(gradient, sum(mul(gradient, y), [-1], true)))];
  },
};

/** Softmax over the last axis. */
export const softmax = (x: Value): Value => single(x.graph.apply(softmaxOperator, [x], null));

const logSoftmaxOperator: Operator<null> = {
  name: 'logSoftmax',
  infer: sameType,
  emit: (context, node) => context.simple(node, 'LogSoftmax', { attributes: { axis: -1 } }),
  vjp(node, [gradient]) {
    if (gradient === undefined) return [];
    return [sub(gradient, mul(exp(single(node.outputs)), sum(gradient, [-1], true)))];
  },
};

/** Logarithm of the softmax over the last axis. */
export const logSoftmax = (x: Value): Value => single(x.graph.apply(logSoftmaxOperator, [x], null));

/**
 * Inputs: logits [rows, classes], targets [rows], and the distance of each target's logit from the highest of its row
 * [rows, 1]. Outputs: loss [rows], softmax [rows, classes]. With p = softmax(x), the log-sum-exp is max(x) -
 * log(max(p)), and max(p) >= 1 / classes, so neither tiny probabilities nor ones near 1 give infinities or NaN.
 */
const crossEntropyOperator: Operator<null> = {
  name: 'crossEntropy',
  differentiable: 1,
  infer(inputs) {
    const [logits, targets] = inputs as [Value, Value];
    return [
      { dtype: 'float32', shape: targets.shape },
      { dtype: 'float32', shape: logits.shape },
    ];
  },
  emit(context, node) {
    const [logits, , behind] = node.inputs.map((input) => context.name(input)) as [string, string, string];
    const [loss, probabilities] = node.outputs.map((output) => context.name(output)) as [string, string];
    const last = context.integers([-1]);
    context.node('Softmax', [logits], { attributes: { axis: -1 }, outputs: [probabilities] });
    const highest = context.one('ReduceMax', [probabilities, last], { attributes: { keepdims: 1 } });
    const difference = context.one('Sub', [behind, context.one('Log', [highest])]);
    context.node('Squeeze', [difference, last], { outputs: [loss] });
  },
  vjp(node, [gradient]) {
    if (gradient === undefined) return [];
    const targets = node.inputs[1] as Value;
    const [loss, probabilities] = node.outputs as [Value, Value];
    const column = [targets.shape[0] ?? 0, 1];
    const minusOne = expand(reshape(gradient.graph.scalar(-1), [1, 1]), column);
    const difference = scatterAdd(
      barrier(probabilities, stopGradient(loss)),
      reshape(targets, column),
      minusOne,
      -1,
    );
    return [scaleRows(difference, reshape(gradient, column))];
  },
};

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
  return single(logits.graph.apply(crossEntropyOperator, [released, targets, behind], null));
}
