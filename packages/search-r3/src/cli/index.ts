export { loadConfig, mergeConfig, parseConfig } from './config.js';
export { untilStopped } from './interrupt.js';
export * from './options.js';
export * from './output.js';
export { buildProgram, EXIT, runProgram } from './program.js';
export { describeProgress, formatDuration, ProgressDisplay } from './progress-display.js';
export { REFERENCE_PATH, renderReference } from './reference.js';
export type { TextStream } from './streams.js';
