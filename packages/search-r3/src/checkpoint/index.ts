export {
  type Architecture,
  loadConfig,
  type ModelConfig,
  type NewConfigOptions,
  newConfig,
  parseConfig,
  type RopeScaling,
} from './config.js';
export {
  elementCount,
  initialiseWeights,
  parameterShapes,
  type Weights,
  type WeightTensor,
} from './parameters.js';
