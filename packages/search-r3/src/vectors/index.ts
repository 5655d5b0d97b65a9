export { AnnIndex, type GraphReport, type SavedGraph } from './ann.js';
export { type AnnIndexOptions, annOptionsSchema } from './ann-options.js';
export { type BatchUse, type CheckedBatch, eachBatch } from './batches.js';
export { checkedDocuments, type DocumentInput, type IndexedDocument } from './documents.js';
export { ExactIndex, type ExactIndexOptions } from './exact.js';
export {
  type Comparison,
  type Condition,
  type Filter,
  filterSchema,
  matches,
  type Predicate,
  parseFilter,
  type Scalar,
} from './filter.js';
export type { CreateIndexOptions } from './index-files.js';
export {
  describeIndex,
  INDEX_FOLDER,
  type IndexDescription,
  type IndexManifest,
  readManifest,
} from './manifest.js';
export { NeighbourGraph, type NeighbourOptions, type NeighbourRepair } from './neighbours.js';
export type { MeasuredRecall } from './recall.js';
export { type OpenIndexOptions, SavedIndex } from './saved-index.js';
export * from './store.js';
export type { SearchResult, VectorIndex } from './types.js';
