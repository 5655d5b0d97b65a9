/** What a command will take, known before it starts. */
export { estimateLine, estimateTable } from './describe.js';
export {
  type Basis,
  basisOf,
  type CommandEstimate,
  type DataSettings,
  ESTIMATED,
  type EstimatedCommand,
  estimate,
} from './estimate.js';
export { demandMemory, settingsThatFit } from './fit.js';
export { formatBytes, formatSeconds, type Part, type StageEstimate, type TimedPart } from './parts.js';
export { sampleTexts, type TextSample } from './texts.js';
