/** Types for packages that ship none, or ship them under a name that Node cannot resolve. Only the parts used here. */

declare module 'wink-nlp/utilities/bm25-vectorizer.js' {
  interface Bm25Vectorizer {
    learn(tokens: readonly string[]): void;
    /** Per document, in the order learned: term -> BM25 weight. */
    out(): Record<string, number>[];
  }
  export default function bm25Vectorizer(config: {
    /** Added inside the logarithm of the idf. */
    k: number;
    k1: number;
    b: number;
    norm: 'none';
    /** Decimal places that idf and weights are rounded to, 12 at most. */
    precision: number;
  }): Bm25Vectorizer;
}

declare module 'wink-porter2-stemmer' {
  export default function stem(word: string): string;
}

declare module 'stopword' {
  /** English stop words. */
  export const eng: readonly string[];
}
