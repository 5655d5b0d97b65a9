/** The types every module shares about collections: documents, queries and relevance judgements. */

export interface Document {
  id: string;
  title?: string;
  text: string;
  /** Metadata: any JSON value. An index keeps it; training ignores it. */
  [field: string]: unknown;
}

export interface Query {
  id: string;
  text: string;
}

/** Relevance judgements: query id -> document id -> grade (0 = judged not relevant). */
export type Qrels = Map<string, Map<string, number>>;

/** A ranking per query: query id -> document id -> score (higher is better). */
export type Rankings = Map<string, Map<string, number>>;

/** A collection in the BEIR layout. */
export interface Collection {
  corpus: Document[];
  queries: Map<string, Query>;
  /** By split name (`train`, `dev`, `test`). */
  qrels: Map<string, Qrels>;
}
