export * from './decoder.js';
export * from './embedding.js';
export * from './policy.js';
export * from './rope.js';
export * from './sequence.js';
export * from './token-row.js';
