export { DEFAULT_ADAPTER } from './adapters.js';
export { CACHE_VARIABLE } from './cache-folder.js';
export * from './model.js';
export type { LoadModelOptions, LoadTrainableOptions, NewAdapter } from './opened.js';
export * from './policy.js';
export { LARGE, type PrecisionChoice } from './precision.js';
