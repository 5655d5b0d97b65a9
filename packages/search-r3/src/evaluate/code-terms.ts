/**
 * Turns code into terms. An identifier of several words (`read_file`, `readFile`, `HTTPServer`, `utf8`) becomes itself
 * and its words; a path (`os.path`) becomes itself and its identifiers. Two spellings of one name (`read_file`,
 * `readFile`) give the same terms. Everything else is read as text.
 */
import { englishTerm } from './english-terms.js';
import { lowerCase, normaliseText, wordsIn } from './words.js';

/** An identifier, or several joined by dots. */
const PATH = /[\p{L}\p{N}_][\p{L}\p{M}\p{N}_]*(?:\.[\p{L}_][\p{L}\p{M}\p{N}_]*)*/gu;
/**
 * The words of an identifier. A capital starts a word (in a run of capitals, the last one), and so does a run of
 * digits.
 */
const PART =
  /(?:\p{Lu}\p{M}*)+(?!\p{M}*\p{Ll})|(?:\p{Lu}\p{M}*)?(?:[\p{Ll}\p{Lt}\p{Lm}\p{Lo}]\p{M}*)+|\p{N}+/gu;

/** A function that gives the terms of code. */
export function codeTerms(): (text: string) => string[] {
  const termOf = englishTerm();
  return (text) => {
    const terms: string[] = [];
    const add = (word: string) => {
      const term = termOf(word);
      if (term !== undefined) terms.push(term);
    };
    for (const [path] of normaliseText(text).matchAll(PATH)) {
      const names = path.split('.').map((name) => ({
        whole: lowerCase(name.replaceAll('_', '')),
        parts: name.match(PART) ?? [],
      }));
      if (names.length > 1) terms.push(names.map(({ whole }) => whole).join('.'));
      for (const { whole, parts } of names) {
        if (parts.length > 1) add(whole);
        for (const part of parts) for (const word of wordsIn(lowerCase(part))) add(word);
      }
    }
    return terms;
  };
}
