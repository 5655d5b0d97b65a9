export { type AdapterForm, adapterFeeds, newAdapter } from './adapter.js';
export type { Closeness, LinearInputs } from './calibration.js';
export { CALIBRATION_TEXTS } from './calibration-texts.js';
export * from './decoder.js';
export { columnNoiseName, rowNoiseName } from './dropout.js';
export * from './embedding.js';
export * from './encoder.js';
export { type TensorPlace, type TensorPlaces, weightsInFiles } from './file-weights.js';
export { floatWeights, lookupIn, type ParameterValues, parameterInputs } from './float-weights.js';
export * from './inference-weights.js';
export { int8IsExact } from './int8-probe.js';
export { BLOCK_BITS, PRECISIONS, type Precision } from './precision-names.js';
export * from './prompt-attention.js';
export { ColumnQuantizer, quantizeBlocks, type Rows, rowsOf } from './quantize.js';
export { type LayerParameters, smoothLayer } from './quantize-layer.js';
export { type ParameterSource, type QuantizeOptions, writeQuantized } from './quantized-file.js';
export * from './rope.js';
export * from './sequence.js';
export { smoothingFactors } from './smoothing.js';
export { storedType } from './tensor-file.js';
export * from './token-row.js';
export * from './training-weights.js';
export type {
  DecoderWeights,
  FrozenWeights,
  InferenceWeights,
  Lookup,
  WeightsIn,
  WeightsUse,
} from './weights.js';
