/**
 * Definitions in a corpus, found by lexical patterns (Hearst 1992): "X is a ...", "X, a ..." and "X (ABBR)". A target may
 * quote them: they say what the words of a query mean.
 */

import { sentencesOf } from '../pretrain/sentences.js';

/** Text -> terms. */
export type Terms = (text: string) => string[];

/** Longest name that is defined, in terms. */
const LONGEST = 4;
/** Longest sentence that is quoted, in characters. */
const QUOTED = 300;

const NAME = String.raw`(?<name>[\p{L}\p{N}][\p{L}\p{N}'\-]*(?: [\p{L}\p{N}][\p{L}\p{N}'\-]*){0,3})`;
const PATTERNS = [
  new RegExp(`^(?:The |An? )?${NAME} (?:is|are|was|were) (?:an?|the|one of) `, 'iu'),
  new RegExp(`^(?:The |An? )?${NAME}, (?:an?|the) [^,]+,`, 'iu'),
];
/** A long form and its abbreviation (Schwartz and Hearst 2003, in its simplest case: one initial for each word). */
const ABBREVIATION = /\((?<short>\p{Lu}[\p{Lu}\p{N}]{1,5})s?\)/gu;

/** Sentences that define something, by the terms of what they define. */
export class Definitions {
  readonly #sentences = new Map<string, string>();
  readonly #terms: Terms;

  constructor(texts: Iterable<string>, terms: Terms) {
    this.#terms = terms;
    for (const text of texts) {
      for (const sentence of sentencesOf(text)) {
        if (sentence.length > QUOTED) continue;
        for (const name of namesDefined(sentence)) {
          const key = terms(name).join(' ');
          if (key !== '' && !this.#sentences.has(key)) this.#sentences.set(key, sentence);
        }
      }
    }
  }

  /** Up to `most` sentences that define words of a query, those of longer names first. */
  of(query: string, most: number): string[] {
    const terms = this.#terms(query);
    const found = new Set<string>();
    for (let length = Math.min(LONGEST, terms.length); length > 0; length--) {
      for (let start = 0; start + length <= terms.length; start++) {
        const sentence = this.#sentences.get(terms.slice(start, start + length).join(' '));
        if (sentence !== undefined) found.add(sentence);
      }
    }
    return [...found].slice(0, most);
  }
}

function namesDefined(sentence: string): string[] {
  const names = PATTERNS.flatMap((pattern) => pattern.exec(sentence)?.groups?.name ?? []);
  for (const match of sentence.matchAll(ABBREVIATION)) {
    const short = match.groups?.short ?? '';
    const words = sentence
      .slice(0, match.index)
      .trim()
      .split(/[\s-]+/)
      .slice(-short.length);
    const initials = words.map((word) => word.charAt(0)).join('');
    if (initials.toLowerCase() === short.toLowerCase()) names.push(short, words.join(' '));
  }
  return names;
}
