/** The environment's maths in float64, from the definitions: drift, uncertainty and value of information. */
import { unit } from './drifting.js';

type Row = readonly number[];

export const dot = (a: Row, b: Row) => a.reduce((total, x, i) => total + x * b[i]!, 0);

/** Solves A X = B by Gauss-Jordan elimination with pivots. */
export function solve(a: number[][], b: number[][]): number[][] {
  const n = a.length;
  const rows = a.map((own, i) => [...own, ...b[i]!]);
  for (let i = 0; i < n; i++) {
    const pivot = rows
      .slice(i)
      .reduce((best, own, j) => (Math.abs(own[i]!) > Math.abs(rows[best]![i]!) ? i + j : best), i);
    [rows[i], rows[pivot]] = [rows[pivot]!, rows[i]!];
    const scale = rows[i]![i]!;
    rows[i] = rows[i]!.map((x) => x / scale);
    for (let j = 0; j < n; j++) {
      if (j !== i) rows[j] = rows[j]!.map((x, k) => x - rows[j]![i]! * rows[i]![k]!);
    }
  }
  return rows.map((own) => own.slice(n));
}

export interface Pair {
  document: number;
  old: Row;
  fresh: Row;
}

interface KernelOptions {
  lambda?: number | undefined;
  ridge?: number | undefined;
  sharpness?: number | undefined;
  kernel?: boolean | undefined;
  /** Share of the cosine of words, and that cosine of two documents. */
  words?: number | undefined;
  cosine?: (a: number, b: number) => number;
}

/** The map and the kernel of some pairs. */
export function referenceDrift(pairs: readonly Pair[], options: KernelOptions) {
  const { lambda = 1, ridge = 1, sharpness = 8, kernel = true, words = 0.5, cosine } = options;
  const axes = [...pairs[0]!.old.keys()];
  // The ridge stays that of all pairs, as in the closed form of leave-one-out.
  const strength = (lambda * pairs.length) / axes.length;
  const fit = (own: readonly Pair[]) => {
    const products = (other: (pair: Pair) => Row) =>
      axes.map((i) =>
        axes.map((j) =>
          own.reduce((total, pair) => total + pair.old[i]! * other(pair)[j]!, i === j ? strength : 0),
        ),
      );
    return solve(
      products(({ old }) => old),
      products(({ fresh }) => fresh),
    );
  };
  const times = (v: Row, matrix: number[][]) =>
    axes.map((j) => v.reduce((total, value, i) => total + value * matrix[i]![j]!, 0));
  const matrix = fit(pairs);
  /** What the map of all other pairs leaves. */
  const residuals = pairs.map((own) => {
    const predicted = times(own.old, fit(pairs.filter((other) => other !== own)));
    return own.fresh.map((value, k) => value - predicted[k]!);
  });
  const share = cosine === undefined ? 0 : words;
  const alike = (document: number, vector: Row, other: Pair) =>
    share * (cosine?.(document, other.document) ?? 0) +
    (1 - share) * Math.exp(sharpness * (dot(vector, other.old) - 1));
  const gram = pairs.map((own, i) =>
    pairs.map((other, j) => alike(own.document, own.old, other) + (i === j ? ridge : 0)),
  );
  const coefficients = solve(gram, residuals);
  const move = (document: number, vector: Row): number[] => {
    const moved = unit(times(vector, matrix));
    if (!kernel) return moved;
    return unit(
      moved.map(
        (value, k) =>
          value +
          pairs.reduce((total, pair, i) => total + alike(document, vector, pair) * coefficients[i]![k]!, 0),
      ),
    );
  };
  return { residuals, move, times: (vector: Row) => times(vector, matrix) };
}

/** Cosines of documents as binary vectors of words, weighted by the logarithm of their inverse document frequency. */
export function wordCosines(counted: readonly string[], texts: readonly string[] = counted) {
  const sets = (all: readonly string[]) => all.map((text) => new Set(text.split(' ')));
  const documents = sets(counted);
  const weight = (word: string) =>
    Math.log(documents.length / documents.filter((own) => own.has(word)).length);
  const own = sets(texts);
  const product = (a: number, b: number) =>
    [...own[a]!].reduce((total, word) => total + (own[b]!.has(word) ? weight(word) ** 2 : 0), 0);
  return (a: number, b: number) => product(a, b) / Math.sqrt(product(a, a) * product(b, b));
}

/** The share of an error tangent to the unit sphere that a query sees, by its score. */
const across = (score: number) => Math.sqrt(Math.max(0.01, 1 - score ** 2));

/**
 * Variance of a score of 0 after one step: mean over rollouts of the sum over pairs, divided by the sum of the pairs'
 * effective ages. `fresh` are the pairs' new vectors, `residuals` their prediction errors.
 */
export function referenceVariance(
  fresh: readonly Row[],
  residuals: readonly Row[],
  ages: readonly number[],
  queries: readonly Row[],
  ageLimit = 8,
): number {
  const squares = queries.flatMap((query) =>
    residuals.map((own, i) => {
      const predicted = fresh[i]!.map((x, k) => x - own[k]!);
      return (dot(query, own) / across(dot(query, predicted))) ** 2;
    }),
  );
  const steps = ages.reduce((total, age) => total + Math.min(age, ageLimit), 0);
  return squares.reduce((a, b) => a + b, 0) / queries.length / steps;
}

/** Integral of a fast-falling even function from `z` on, by Simpson's rule. */
function integral(density: (x: number) => number, z: number): number {
  const steps = 600;
  const width = 12 / steps;
  let sum = 0;
  for (let i = 0; i <= steps; i++) {
    const factor = i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2;
    sum += factor * density(z + i * width);
  }
  return (sum * width) / 3;
}

const tailOf = (density: (x: number) => number) => {
  const half = integral(density, 0);
  return (z: number) => integral(density, z) / (2 * half);
};

/** P(X > z) of a standard normal, and of Student's t with 34 degrees of freedom, scaled to variance 1. */
const normalTail = tailOf((x) => Math.exp(-(x * x) / 2));
const studentTail = tailOf((x) => (1 + (x * x) / 32) ** (-35 / 2));

export interface Look {
  /** By rollout, by document. */
  scores: readonly Row[];
  /** Of scores of 0, by document; 0 for fresh ones. */
  deviations: Row;
  /** By rollout, of grade 1. */
  positives: readonly number[];
  cut?: number;
  /** Documents looked at, all by default, and by rollout the score from which positives are. */
  looked?: ReadonlySet<number>;
  floors?: Row;
}

/** Values of the documents and the expected error of the rewards. */
export function referenceValues(look: Look): { values: number[]; expectedError: number } {
  const { scores, deviations, positives, cut = Number.POSITIVE_INFINITY, looked, floors } = look;
  const worth = (rank: number) => (rank <= cut ? 1 / Math.log2(rank + 1) : 0);
  const values = deviations.map(() => 0);
  const documents = [...deviations.keys()].filter((i) => deviations[i] === 0 || (looked?.has(i) ?? true));
  let error = 0;
  for (const [rollout, positive] of positives.entries()) {
    const own = scores[rollout]!;
    const boundary = own[positive]!;
    if (boundary < (floors?.[rollout] ?? Number.NEGATIVE_INFINITY)) continue;
    const rank = documents.filter((i) => own[i]! >= boundary).length;
    const gain = rank === 1 ? 0 : worth(rank - 1) - worth(rank);
    const loss = worth(rank) - worth(rank + 1);
    const crossings = documents
      .filter((i) => deviations[i]! > 0)
      .map((i) => {
        const distance = Math.abs(own[i]! - boundary) / (deviations[i]! * across(own[i]!));
        return { i, before: own[i]! >= boundary, distance, p: studentTail(distance) };
      });
    for (const { i, before, distance } of crossings) {
      values[i]! += normalTail(distance) * (before ? gain : loss);
    }
    const sum = (chosen: typeof crossings) => chosen.reduce((total, { p }) => total + p, 0);
    const up = sum(crossings.filter(({ before }) => before));
    const down = sum(crossings.filter(({ before }) => !before));
    const variance = crossings.reduce((total, { p }) => total + p * (1 - p), 0);
    const places = Math.min(up + down, Math.sqrt(variance + (up - down) ** 2));
    if (up + down > 0) error += (places * (up * gain + down * loss)) / (up + down);
  }
  return { values, expectedError: error / positives.length };
}

/** The documents looked at: of every rollout the same number of best ones, at most `most` distinct documents in all. */
export function referenceCandidates(scores: readonly Row[], most: number) {
  const best = scores.map((own) => [...own.keys()].sort((a, b) => own[b]! - own[a]!));
  const within = (depth: number) => new Set(best.flatMap((own) => own.slice(0, depth)));
  const limit = Math.ceil((4 * most) / scores.length);
  let depth = 1;
  while (depth < limit && within(depth + 1).size <= most) depth++;
  const floors = best.map((own, rollout) => scores[rollout]![own[depth - 1]!]!);
  return { looked: within(depth), floors };
}
