export * from './pretraining.js';
export { type AtlasQuery, atlasQueries, hardNegative } from './queries.js';
export * from './splits.js';
export {
  type AtlasFact,
  chainSentence,
  FACT_KINDS,
  type FactKind,
  factSentences,
  QUERY_KINDS,
  type QueryKind,
} from './wording.js';
export {
  ATLAS_GROUPS,
  type AtlasGroup,
  type AtlasOptions,
  type AtlasWorld,
  atlasFacts,
  documentId,
  generateAtlas,
} from './world.js';
