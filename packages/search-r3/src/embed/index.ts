export * from './embedder.js';
export * from './encoder.js';
