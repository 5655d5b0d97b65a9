/** The optimiser side of training: what happens to gradients between two runs of a program. */
export { GradientAccumulator } from './accumulator.js';
export * from './adamw.js';
export * from './clip.js';
export { OptimError, type OptimProblem } from './errors.js';
export * from './schedules.js';
