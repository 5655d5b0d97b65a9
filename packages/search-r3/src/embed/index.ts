export * from './embedder.js';
export type {
  EmbedFusion,
  EmbedInput,
  EmbedRequest,
  EmbedResult,
  EmbedSettings,
  ProbeRequest,
  WrittenReasoning,
} from './request.js';
