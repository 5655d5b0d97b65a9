/** When values are computed: later than ONNX Runtime would choose, so that less is in memory at once. */
import { onnxDataType } from '../emit.js';
import type { Emitter, Value } from '../graph.js';
import { defineOperator } from '../operator.js';
import { zeros } from './shape.js';

/**
 * Emits `y`, which is `x` but does not exist before `after`: a Reshape to x's own shape, computed with an empty slice of
 * `after`, without which ONNX Runtime cannot start it. (The shape of `after` would not do: it may be known beforehand.)
 */
function emitBarrier(context: Emitter, x: Value, after: Value, y: Value): void {
  const flat = context.one('Reshape', [context.name(after), context.integers([-1])]);
  const none = context.one('Slice', [flat, context.integers([0]), context.integers([0])]);
  const own = context.one('Shape', [context.name(x)]);
  const nothing = context.one('Cast', [none], { attributes: { to: onnxDataType('int64') } });
  const shape = context.one('Concat', [own, nothing], { attributes: { axis: 0 } });
  context.node('Reshape', [context.name(x), shape], { outputs: [context.name(y)] });
}

const barrierOperator = defineOperator()({
  name: 'barrier',
  operands: ['x', 'after'],
  results: ['y'],
  inert: [1],
  rearranges: true,
  infer: ([{ dtype, shape }]) => [{ dtype, shape }],
  emit: (context, { inputs: [x, after], outputs: [y] }) => emitBarrier(context, x, after, y),
  vjp: (_, [gradient]) => [gradient, undefined],
});

/**
 * `x`, but not available before `after` exists. It delays recomputation in the backward pass, and keeps memory from
 * being overwritten before it was read.
 */
export const barrier = (x: Value, after: Value): Value => x.graph.apply(barrierOperator, [x, after], null)[0];

const inOrderOperator = defineOperator()({
  name: 'inOrder',
  operands: ['done', 'next'],
  results: ['same', 'later'],
  infer: ([done, next]) => [
    { dtype: done.dtype, shape: done.shape },
    { dtype: next.dtype, shape: next.shape },
  ],
  emit(context, { inputs: [done, next], outputs: [same, later] }) {
    context.node('Identity', [context.name(done)], { outputs: [context.name(same)] });
    emitBarrier(context, next, done, later);
  },
  vjp({ inputs: [done, next] }, [same, later]) {
    const ofDone = same ?? zeros(done.graph, done.shape);
    if (later === undefined) return [ofDone, zeros(next.graph, next.shape)];
    return [barrier(ofDone, later), later];
  },
});

/**
 * `done` and `next` as they are, in this order: `next` is not available before `done` was computed, and in the backward
 * pass the gradient of `done` not before that of `next`. For work in parts, where `done` is the result of one part and
 * `next` what the following ones read: no two parts are in memory at once, nor are those that a checkpoint recomputes.
 */
export const inOrder = (done: Value, next: Value): readonly [done: Value, next: Value] =>
  done.graph.apply(inOrderOperator, [done, next], null);
