export * from './attention.js';
export * from './cache.js';
export * from './dropout.js';
export * from './elementwise.js';
export { gatherElements, gatherRows, scatterAdd } from './gather.js';
export { type GemmOptions, gemm, linear, type MatmulOptions, matmul, scaleRows } from './matmul.js';
export * from './mean.js';
export * from './norm.js';
export * from './order.js';
export * from './quantized.js';
export * from './reduce.js';
export {
  cast,
  concat,
  dimension,
  iota,
  reshape,
  slice,
  split,
  transpose,
  zeros,
} from './shape.js';
export * from './softmax.js';
export * from './swiglu.js';
