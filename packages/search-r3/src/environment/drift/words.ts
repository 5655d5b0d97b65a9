/** Documents as words: unit vectors of inverse document frequencies. What the drift map leaves is alike where they are. */
import { z } from 'zod';
import { englishTerms } from '../../evaluate/index.js';

/** Documents that frequencies are counted on; a sample of larger corpora says as much. */
const COUNTED = 20_000;
/** Documents whose terms are kept; beyond, they are made again. */
const KEPT = 100_000;

interface TermVector {
  /** Numbers of terms that are in the vocabulary, with weights of sum of squares 1. */
  terms: Int32Array;
  weights: Float32Array;
}

/** Terms with the number of documents they are in, of those counted. */
export const wordCountsSchema = z.strictObject({
  terms: z.array(z.string()),
  frequencies: z.array(z.int()),
  counted: z.int(),
});
export type WordCounts = z.infer<typeof wordCountsSchema>;

interface Postings {
  starts: Int32Array;
  columns: Int32Array;
  weights: Float32Array;
}

export class WordVectors {
  readonly #text: (row: number) => string;
  readonly #terms = englishTerms();
  readonly #numbers = new Map<string, number>();
  #frequencies: number[] = [];
  #counted = 0;
  readonly #kept = new Map<number, TermVector>();

  /** Counts on documents spread evenly over `rows`. */
  constructor(text: (row: number) => string, rows: readonly number[]) {
    this.#text = text;
    const stride = Math.max(1, rows.length / COUNTED);
    for (let at = 0; at < rows.length; at += stride) {
      const words = new Set(this.#terms(text(rows[Math.floor(at)] as number)));
      for (const word of words) {
        const number = this.#numbers.get(word) ?? this.#numbers.size;
        this.#numbers.set(word, number);
        this.#frequencies[number] = (this.#frequencies[number] ?? 0) + 1;
      }
      this.#counted++;
    }
  }

  /** What weights are made of, for a checkpoint: texts may have changed since it was counted. */
  state(): WordCounts {
    return { terms: [...this.#numbers.keys()], frequencies: [...this.#frequencies], counted: this.#counted };
  }

  restore({ terms, frequencies, counted }: WordCounts): void {
    this.#numbers.clear();
    for (const [number, term] of terms.entries()) this.#numbers.set(term, number);
    this.#frequencies = [...frequencies];
    this.#counted = counted;
    this.#kept.clear();
  }

  /** Forgets what was kept of a row, whose text changed. */
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

  /** By term, from `starts` of it to that of the next: which of `rows` have it, and with what weight. */
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

  /** Words in every document counted, and words in none, have no weight. */
  #vector(row: number): TermVector {
    const known = this.#kept.get(row);
    if (known !== undefined) return known;
    const found: [number, number][] = [];
    for (const word of new Set(this.#terms(this.#text(row)))) {
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
