export * from './definitions.js';
export * from './grounded.js';
export * from './make.js';
export * from './sources.js';
export * from './target-file.js';
