/**
 * A close look at the documents that may affect the rewards: their scores, the uncertainty of these, the ranks of the
 * positives among them, and the value of encoding each stale one.
 */
import type { ExactIndex, SearchResult } from '../vectors/index.js';
import { type GradedRow, withoutOwn } from './corpus.js';
import type { RefreshStep } from './step.js';
import type { Uncertainty } from './uncertainty.js';
import { type Boundary, boundaryOf, type Valuation, valuate } from './value.js';

export interface Closeup extends Valuation {
  /** The documents looked at, stale ones first. */
  rows: readonly number[];
  /** How many of `rows` are stale. */
  stale: number;
  /** [rollouts * rows]. */
  scores: Float32Array;
  /**
   * By row, standard deviation of a score of 0; 0 for fresh rows, and for all before anything is known about errors.
   */
  deviations: Float32Array;
  boundaries: readonly Boundary[];
  /** Share of the positives, counted once per rollout, that are not looked at. */
  unseen: number;
  /** See `Candidates`. */
  depth: number;
}

/** The close-up when nothing is stale. */
const NOTHING: Closeup = {
  rows: [],
  stale: 0,
  scores: new Float32Array(),
  deviations: new Float32Array(),
  boundaries: [],
  unseen: 0,
  depth: 0,
  values: new Float64Array(),
  expectedError: 0,
};

/** The rows to look at. */
export interface Candidates {
  /** The positives, and the documents that ranked best by the step's first drift; ascending. */
  rows: readonly number[];
  /** By rollout: positives with lower scores are not looked at. */
  floors: Float32Array;
  /** `rows` has at least this many of the best documents of each rollout; Infinity if it has all documents. */
  depth: number;
}

/** Rows looked at in a corpus too large to look at as a whole; finding this many costs no more than the scan. */
const NEAR = 8192;

/**
 * All rows of a corpus of up to `most` documents. Of a larger corpus, the positives and the nearest documents of each
 * rollout, `NEAR` (or `most`, if that is less) in all. Positives that rank behind these are left out: one place is
 * worth little to them, but they may move by many. No rows if nothing is stale.
 *
 * @param queries the rollouts in the space of the index: before its vectors are moved, times the transposed map.
 */
export async function candidatesOf(
  step: RefreshStep,
  queries: Float32Array,
  most: number,
): Promise<Candidates> {
  const { store } = step;
  const count = step.relevant.length;
  const floors = new Float32Array(count).fill(Number.NEGATIVE_INFINITY);
  const all = (rows: readonly number[]) => ({ rows, floors, depth: Number.POSITIVE_INFINITY });
  if (!step.hasStale()) return all([]);
  if (store.live <= most) return all(step.rows());
  if (count === 0) return all([]);
  const near = Math.min(most, NEAR);
  // The rankings of one group share most of their top documents: search deeper than an even share.
  const found = await store.search(queries, Math.min(store.live, Math.ceil((4 * near) / count)));
  const depth = depthOf(found, near);
  const rows = new Set(step.positives());
  for (let rollout = 0; rollout < count; rollout++) {
    const start = rollout * found.k;
    floors[rollout] = found.scores[start + depth - 1] as number;
    for (const row of found.rows.subarray(start, start + depth)) rows.add(row);
  }
  return { rows: [...rows].sort((a, b) => a - b), floors, depth };
}

/** Largest depth at which the top rows of all queries are at most `most` distinct rows; at least 1. */
function depthOf({ rows, k }: SearchResult, most: number): number {
  const seen = new Set<number>();
  for (let depth = 0; depth < k; depth++) {
    for (let at = depth; at < rows.length; at += k) seen.add(rows[at] as number);
    if (seen.size > most) return Math.max(1, depth);
  }
  return k;
}

/**
 * Looks at the candidates; `predict` gives the vectors of stale ones.
 *
 * @param scratch an index for the scoring.
 */
export async function lookClosely(
  step: RefreshStep,
  candidates: Candidates,
  predict: (stale: readonly number[]) => Promise<Float32Array>,
  uncertainty: Uncertainty,
  scratch: ExactIndex,
  cut: number | undefined,
): Promise<Closeup> {
  const { store, version, rollouts, relevant } = step;
  const stale = candidates.rows.filter((row) => step.isStale(row));
  if (stale.length === 0) return NOTHING;
  const fresh = candidates.rows.filter((row) => !step.isStale(row));
  const rows = [...stale, ...fresh];
  scratch.setAll(await predict(stale), stale.length);
  scratch.append(await store.gather(fresh));
  const scores = relevant.length === 0 ? new Float32Array() : await scratch.scores(rollouts);
  const deviations = new Float32Array(rows.length);
  for (const [i, row] of stale.entries()) deviations[i] = uncertainty.deviation(version - store.version(row));
  const all = findBoundaries(step, rows, scores, cut);
  const boundaries = all.filter(({ rollout, score }) => score >= (candidates.floors[rollout] as number));
  return {
    rows,
    stale: stale.length,
    scores,
    deviations,
    boundaries,
    unseen: all.length === 0 ? 0 : 1 - boundaries.length / all.length,
    depth: candidates.depth,
    ...valuate(scores, deviations, boundaries, relevant.length),
  };
}

function findBoundaries(
  { relevant }: RefreshStep,
  rows: readonly number[],
  scores: Float32Array,
  cut: number | undefined,
): Boundary[] {
  const columns = new Map(rows.map((row, i) => [row, i]));
  return relevant.flatMap((all, rollout) => {
    const start = rollout * rows.length;
    const scoreOf = ({ row }: GradedRow) => scores[start + (columns.get(row) as number)] as number;
    const positives = withoutOwn(all);
    const [first] = all;
    // The document that is the query takes no place.
    const own = first !== undefined && first.grade === 0 ? scoreOf(first) : Number.NEGATIVE_INFINITY;
    const grades = positives.map(({ grade }) => grade);
    return positives.map((positive) => {
      const { grade } = positive;
      const score = scoreOf(positive);
      const rank = countFrom(scores, start, start + rows.length, score) - (own >= score ? 1 : 0);
      return boundaryOf(rollout, { score, rank }, grade, grades, cut);
    });
  });
}

/** Number of scores in a range that are at least `least`. */
function countFrom(scores: Float32Array, start: number, end: number, least: number): number {
  let count = 0;
  for (let i = start; i < end; i++) if ((scores[i] as number) >= least) count++;
  return count;
}

/** Share of a rollout's documents looked at, from the top, whose ranks no other document can change. */
const SETTLED = 0.5;

/**
 * By rollout, the ranks of its relevant documents, or undefined unless all of them are well within what was looked at.
 * For equal scores, the first ranks first.
 */
export function ranksOf(
  { boundaries, depth }: Closeup,
  relevant: readonly (readonly GradedRow[])[],
): (readonly number[] | undefined)[] {
  const byRollout = relevant.map((): Boundary[] => []);
  for (const boundary of boundaries) byRollout[boundary.rollout]?.push(boundary);
  return byRollout.map((own, rollout) => {
    if (own.length < withoutOwn(relevant[rollout] as readonly GradedRow[]).length) return undefined;
    if (own.some(({ rank }) => rank > SETTLED * depth)) return undefined;
    return own.map(
      ({ score, rank }, i) => rank - own.filter((other, j) => j > i && other.score === score).length,
    );
  });
}
