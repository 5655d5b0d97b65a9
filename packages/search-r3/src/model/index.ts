export * from './decoder.js';
export * from './rope.js';
export * from './sequence.js';
