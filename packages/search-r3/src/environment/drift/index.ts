export * from './model.js';
export { movement } from './ridge.js';
export { WordVectors } from './words.js';
