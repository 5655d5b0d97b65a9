export * from './advantage.js';
export * from './environment-log.js';
export * from './importance.js';
export * from './options.js';
export * from './rollout.js';
export * from './trainer.js';
export * from './update.js';
