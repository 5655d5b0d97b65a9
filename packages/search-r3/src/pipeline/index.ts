export * from './data.js';
export * from './evaluate.js';
export * from './stages.js';
export * from './demo.js';
