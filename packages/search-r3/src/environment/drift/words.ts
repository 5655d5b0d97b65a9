/** Documents as words: unit vectors of inverse document frequencies. What the drift map leaves is alike where they are. */
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

export class WordVectors {
  readonly #text: (row: number) => string;
  readonly #terms = englishTerms();
  readonly #numbers = new Map<string, number>();
  readonly #frequencies: number[] = [];
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

  /** Forgets what was kept of a row, whose text changed. */
  forget(row: number): void {
    this.#kept.delete(row);
  }

  /** Adds `factor` times the cosines of `rows` with `others` to `target`, [rows * others]. */
  addCosines(target: Float32Array, rows: readonly number[], others: readonly number[], factor: number): void {
    const postings = new Map<number, [column: number, weight: number][]>();
    for (const [column, row] of others.entries()) {
      const { terms, weights } = this.#vector(row);
      for (const [i, term] of terms.entries()) {
        const list = postings.get(term);
        const entry: [number, number] = [column, factor * (weights[i] as number)];
        if (list === undefined) postings.set(term, [entry]);
        else list.push(entry);
      }
    }
    for (const [i, row] of rows.entries()) {
      const start = i * others.length;
      const { terms, weights } = this.#vector(row);
      for (const [t, term] of terms.entries()) {
        const own = weights[t] as number;
        for (const [column, weight] of postings.get(term) ?? []) {
          target[start + column] = (target[start + column] as number) + own * weight;
        }
      }
    }
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
