export * from './options.js';
export * from './trainer.js';
