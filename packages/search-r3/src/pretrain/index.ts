export * from './atlas.js';
export * from './options.js';
export * from './trainer.js';
