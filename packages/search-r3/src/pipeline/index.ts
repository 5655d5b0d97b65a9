export * from './data.js';
export * from './demo.js';
export * from './evaluate.js';
export * from './stages.js';
