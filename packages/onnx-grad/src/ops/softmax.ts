/** Softmax over the last axis, its logarithm, and cross-entropy of labelled rows. */
import { type Dim, formatShape } from '../dims.js';
import { type Operator, single, type Value } from '../graph.js';
import { div, exp, mul, neg, sub } from './elementwise.js';
import { scatterAdd } from './gather.js';
import { sum } from './reduce.js';
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
 * Outputs: loss [rows], exp(x - max(x)) [rows, classes], and its sums [rows, 1], which are at least 1: neither tiny
 * probabilities nor ones near 1 give infinities or NaN. Every step over the classes can take the memory of the one
 * before, so that there is one array of this size at a time, not two.
 */
const crossEntropyOperator: Operator<null> = {
  name: 'crossEntropy',
  differentiable: 1,
  infer(inputs) {
    const [logits, targets] = inputs as [Value, Value];
    if (logits.shape.length !== 2 || targets.dtype !== 'int64' || targets.shape[0] !== logits.shape[0]) {
      throw new RangeError(
        `crossEntropy: expected logits [rows, classes] and int64 targets [rows], found ${formatShape(
          logits.shape,
        )} and ${targets.dtype} ${formatShape(targets.shape)}`,
      );
    }
    return [
      { dtype: 'float32', shape: targets.shape },
      { dtype: 'float32', shape: logits.shape },
      { dtype: 'float32', shape: [logits.shape[0] as Dim, 1] },
    ];
  },
  emit(context, node) {
    const [logits, targets] = node.inputs.map((input) => context.name(input)) as [string, string];
    const [loss, exps, sums] = node.outputs.map((output) => context.name(output)) as [string, string, string];
    const last = context.integers([-1]);
    const highest = context.one('ReduceMax', [logits, last], { attributes: { keepdims: 1 } });
    const column = context.one('Unsqueeze', [targets, last]);
    const chosen = context.one('GatherElements', [logits, column], { attributes: { axis: -1 } });
    // In this order nothing is lost to large logits: the difference is exact where the target is the highest.
    const behind = context.one('Sub', [highest, chosen]);
    // Not before the targets' logits are read, or else their memory could not be taken over.
    const shifted = context.one('Sub', [logits, context.after(highest, chosen)]);
    context.node('Exp', [shifted], { outputs: [exps] });
    context.node('ReduceSum', [exps, last], { attributes: { keepdims: 1 }, outputs: [sums] });
    const total = context.one('Add', [behind, context.one('Log', [sums])]);
    context.node('Squeeze', [total, last], { outputs: [loss] });
  },
  vjp(node, [gradient]) {
    if (gradient === undefined) return [];
    const [logits, targets] = node.inputs as [Value, Value];
    const rows = logits.shape[0] ?? 0;
    const column = reshape(gradient, [rows, 1]);
    const [, exps, sums] = node.outputs as [Value, Value, Value];
    const softmaxed = mul(exps, div(column, sums));
    return [scatterAdd(softmaxed, reshape(targets, [rows, 1]), neg(column), -1)];
  },
};

/** -log softmax(logits)[target] per row: logits [rows, classes], int64 targets [rows] -> [rows]. */
export const crossEntropy = (logits: Value, targets: Value): Value =>
  single(logits.graph.apply(crossEntropyOperator, [logits, targets], null));
