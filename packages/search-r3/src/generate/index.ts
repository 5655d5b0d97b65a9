export { RUN_TOKENS } from './encoder.js';
export { Generator, type GeneratorOptions } from './generator.js';
export type {
  Completion,
  FinishReason,
  GenerateOptions,
  GenerationRequest,
  LengthOptions,
  TokenEvent,
} from './options.js';
export { type GenerationPlan, GenerationRehearsal } from './rehearsal.js';
export * from './sampling.js';
export type { Probe, Submission } from './submission.js';
