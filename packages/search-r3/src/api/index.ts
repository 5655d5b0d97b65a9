export { VERSION } from '../run/version.js';
export * from './calls.js';
export type {
  EvaluateConfig,
  EvaluateOptions,
  PretrainConfig,
  RlConfig,
  SftConfig,
  TrainConfig,
  TrainOptions,
} from './jobs.js';
export type * from './types.js';
