/**
 * Directions of tokens, derived from the tokens they occur with. Latent semantic analysis (Deerwester et al. 1990,
 * JASIS 41(6)) takes the right singular vectors of the matrix of documents by tokens. Subspace iteration from random
 * vectors (Halko, Martinsson and Tropp 2011, SIAM Review 53(2), algorithm 4.4) finds them using only products with the
 * sparse matrix.
 */
import { EigenvalueDecomposition, Matrix } from 'ml-matrix';
import { evenly, InputError, inTurns, type LongWorkOptions, randomStream } from '../run/index.js';

/** Subspace iterations. More would change the result less than a different sample of documents does. */
const ITERATIONS = 5;
/** Extra vectors, so that the last of the wanted ones converge too. */
const OVERSAMPLING = 10;
/** The largest number of documents used, evenly spaced. More would add little. */
const MOST_DOCUMENTS = 20_000;
/** Eigenvalues below this share of the largest are noise: they exceed the rank of the matrix. */
const SMALLEST = 1e-12;

/** A row of a sparse matrix: columns and values of its entries. */
export type SparseRow = readonly { readonly column: number; readonly value: number }[];

/** Rows of log tf times idf, scaled to length 1 (Salton and Buckley 1988, the weighting `ltc`). */
export function tfIdfRows(documents: readonly (readonly number[])[], logIdf: Float64Array): SparseRow[] {
  return documents.map((ids) => {
    const counts = new Map<number, number>();
    for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
    const row = [...counts].map(([column, count]) => ({
      column,
      value: (1 + Math.log(count)) * Math.exp(logIdf[column] as number),
    }));
    const length = Math.hypot(...row.map(({ value }) => value));
    return row.map(({ column, value }) => ({ column, value: value / length }));
  });
}

/** A matrix by rows. */
interface Dense {
  readonly data: Float64Array;
  readonly rows: number;
  readonly width: number;
}

const zeros = (rows: number, width: number): Dense => ({ data: new Float64Array(rows * width), rows, width });

/** X'X q, summed over the rows of X. */
async function multiply(rows: readonly SparseRow[], q: Dense, work: LongWorkOptions): Promise<Dense> {
  const { width } = q;
  const result = zeros(q.rows, width);
  const projected = new Float64Array(width);
  const add = (row: SparseRow): void => {
    projected.fill(0);
    for (const { column, value } of row) {
      const from = column * width;
      for (let i = 0; i < width; i++)
        projected[i] = (projected[i] as number) + value * (q.data[from + i] as number);
    }
    for (const { column, value } of row) {
      const to = column * width;
      for (let i = 0; i < width; i++)
        result.data[to + i] = (result.data[to + i] as number) + value * (projected[i] as number);
    }
  };
  await inTurns(rows, { name: 'directions', total: rows.length }, add, work);
  return result;
}

/** a'b; symmetric if b = a or b = X'X a. */
function gram(a: Dense, b: Dense): Matrix {
  const { width } = a;
  const sums = new Float64Array(width * width);
  for (let row = 0; row < a.rows; row++) {
    const at = row * width;
    for (let i = 0; i < width; i++) {
      const x = a.data[at + i] as number;
      if (x === 0) continue;
      for (let j = 0; j < width; j++)
        sums[i * width + j] = (sums[i * width + j] as number) + x * (b.data[at + j] as number);
    }
  }
  return Matrix.from1DArray(width, width, sums);
}

/** Eigenvalues and eigenvectors of a symmetric matrix, largest first, without those that are nearly zero. */
function eigen(symmetric: Matrix): { value: number; vector: number[] }[] {
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(symmetric, {
    assumeSymmetric: true,
  });
  const found = realEigenvalues
    .map((value, i) => ({ value, vector: eigenvectorMatrix.getColumn(i) }))
    .sort((a, b) => b.value - a.value);
  const largest = found[0]?.value ?? 0;
  return found.filter(({ value }) => value > 0 && value > SMALLEST * largest);
}

/** q W, for the given columns of W. */
function combine(q: Dense, columns: readonly (readonly number[])[]): Dense {
  const result = zeros(q.rows, columns.length);
  const byRow = Array.from({ length: q.width }, (_, i) => columns.map((column) => column[i] as number));
  for (let row = 0; row < q.rows; row++) {
    const to = row * result.width;
    for (const [i, weights] of byRow.entries()) {
      const x = q.data[row * q.width + i] as number;
      if (x === 0) continue;
      for (let j = 0; j < weights.length; j++)
        result.data[to + j] = (result.data[to + j] as number) + x * (weights[j] as number);
    }
  }
  return result;
}

/** An orthonormal basis of the same span. */
const orthonormal = (q: Dense): Dense =>
  combine(
    q,
    eigen(gram(q, q)).map(({ value, vector }) => vector.map((x) => x / Math.sqrt(value))),
  );

/**
 * The right singular vectors of the `count` largest singular values, largest first: one row of `width` numbers per
 * column of the matrix. `width` is `count`, or the rank of the matrix if that is lower.
 * @param work reports the part `directions`.
 * @throws InterruptedError when aborted.
 */
export async function rightSingularVectors(
  rows: readonly SparseRow[],
  columns: number,
  count: number,
  seed: number,
  { signal, onProgress }: LongWorkOptions = {},
): Promise<Dense> {
  const random = randomStream(seed, 'singular vectors');
  const start = zeros(columns, Math.min(count + OVERSAMPLING, columns, Math.max(1, rows.length)));
  let q: Dense = { ...start, data: start.data.map(() => random.normal()) };
  const total = (ITERATIONS + 1) * rows.length;
  const multiplied = (iteration: number) =>
    multiply(rows, q, {
      signal,
      onProgress: ({ part, done }) => onProgress?.({ part, done: iteration * rows.length + done, total }),
    });
  for (let i = 0; i < ITERATIONS; i++) q = orthonormal(await multiplied(i));
  const ritz = eigen(gram(q, await multiplied(ITERATIONS)));
  return combine(
    q,
    ritz.slice(0, count).map(({ vector }) => vector),
  );
}

/**
 * A direction of length 1 per token: [vocabulary, width]. Tokens that occur with the same other tokens point the same
 * way. A token that does not occur gets a random direction; columns beyond the rank of the collection are zero.
 * @param logIdf ln idf by token id.
 * @param work as for `rightSingularVectors`.
 * @throws InputError if all documents are empty.
 */
export async function latentDirections(
  documents: readonly (readonly number[])[],
  logIdf: Float64Array,
  width: number,
  seed: number,
  work: LongWorkOptions = {},
): Promise<Float64Array> {
  const filled = documents.filter((ids) => ids.length > 0);
  if (filled.length === 0) {
    const found = documents.length === 0 ? 'none' : `${documents.length} without any`;
    throw new InputError({ source: 'latent directions', expected: 'a document with tokens', found });
  }
  const seen = evenly(filled, MOST_DOCUMENTS);
  const vocabulary = logIdf.length;
  const vectors = await rightSingularVectors(tfIdfRows(seen, logIdf), vocabulary, width, seed, work);
  const random = randomStream(seed, 'latent directions');
  const directions = new Float64Array(vocabulary * width);
  for (let id = 0; id < vocabulary; id++) {
    const own = directions.subarray(id * width, (id + 1) * width);
    own.set(vectors.data.subarray(id * vectors.width, (id + 1) * vectors.width));
    if (own.every((x) => x === 0)) for (let i = 0; i < width; i++) own[i] = random.normal();
    const length = Math.hypot(...own);
    for (let i = 0; i < width; i++) own[i] = (own[i] as number) / length;
  }
  return directions;
}
