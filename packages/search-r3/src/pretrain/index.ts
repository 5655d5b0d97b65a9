export * from './atlas.js';
export * from './collection.js';
export * from './latent.js';
export * from './lexical-start.js';
export * from './options.js';
export * from './pairs.js';
export * from './shape.js';
export * from './trainer.js';
