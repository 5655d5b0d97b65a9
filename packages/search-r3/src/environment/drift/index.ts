export * from './model.js';
export { movement } from './ridge.js';
export { WordVectors, wordCountsSchema } from './words.js';
