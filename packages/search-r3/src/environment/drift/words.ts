/**
 * Documents as unit vectors of inverse document frequencies: documents with similar words have similar map residuals.
 */
import { z } from 'zod';
import { ANALYZER_KINDS, type Analyzer, type AnalyzerChoice, analyzerFor } from '../../evaluate/index.js';
import { evenly } from '../../run/index.js';

/** Maximum number of documents in which frequencies are counted; a sample of a larger corpus is as good. */
const COUNTED = 20_000;
/** Documents that decide whether the corpus is code. */
const JUDGED = 500;
/** Maximum number of documents whose terms are cached. */
const KEPT = 100_000;

interface TermVector {
  /** Numbers of the terms in the vocabulary, and their weights, whose squares sum to 1. */
  terms: Int32Array;
  weights: Float32Array;
}

/** Terms with the number of counted documents that contain them. */
export const wordCountsSchema = z.strictObject({
  terms: z.array(z.string()),
  frequencies: z.array(z.int()),
  counted: z.int(),
  analyzer: z.enum(ANALYZER_KINDS).default('text'),
});
export type WordCounts = z.infer<typeof wordCountsSchema>;

interface Postings {
  starts: Int32Array;
  columns: Int32Array;
  weights: Float32Array;
}

export class WordVectors {
  readonly #text: (row: number) => string;
  #analyzer: Analyzer;
  readonly #numbers = new Map<string, number>();
  #frequencies: number[] = [];
  #counted = 0;
  readonly #kept = new Map<number, TermVector>();

  /** Counts words in evenly spaced documents of `rows`. */
  constructor(text: (row: number) => string, rows: readonly number[], analyzer?: AnalyzerChoice) {
    this.#text = text;
    this.#analyzer = analyzerFor(evenly(rows, JUDGED).map(text), analyzer);
    const stride = Math.max(1, rows.length / COUNTED);
    for (let at = 0; at < rows.length; at += stride) {
      const words = new Set(this.#analyzer.terms(text(rows[Math.floor(at)] as number)));
      for (const word of words) {
        const number = this.#numbers.get(word) ?? this.#numbers.size;
        this.#numbers.set(word, number);
        this.#frequencies[number] = (this.#frequencies[number] ?? 0) + 1;
      }
      this.#counted++;
    }
  }

  /** The counts, for a checkpoint: texts may have changed since they were counted. */
  state(): WordCounts {
    return {
      terms: [...this.#numbers.keys()],
      frequencies: [...this.#frequencies],
      counted: this.#counted,
      analyzer: this.#analyzer.kind,
    };
  }

  restore({ terms, frequencies, counted, analyzer }: WordCounts): void {
    this.#analyzer = analyzerFor([], analyzer);
    this.#numbers.clear();
    for (const [number, term] of terms.entries()) this.#numbers.set(term, number);
    this.#frequencies = [...frequencies];
    this.#counted = counted;
    this.#kept.clear();
  }

  /** Drops the cached terms of a row whose text changed. */
  forget(row: number): void {
    this.#kept.delete(row);
  }

  /** Adds `factor` times the cosines of `rows` with `others` to `target`, [rows * others]. */
  addCosines(target: Float32Array, rows: readonly number[], others: readonly number[], factor: number): void {
    const { starts, columns, weights: shares } = this.#postings(others);
    for (const [i, row] of rows.entries()) {
      const start = i * others.length;
      const { terms, weights } = this.#vector(row);
      for (let t = 0; t < terms.length; t++) {
        const term = terms[t] as number;
        const own = factor * (weights[t] as number);
        const end = starts[term + 1] as number;
        for (let at = starts[term] as number; at < end; at++) {
          const to = start + (columns[at] as number);
          target[to] = (target[to] as number) + own * (shares[at] as number);
        }
      }
    }
  }

  /** By term, from its `starts` entry to the next: the `rows` that contain it, and its weights there. */
  #postings(rows: readonly number[]): Postings {
    const vectors = rows.map((row) => this.#vector(row));
    const starts = new Int32Array(this.#numbers.size + 1);
    for (const { terms } of vectors) {
      for (const term of terms) starts[term + 1] = (starts[term + 1] as number) + 1;
    }
    for (let term = 1; term < starts.length; term++) {
      starts[term] = (starts[term] as number) + (starts[term - 1] as number);
    }
    const total = starts[starts.length - 1] as number;
    const columns = new Int32Array(total);
    const weights = new Float32Array(total);
    const next = starts.slice();
    for (const [column, { terms, weights: own }] of vectors.entries()) {
      for (let t = 0; t < terms.length; t++) {
        const term = terms[t] as number;
        const at = next[term] as number;
        columns[at] = column;
        weights[at] = own[t] as number;
        next[term] = at + 1;
      }
    }
    return { starts, columns, weights };
  }

  /** Words in all or none of the counted documents have no weight. */
  #vector(row: number): TermVector {
    const known = this.#kept.get(row);
    if (known !== undefined) return known;
    const found: [number, number][] = [];
    for (const word of new Set(this.#analyzer.terms(this.#text(row)))) {
      const number = this.#numbers.get(word);
      if (number === undefined) continue;
      const weight = Math.log(this.#counted / (this.#frequencies[number] as number));
      if (weight > 0) found.push([number, weight]);
    }
    const norm = Math.sqrt(found.reduce((total, [, weight]) => total + weight * weight, 0));
    const vector = {
      terms: Int32Array.from(found, ([number]) => number),
      weights: Float32Array.from(found, ([, weight]) => weight / norm),
    };
    if (this.#kept.size >= KEPT) this.#kept.clear();
    this.#kept.set(row, vector);
    return vector;
  }
}
