export * from './decoder.js';
export * from './embedding.js';
export {
  fedWeights,
  floatWeights,
  lookupIn,
  type ParameterValues,
  parameterInputs,
} from './float-weights.js';
export * from './policy.js';
export * from './prompt-attention.js';
export * from './rope.js';
export * from './sequence.js';
export * from './token-row.js';
export type { DecoderWeights, InferenceWeights, Lookup, WeightsIn } from './weights.js';
