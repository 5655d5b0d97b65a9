export * from './definitions.js';
export * from './dense.js';
export * from './filter.js';
export * from './grounded.js';
export * from './make.js';
export * from './sources.js';
export * from './spans.js';
export * from './target-file.js';
