/**
 * Retrieval by language models that think before they embed. This entry point has what most programs need: load a model,
 * embed, index and search with it, train one, evaluate it. The modules (`search-r3/rl`, `search-r3/environment`, ...) are
 * public too, for research that combines the parts differently.
 *
 * @packageDocumentation
 */
export * from './api/index.js';
export {
  type Collection,
  type Document,
  loadBeir,
  type Qrels,
  type Query,
  type SaveBeirOptions,
  saveBeir,
} from './dataset/index.js';
export type {
  Embedding,
  EmbedFusion,
  EmbedInput,
  EmbedOptions,
  EmbedRequest,
  EmbedResult,
  EmbedSettings,
  ProbeRequest,
  WrittenReasoning,
} from './embed/index.js';
export type { FinishedEvaluation, StageName, StageResult, TrainResult } from './pipeline/index.js';
export {
  DivergenceError,
  InputError,
  type InputProblem,
  InterruptedError,
  type ProgressEvent,
  type ProgressUnit,
} from './run/index.js';
export type { Condition, DocumentInput, Filter, IndexedDocument, Scalar } from './vectors/index.js';
