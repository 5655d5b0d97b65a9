export * from './exact.js';
export * from './types.js';
