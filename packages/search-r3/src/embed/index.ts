export * from './embedder.js';
export { EMBED_FUSIONS } from './names.js';
export type {
  EmbedFusion,
  EmbedInput,
  EmbedRequest,
  EmbedResult,
  EmbedSettings,
  ProbeRequest,
  WrittenReasoning,
} from './request.js';
export { fuseDirect } from './vectors.js';
