export * from './atlas/index.js';
export {
  documentText,
  type LoadBeirOptions,
  type LoadCorpusOptions,
  loadBeir,
  loadBeirQrels,
  loadCorpus,
  loadQueries,
  type SaveBeirOptions,
  saveBeir,
} from './beir.js';
export * from './training-pairs.js';
export * from './types.js';
