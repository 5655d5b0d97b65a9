/** Text -> terms for lexical search: words of letters and digits, lower case, English stop words and endings removed. */
import { eng as stopWords } from 'stopword';
import stem from 'wink-porter2-stemmer';

/** A function that gives the terms of a text; it remembers the stems it has seen. */
export function englishTerms(): (text: string) => string[] {
  const stopped = new Set(stopWords);
  const stems = new Map<string, string>();
  const stemOnce = (word: string): string => {
    let found = stems.get(word);
    if (found === undefined) {
      found = stem(word);
      stems.set(word, found);
    }
    return found;
  };
  return (text) => {
    const words =
      text
        .normalize('NFKC')
        .toLowerCase()
        .match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
    return words.filter((word) => !stopped.has(word)).map(stemOnce);
  };
}
