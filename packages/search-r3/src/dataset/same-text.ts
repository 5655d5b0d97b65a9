/** Equal texts. Unicode form, case and white space do not count. */
import { createHash } from 'node:crypto';

/** The form in which texts are compared: NFKC, lower case, one space between words. */
export const comparableText = (text: string): string =>
  text.normalize('NFKC').toLowerCase().replace(/\s+/gu, ' ').trim();

/** A digest of `comparableText`, so that the texts of a large corpus are not kept twice. */
const keyOf = (text: string): string => createHash('sha256').update(comparableText(text)).digest('base64');

/**
 * Groups ids by text. @returns a function that gives all ids with the text of an id, itself included; undefined if it
 * is the only one.
 */
export function sameTexts(
  texts: Iterable<readonly [id: string, text: string]>,
): (id: string) => readonly string[] | undefined {
  const first = new Map<string, string>();
  const groups = new Map<string, string[]>();
  for (const [id, text] of texts) {
    const key = keyOf(text);
    const known = first.get(key);
    if (known === undefined) {
      first.set(key, id);
      continue;
    }
    const group = groups.get(known) ?? [known];
    group.push(id);
    groups.set(known, group);
    groups.set(id, group);
  }
  return (id) => groups.get(id);
}
