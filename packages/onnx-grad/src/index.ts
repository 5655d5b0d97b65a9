/** onnx-grad: differentiable programs on ONNX Runtime. */

export { addWork, NO_WORK, Rehearsal, type RunCost, type Sizes, type Work } from './cost/index.js';
export { DeviceTensor, type Feeds, type Tensor, toDevice } from './device.js';
export {
  axisSize,
  broadcast,
  canonicalShape,
  type Dim,
  factors,
  formatShape,
  normalizeAxis,
  product,
  quotient,
  type Shape,
  sameShape,
} from './dims.js';
export type { Dtype, TensorData, TensorType } from './dtypes.js';
export * from './dump.js';
export { type EmitOptions, emit, type IndexBound, liveNodes, type Program } from './emit.js';
export * from './grad.js';
export {
  type Constant,
  type Emitter,
  type ExternalData,
  Graph,
  type Node,
  type NodeOptions,
  type Operator,
  type Value,
} from './graph.js';
export {
  FeedError,
  f32,
  floats,
  type HostTensor,
  i64,
} from './host.js';
export { defineOperator } from './operator.js';
export * from './ops/index.js';
export { type Provider, ProviderError } from './provider.js';
export * from './session.js';

export const VERSION = '0.1.0';
