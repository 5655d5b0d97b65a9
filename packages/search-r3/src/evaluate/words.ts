/**
 * Turns text of every script into words. Words are runs of letters, marks and digits. Scripts without spaces are cut
 * further: Chinese, Japanese and Korean into overlapping bigrams, as in Lucene's CJKAnalyzer; Thai, Lao, Khmer and
 * Burmese with the dictionaries of `Intl.Segmenter`.
 */

/** Scripts cut by dictionary. */
export const SEGMENTED_SCRIPTS = ['Thai', 'Lao', 'Khmer', 'Burmese'] as const;
export type SegmentedScript = (typeof SEGMENTED_SCRIPTS)[number];

const CJK = '\\p{scx=Han}\\p{scx=Hiragana}\\p{scx=Katakana}\\p{scx=Hangul}';
const SEGMENTED = '\\p{sc=Thai}\\p{sc=Lao}\\p{sc=Khmer}\\p{sc=Myanmar}';

/** Invisible characters that do not end a word: joiners, soft hyphens, marks of direction, variation selectors. */
const UNSEEN = /\p{Variation_Selector}|[\u00ad\u061c\u200c-\u200f\u2060\ufeff]/gu;
/** At least one letter or digit. */
const WORD = /\p{M}*[\p{L}\p{N}][\p{L}\p{M}\p{N}]*/gu;
const UNSPACED = new RegExp(`[${CJK}${SEGMENTED}]`, 'u');
const PIECE = new RegExp(
  `(?<cjk>(?:[${CJK}]\\p{M}*)+)|(?<segmented>[${SEGMENTED}]+)|(?:(?![${CJK}${SEGMENTED}]).)+`,
  'gu',
);
const CHARACTER = /\P{M}\p{M}*/gu;

/** NFKC decomposes the Thai and Lao vowel am, which dictionaries contain only as one character. */
const AM = /\u0e4d([\u0e48-\u0e4b]?)\u0e32|\u0ecd([\u0ec8-\u0ecb]?)\u0eb2/g;
const composedAm = (found: string, thai = '', lao = '') =>
  found.startsWith('\u0e4d') ? `${thai}\u0e33` : `${lao}\u0eb3`;

const segmenter = new Intl.Segmenter('th', { granularity: 'word' });

/** NFKC, which unifies half-width and full-width forms, without invisible characters. */
export const normaliseText = (text: string): string => text.normalize('NFKC').replace(UNSEEN, '');

/** The words of a text that `normaliseText` returned; case is kept. */
export function wordsIn(text: string): string[] {
  const words = text.match(WORD) ?? [];
  return words.some((word) => UNSPACED.test(word)) ? words.flatMap(cutUnspaced) : words;
}

/** Cuts the parts of a word that are in scripts without spaces. */
function cutUnspaced(word: string): string[] {
  if (!UNSPACED.test(word)) return [word];
  return [...word.matchAll(PIECE)].flatMap(({ 0: piece, groups }) => {
    if (groups?.cjk !== undefined) return bigrams(piece);
    return groups?.segmented === undefined ? [piece] : segments(piece.replace(AM, composedAm));
  });
}

/** Overlapping pairs of characters; a single character stays alone. */
function bigrams(run: string): string[] {
  const characters = run.match(CHARACTER) ?? [];
  if (characters.length < 2) return characters;
  return characters.slice(1).map((character, i) => `${characters[i]}${character}`);
}

function segments(run: string): string[] {
  return Array.from(segmenter.segment(run))
    .filter(({ isWordLike }) => isWordLike)
    .map(({ segment }) => segment);
}

/** Which scripts in a text `wordsIn` cuts. */
export function unspacedScripts(text: string): { cjk: boolean; segmented: SegmentedScript[] } {
  if (!UNSPACED.test(text)) return { cjk: false, segmented: [] };
  return {
    cjk: IS_CJK.test(text),
    segmented: SEGMENTED_SCRIPTS.filter((script) => IS_SCRIPT[script].test(text)),
  };
}

/** A letter or digit, because texts in other scripts contain East Asian punctuation too. */
const IS_CJK = new RegExp(`(?=[\\p{L}\\p{N}])[${CJK}]`, 'u');
const IS_SCRIPT: Record<SegmentedScript, RegExp> = {
  Thai: /\p{sc=Thai}/u,
  Lao: /\p{sc=Lao}/u,
  Khmer: /\p{sc=Khmer}/u,
  Burmese: /\p{sc=Myanmar}/u,
};

/** Lower case. The dot of a Turkish capital I is dropped, because the small i already has one. */
export const lowerCase = (text: string): string => text.toLowerCase().replaceAll('i\u0307', 'i');
