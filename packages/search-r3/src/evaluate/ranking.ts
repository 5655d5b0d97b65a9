/** The order of a ranking, as in trec_eval: score descending, equal scores by document id descending. */

/**
 * Compares two ids as C's `strcmp` compares their UTF-8 bytes (negative: `a` first). JavaScript's own order differs
 * for characters outside the basic plane: UTF-16 puts their surrogates before U+E000 to U+FFFF.
 */
export function compareIds(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return codePointOrder(x) - codePointOrder(y);
  }
  return a.length - b.length;
}

/** Moves surrogates after all other UTF-16 units. */
function codePointOrder(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}

/**
 * Sorts best first. Scores are compared at full precision, as in trec_eval since it stores them as doubles
 * (usnistgov/trec_eval#34 and #38). Older versions, and programs built on them, round scores to floats, which creates
 * ties.
 */
export function compareHits(a: { id: string; score: number }, b: { id: string; score: number }): number {
  if (a.score !== b.score) return a.score > b.score ? -1 : 1;
  return compareIds(b.id, a.id);
}

/** The documents of one query, best first. */
export function rankDocuments(scores: ReadonlyMap<string, number>): { id: string; score: number }[] {
  return Array.from(scores, ([id, score]) => ({ id, score })).sort(compareHits);
}
