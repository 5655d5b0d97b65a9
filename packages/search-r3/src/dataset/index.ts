export * from './atlas/index.js';
export {
  assertTexts,
  documentText,
  type LoadBeirOptions,
  type LoadCorpusOptions,
  loadBeir,
  loadCorpus,
  loadQueries,
  type SaveBeirOptions,
  saveBeir,
} from './beir.js';
export { isBlank } from './blank.js';
export { ownDocuments, SELF_EXCLUSIONS, type SelfExclusion } from './own-documents.js';
export { type KnownIds, loadBeirQrels } from './qrels.js';
export { comparableText, sameTexts } from './same-text.js';
export * from './training-pairs.js';
export * from './types.js';
