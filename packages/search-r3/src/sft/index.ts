export * from './data.js';
export * from './negatives.js';
export * from './options.js';
export * from './own-reasoning.js';
export * from './reasoning-options.js';
export * from './target-log.js';
export * from './targets.js';
export * from './trainer.js';
