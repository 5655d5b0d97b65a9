/** English words -> terms: stop words are dropped, endings removed. Words without a Latin letter stay as they are. */
import { eng as stopWords } from 'stopword';
import stem from 'wink-porter2-stemmer';
import { lowerCase, normaliseText, wordsIn } from './words.js';

/** The stemmer has rules for Latin letters. Digits are included because the figures so far were measured that way. */
const STEMMED = /[\p{sc=Latin}\p{N}]/u;
const stopped = new Set(stopWords);

/**
 * Returns a function that gives the term of a lower-case word, or undefined for a stop word. It remembers the stems it
 * has seen.
 */
export function englishTerm(): (word: string) => string | undefined {
  const stems = new Map<string, string>();
  return (word) => {
    if (stopped.has(word)) return undefined;
    let found = stems.get(word);
    if (found === undefined) {
      found = STEMMED.test(word) ? stem(word) : word;
      stems.set(word, found);
    }
    return found;
  };
}

/**
 * Returns a function that gives the terms of a text in any language: the words of `wordsIn` in lower case, without
 * English stop words and endings.
 */
export function englishTerms(): (text: string) => string[] {
  const termOf = englishTerm();
  return (text) =>
    wordsIn(lowerCase(normaliseText(text)))
      .map(termOf)
      .filter((term) => term !== undefined);
}
