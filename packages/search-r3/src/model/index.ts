export { CACHE_VARIABLE } from './cache-folder.js';
export * from './model.js';
export * from './policy.js';
export { LARGE, type PrecisionChoice } from './precision.js';
