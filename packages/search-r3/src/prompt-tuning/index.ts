/** Finds prompts for a base model before it is trained. */
export type { PromptCandidate } from './leads.js';
export { type PromptScore, type TunePromptOptions, tunePrompt } from './tune.js';
export { centring, type VectorMap, type Vectors, whitening } from './whitening.js';
