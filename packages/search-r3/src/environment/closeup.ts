/**
 * A close look at the documents that may matter to the rewards: how they score, how uncertain that is, where the
 * positives stand among them, and what each stale one is worth encoding.
 */
import type { ExactIndex, SearchResult } from '../vectors/index.js';
import type { GradedRow } from './corpus.js';
import type { RefreshStep } from './step.js';
import type { Uncertainty } from './uncertainty.js';
import { type Boundary, boundaryOf, type Valuation, valuate } from './value.js';

export interface Closeup extends Valuation {
  /** Stale ones first. */
  rows: readonly number[];
  /** How many of these are stale. */
  stale: number;
  /** [rollouts * rows]. */
  scores: Float32Array;
  /** Standard deviations of scores of 0 by row, 0 for fresh ones, and for all before anything was learnt of errors. */
  deviations: Float32Array;
  boundaries: readonly Boundary[];
  /** Share of the positives, each once per rollout, that are not looked at. */
  unseen: number;
  /** See `Candidates`. */
  depth: number;
}

/** Where nothing is stale. */
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
  /** The positives, and what stood before those that are looked at by the first drift of the step; ascending. */
  rows: readonly number[];
  /** By rollout: positives that score less are not looked at. */
  floors: Float32Array;
  /** How many of the best of each rollout these are at least; Infinity: they are all. */
  depth: number;
}

/** Rows looked at in a corpus that is too large to be looked at whole: what a search gives in the time of its scan. */
const NEAR = 8192;

/**
 * All rows of a corpus of up to `most`; of a larger one the positives and those nearest to some rollout, as many of each
 * as make `NEAR` together, or `most` if that is less. There, positives further down their rankings are left out: what one
 * place is worth to them is little, but they may move by many. Where nothing is stale there is nothing to look at.
 *
 * @param queries the rollouts, as the vectors in the index are to be searched: before these are moved, turned by the
 *   transposed map.
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
  // Rankings of one group have most of their first documents in common.
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

/** How many of the best of each query are at most `most` different rows together; at least one. */
function depthOf({ rows, k }: SearchResult, most: number): number {
  const seen = new Set<number>();
  for (let depth = 0; depth < k; depth++) {
    for (let at = depth; at < rows.length; at += k) seen.add(rows[at] as number);
    if (seen.size > most) return Math.max(1, depth);
  }
  return k;
}

/**
 * Looks at candidates, stale ones as `predict` has them.
 *
 * @param scratch an index to score in.
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
  return relevant.flatMap((own, rollout) => {
    const start = rollout * rows.length;
    const grades = own.map(({ grade }) => grade);
    return own.map(({ row, grade }) => {
      const score = scores[start + (columns.get(row) as number)] as number;
      const rank = countFrom(scores, start, start + rows.length, score);
      return boundaryOf(rollout, { score, rank }, grade, grades, cut);
    });
  });
}

/** How many scores of a range are at least `least`. */
function countFrom(scores: Float32Array, start: number, end: number, least: number): number {
  let count = 0;
  for (let i = start; i < end; i++) if ((scores[i] as number) >= least) count++;
  return count;
}

/** Of the best of a rollout that were looked at, the share whose places the rest, not looked at, does not reach. */
const SETTLED = 0.5;

/**
 * By rollout, the ranks of its relevant documents where all of them stand well within what was looked at; of those with
 * equal scores the first one ranks first.
 */
export function ranksOf(
  { boundaries, depth }: Closeup,
  relevant: readonly (readonly GradedRow[])[],
): (readonly number[] | undefined)[] {
  const byRollout = relevant.map((): Boundary[] => []);
  for (const boundary of boundaries) byRollout[boundary.rollout]?.push(boundary);
  return byRollout.map((own, rollout) => {
    if (own.length < (relevant[rollout] as readonly GradedRow[]).length) return undefined;
    if (own.some(({ rank }) => rank > SETTLED * depth)) return undefined;
    return own.map(
      ({ score, rank }, i) => rank - own.filter((other, j) => j > i && other.score === score).length,
    );
  });
}
