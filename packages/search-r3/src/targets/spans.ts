/** Text copied word by word: copied terms always help to find their document, so a judge must not see them. */
import { lowerCase, normaliseText, wordsIn } from '../evaluate/words.js';

const keysOf = (words: readonly string[], length: number): string[] =>
  words.slice(length - 1).map((_, i) => words.slice(i, i + length).join(' '));

/**
 * The words of a text in order, without those in a run of at least `length` words that `document` has too. Case and what
 * stands between words does not count.
 */
export function withoutSpans(text: string, document: string, length = 3): string {
  const copied = new Set(keysOf(wordsIn(lowerCase(normaliseText(document))), length));
  const words = wordsIn(normaliseText(text));
  const left = words.map(() => true);
  for (const [start, key] of keysOf(words.map(lowerCase), length).entries()) {
    if (copied.has(key)) left.fill(false, start, start + length);
  }
  return words.filter((_, i) => left[i]).join(' ');
}
