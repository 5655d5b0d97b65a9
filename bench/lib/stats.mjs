/** Summaries of repeated measurements: medians, because machines that run other things give outliers. */

/** The median (mean of the middle two for an even count). Errors: RangeError for no values. */
export function median(values) {
  if (values.length === 0) throw new RangeError('median: expected at least one value');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median, extremes and number of values. */
export const summary = (values) => ({
  median: median(values),
  lowest: Math.min(...values),
  highest: Math.max(...values),
  count: values.length,
});

/**
 * Measures two things in turn, so that whatever else the machine does meets both: A B, B A, A B, ... `ours` and
 * `theirs` are functions that measure once and return a number (a rate: more is better), possibly as a promise.
 *
 * Returns { ours, theirs, ratio }, each a `summary`; ratio is over the rounds' ours / theirs.
 */
export async function interleaved({ rounds, ours, theirs, log = () => {} }) {
  const values = { ours: [], theirs: [] };
  const measure = { ours, theirs };
  for (let round = 0; round < rounds; round++) {
    for (const side of round % 2 === 0 ? ['ours', 'theirs'] : ['theirs', 'ours']) {
      values[side].push(await measure[side]());
    }
    const [a, b] = [values.ours[round], values.theirs[round]];
    log(
      `round ${round + 1} of ${rounds}: ${a.toPrecision(4)} against ${b.toPrecision(4)}: ${(a / b).toFixed(2)}`,
    );
  }
  return {
    ours: summary(values.ours),
    theirs: summary(values.theirs),
    ratio: summary(values.ours.map((value, round) => value / values.theirs[round])),
  };
}

/** A number with at most `digits` significant digits, for JSON lines that people read; objects member by member. */
export function rounded(value, digits = 4) {
  if (typeof value === 'number') return Number.isFinite(value) ? Number(value.toPrecision(digits)) : value;
  if (Array.isArray(value)) return value.map((element) => rounded(element, digits));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, rounded(member, digits)]));
}
