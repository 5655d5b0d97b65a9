export { AnnIndex, type GraphReport } from './ann.js';
export { type AnnIndexOptions, annOptionsSchema } from './ann-options.js';
export { checkedDocuments, type DocumentInput, type IndexedDocument } from './documents.js';
export { ExactIndex, type ExactIndexOptions } from './exact.js';
export {
  assertCompatible,
  INDEX_FOLDER,
  type IndexFingerprint,
  type IndexManifest,
  readManifest,
} from './manifest.js';
export { NeighbourGraph, type NeighbourOptions, type NeighbourRepair } from './neighbours.js';
export type { MeasuredRecall } from './recall.js';
export {
  type FoundDocument,
  type IndexContents,
  type OpenIndexOptions,
  openIndex,
  type SavedIndex,
  type SaveIndexOptions,
  saveIndex,
} from './saved-index.js';
export type { SearchResult, VectorIndex } from './types.js';
