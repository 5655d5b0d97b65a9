export * from './exact.js';
export * from './reward.js';
export * from './types.js';
