/** What a program costs, from the sizes of its dimensions alone. */
export { Rehearsal, type RunCost } from './rehearsal.js';
export type { Sizes } from './shapes.js';
export { addWork, NO_WORK, type Work } from './work.js';
