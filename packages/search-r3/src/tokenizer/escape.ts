/** Breaks up special tokens in texts so that the library does not match them. */
import type { AddedToken } from './added-tokens.js';

export interface EscapeOptions {
  /** Special tokens, in order of id. */
  special: readonly AddedToken[];
  /** Normalizes a text; undefined if there is no normalizer. */
  normalize: ((text: string) => string) | undefined;
  /** Whether the model's own vocabulary contains the token, so that the model may produce it from normalized text. */
  inModel: (token: string) => boolean;
}

/** One space per match is nearly always enough. A match that is still there after this many rounds is removed. */
const ROUNDS = 8;

/**
 * Returns a function that puts a space after the first character of every special token in a text, so that none
 * remains before or after normalization. If a space does not help (a token of one character, or a normalizer that
 * removes spaces), the token is removed.
 */
export function makeEscape({ special, normalize, inModel }: EscapeOptions): (text: string) => string {
  const contents = special.map(({ content }) => content);
  const plain = contents.length > 0 ? new RegExp(alternatives(contents), 'u') : undefined;
  const after = new Set<string>();
  if (normalize !== undefined) {
    for (const { content, normalized } of special) {
      if (normalized) after.add(normalize(content));
      else if (inModel(content)) after.add(content);
    }
  }
  after.delete('');
  const normal = after.size > 0 ? new RegExp(alternatives([...after]), 'u') : undefined;
  if (plain === undefined) return (text) => text;

  const breakPlain = (text: string, remove: boolean): string => {
    let escaped = text;
    for (const content of contents) escaped = escaped.replaceAll(content, () => broken(content, remove));
    return escaped;
  };
  const holdsNormal = (text: string): boolean =>
    normal !== undefined && normalize !== undefined && normal.test(normalize(text));
  const breakNormal = (text: string, remove: boolean): string => {
    let escaped = '';
    let rest = text;
    while (holdsNormal(rest)) {
      const [start, end] = firstSpan(rest, holdsNormal);
      escaped += rest.slice(0, start) + broken(rest.slice(start, end), remove);
      rest = rest.slice(end);
    }
    return escaped + rest;
  };
  return (text) => {
    // The library replaces lone surrogates, and the replacement could be part of a token.
    let escaped = text.toWellFormed();
    for (let round = 0; ; round++) {
      const remove = round >= ROUNDS;
      if (plain.test(escaped)) escaped = breakPlain(escaped, remove);
      else if (holdsNormal(escaped)) escaped = breakNormal(escaped, remove);
      else return escaped;
    }
  };
}

function broken(token: string, remove: boolean): string {
  if (remove) return '';
  const [first = ''] = token;
  // A token of one character cannot be split.
  return first.length === token.length ? ' ' : `${first} ${token.slice(first.length)}`;
}

/** The first match in a text that has one. It ends the shortest prefix with a match; the text before it is cut off. */
function firstSpan(text: string, holds: (part: string) => boolean): [number, number] {
  const end = least(1, text.length, (n) => holds(text.slice(0, n)));
  const start = end - least(1, end, (n) => holds(text.slice(end - n, end)));
  return [start, end];
}

/** The smallest number from `low` to `high` for which a monotone condition holds; it must hold for `high`. */
function least(low: number, high: number, holds: (n: number) => boolean): number {
  let [from, to] = [low, high];
  while (from < to) {
    const middle = Math.floor((from + to) / 2);
    if (holds(middle)) to = middle;
    else from = middle + 1;
  }
  return to;
}

/** A regular expression that matches any of the texts and tries the longest first. */
export function alternatives(texts: readonly string[]): string {
  return [...new Set(texts)]
    .sort((a, b) => b.length - a.length)
    .map((text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'))
    .join('|');
}
