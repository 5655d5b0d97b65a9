/** Strings as sequences of code points, as in Python; JavaScript counts UTF-16 units. */

const SURROGATE = /[\ud800-\udfff]/;

/** Whether each UTF-16 unit is a code point. */
export function isFlat(text: string): boolean {
  return !SURROGATE.test(text);
}

/** The code points as strings. */
export function codePoints(text: string): string[] {
  return isFlat(text) ? text.split('') : Array.from(text);
}

export function textLength(text: string): number {
  if (isFlat(text)) return text.length;
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** Code points `start` to `end`, both within the text. */
export function subtext(text: string, start: number, end: number): string {
  return isFlat(text) ? text.slice(start, end) : Array.from(text).slice(start, end).join('');
}

/** Compares by code point. UTF-16 units would put characters beyond the first plane before U+E000. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  if (isFlat(a) && isFlat(b)) return a < b ? -1 : 1;
  const [left, right] = [Array.from(a), Array.from(b)];
  for (let i = 0; i < left.length && i < right.length; i++) {
    const difference = left[i]!.codePointAt(0)! - right[i]!.codePointAt(0)!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

/** What `str.isspace` calls white space, which differs from `\s` in JavaScript. For use in a character class. */
export const SPACES = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

const SPACE = new RegExp(`[${SPACES}]`);

export function isSpace(character: string): boolean {
  return SPACE.test(character);
}

/** `str.lstrip`; removes white space if `characters` is not given. */
export function stripStart(text: string, characters?: string): string {
  const isOne = member(characters);
  const points = unitsFor(text, characters);
  let start = 0;
  while (start < points.length && isOne(points[start]!)) start++;
  return typeof points === 'string' ? points.slice(start) : points.slice(start).join('');
}

/** `str.rstrip`; removes white space if `characters` is not given. */
export function stripEnd(text: string, characters?: string): string {
  const isOne = member(characters);
  const points = unitsFor(text, characters);
  let end = points.length;
  while (end > 0 && isOne(points[end - 1]!)) end--;
  return typeof points === 'string' ? points.slice(0, end) : points.slice(0, end).join('');
}

function member(characters: string | undefined): (point: string) => boolean {
  return characters === undefined ? isSpace : (point) => characters.includes(point);
}

/** The units to check one by one. UTF-16 units are enough unless `characters` contains a surrogate pair. */
function unitsFor(text: string, characters: string | undefined): string | string[] {
  return characters === undefined || isFlat(characters) ? text : Array.from(text);
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are line ends to Python
const LINE_END = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/g;

/** `str.splitlines`. */
export function splitLines(text: string, keepEnds = false): string[] {
  const lines: string[] = [];
  let start = 0;
  for (const { 0: end, index } of text.matchAll(LINE_END)) {
    lines.push(text.slice(start, keepEnds ? index + end.length : index));
    start = index + end.length;
  }
  if (start < text.length) lines.push(text.slice(start));
  return lines;
}

/** Characters whose title case is a special digraph, or a Greek letter with an iota. */
const TITLE_CASED =
  /[\u01c4-\u01cc\u01f1-\u01f3\u1f80-\u1faf\u1fb2-\u1fb4\u1fb7\u1fbc\u1fc2-\u1fc4\u1fc7\u1fcc\u1ff2-\u1ff4\u1ff7\u1ffc]/;
/** Ligatures. In title case, their first letter becomes upper case and the others lower case. */
const LIGATURE = /[\xdf\u0587\ufb00-\ufb06\ufb13-\ufb17]/;
/** Georgian letters, which are capitals only in words written entirely in capitals. */
const UNCHANGED_IN_TITLES = /[\u10d0-\u10fa\u10fd-\u10ff]/;

/** The title case of a character; undefined if it is neither its upper case nor the character itself. */
export function titleCase(character: string): string | undefined {
  if (TITLE_CASED.test(character)) return undefined;
  if (UNCHANGED_IN_TITLES.test(character)) return character;
  const upper = character.toUpperCase();
  return LIGATURE.test(character) ? upper.slice(0, 1) + upper.slice(1).toLowerCase() : upper;
}

export const LOWERCASE = /\p{Lowercase}/u;
export const UPPERCASE = /\p{Uppercase}/u;
export const TITLECASE = /\p{Lt}/u;
