export * from './exact.js';
export * from './options.js';
export * from './reward.js';
export * from './selective.js';
export * from './types.js';
