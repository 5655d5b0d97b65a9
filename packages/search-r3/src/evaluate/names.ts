/** The names of analyzers and systems that settings choose from. Loads nothing, so that the help of a command is quick. */

/** `text` gives words (`englishTerms`); `code` also splits identifiers (`codeTerms`). */
export const ANALYZER_KINDS = ['text', 'code'] as const;
export type AnalyzerKind = (typeof ANALYZER_KINDS)[number];

/** `auto`: `code` if most documents are code, otherwise `text`. */
export const ANALYZERS = ['auto', ...ANALYZER_KINDS] as const;
export type AnalyzerChoice = (typeof ANALYZERS)[number];

/** What is ranked with unless some are asked for. */
export const DEFAULT_SYSTEMS = ['bm25', 'direct', 'reasoned', 'hybrid', 'hybrid_reasoned'] as const;

/** What `RetrieverEvaluation` can rank with. `fused`: the direct and the reasoned vector of a query as one. */
export const RETRIEVER_SYSTEMS = [...DEFAULT_SYSTEMS, 'fused', 'hybrid_fused'] as const;
export type RetrieverSystem = (typeof RETRIEVER_SYSTEMS)[number];
