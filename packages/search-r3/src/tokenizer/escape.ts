/** Special tokens in texts: found as the library would find them, and broken so that it does not. */
import type { AddedToken } from './added-tokens.js';

export interface EscapeOptions {
  /** Special tokens, in the order of their ids. */
  special: readonly AddedToken[];
  /** Text as the normalizer makes it; undefined where there is none. */
  normalize: ((text: string) => string) | undefined;
  /** Whether the model itself has the token, and may make it of normalised text. */
  inModel: (token: string) => boolean;
}

/** A space at every place where one is found is nearly always enough; what is left after some rounds is taken out. */
const ROUNDS = 8;

/**
 * A function that puts a space behind the first character of every special token in a text, so that no special token is
 * left in it, before or after the normalizer. Where a space does not help (a token of one character, or a normalizer
 * that takes spaces out) the token is removed.
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
    if (!plain.test(text)) return text;
    let escaped = text;
    for (const content of contents) escaped = escaped.replaceAll(content, () => broken(content, remove));
    return escaped;
  };
  const breakNormal = (text: string, remove: boolean): string => {
    if (normal === undefined || normalize === undefined) return text;
    let escaped = '';
    let rest = text;
    for (;;) {
      const span = firstSpan(rest, (part) => normal.test(normalize(part)));
      if (span === undefined) return escaped + rest;
      const [start, end] = span;
      escaped += rest.slice(0, start) + broken(rest.slice(start, end), remove);
      rest = rest.slice(end);
    }
  };
  return (text) => {
    // What the library makes of lone surrogates could be part of a token.
    let escaped = text.toWellFormed();
    for (let round = 0; ; round++) {
      const before = escaped;
      escaped = breakNormal(breakPlain(escaped, round >= ROUNDS), round >= ROUNDS);
      if (escaped === before) return escaped;
    }
  };
}

function broken(token: string, remove: boolean): string {
  if (remove) return '';
  const [first = ''] = token;
  // A token of one character has no inside.
  return first.length === token.length ? ' ' : `${first} ${token.slice(first.length)}`;
}

/** The shortest beginning that holds a match, without what it does not take before it. */
function firstSpan(text: string, holds: (part: string) => boolean): [number, number] | undefined {
  if (text === '' || !holds(text)) return undefined;
  const end = least(1, text.length, (n) => holds(text.slice(0, n)));
  const start = end - least(1, end, (n) => holds(text.slice(end - n, end)));
  return [start, end];
}

/** The least number from `low` to `high` for which something holds, if it holds for all above; it does for `high`. */
function least(low: number, high: number, holds: (n: number) => boolean): number {
  let [from, to] = [low, high];
  while (from < to) {
    const middle = Math.floor((from + to) / 2);
    if (holds(middle)) to = middle;
    else from = middle + 1;
  }
  return to;
}

/** A regular expression that finds one of the texts, at every place the longest. */
export function alternatives(texts: readonly string[]): string {
  return [...new Set(texts)]
    .sort((a, b) => b.length - a.length)
    .map((text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'))
    .join('|');
}
