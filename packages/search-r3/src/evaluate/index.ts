export * from './analyzer.js';
export * from './bm25.js';
export { codeTerms } from './code-terms.js';
export {
  CONTROLS,
  type Control,
  type ControlScore,
  controlTexts,
  type Reasoned,
  type Verdict,
  verdictOf,
} from './controls.js';
export { englishTerms } from './english-terms.js';
export * from './evaluator.js';
export * from './fusion.js';
export {
  DEFAULT_METRICS,
  type DefaultMetric,
  dcg,
  idealDcg,
  type MetricName,
  type MetricOptions,
  type MetricScores,
  parseMetricName,
  scoreQuery,
  scoreRankings,
} from './metrics.js';
export * from './names.js';
export * from './ranking.js';
export * from './retriever.js';
export * from './significance.js';
export * from './table.js';
export * from './trec.js';
export { bestShare, fuseQueryVectors } from './vector-fusion.js';
export { normaliseText, SEGMENTED_SCRIPTS, type SegmentedScript, wordsIn } from './words.js';
