/**
 * Latent directions: singular vectors against a dense decomposition by one-sided rotations, the weighting by hand, and
 * what latent semantic analysis is known for: words that never meet are alike when they keep the same company.
 */
import {
  latentDirections,
  logIdf,
  rightSingularVectors,
  type SparseRow,
  tfIdfRows,
} from 'search-r3/pretrain';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';

/** Singular values and right singular vectors of a dense matrix (rows), by one-sided Jacobi (Hestenes 1958). */
function jacobi(matrix: readonly (readonly number[])[]): { value: number; vector: number[] }[] {
  const columns = matrix[0]!.length;
  const a = matrix.map((row) => [...row]);
  const v = Array.from({ length: columns }, (_, i) => Array.from({ length: columns }, (__, j) => +(i === j)));
  const turn = (rows: number[][], p: number, q: number, c: number, s: number) => {
    for (const row of rows) {
      const [x, y] = [row[p]!, row[q]!];
      row[p] = c * x - s * y;
      row[q] = s * x + c * y;
    }
  };
  for (let sweep = 0; sweep < 40; sweep++) {
    for (let p = 0; p < columns; p++) {
      for (let q = p + 1; q < columns; q++) {
        const dot = (i: number, j: number) => a.reduce((sum, row) => sum + row[i]! * row[j]!, 0);
        const [pp, qq, pq] = [dot(p, p), dot(q, q), dot(p, q)];
        if (Math.abs(pq) < 1e-15) continue;
        const angle = 0.5 * Math.atan2(2 * pq, qq - pp);
        turn(a, p, q, Math.cos(angle), Math.sin(angle));
        turn(v, p, q, Math.cos(angle), Math.sin(angle));
      }
    }
  }
  return Array.from({ length: columns }, (_, j) => ({
    value: Math.hypot(...a.map((row) => row[j]!)),
    vector: v.map((row) => row[j]!),
  })).sort((x, y) => y.value - x.value);
}

const random = randomStream(3, 'latent test');
/** Rows of unequal lengths; columns 3 and 11 occur nowhere. */
const SPARSE: SparseRow[] = Array.from({ length: 23 }, (_, i) =>
  random
    .sample([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 12], 1 + (i % 5))
    .map((column) => ({ column, value: (1 + column / 3) * (0.5 + random.uniform()) })),
);
const dense = (rows: readonly SparseRow[], columns: number) =>
  rows.map((row) => {
    const full = new Array<number>(columns).fill(0);
    for (const { column, value } of row) full[column] = value;
    return full;
  });

test('latent directions of documents without tokens are refused', async () => {
  const idf = new Float64Array(4);
  for (const [documents, found] of [
    [[], 'none'],
    [[[], []], '2 without any'],
  ] as const) {
    await expect(latentDirections(documents, idf, 3, 0)).rejects.toThrow(
      `latent directions: expected a document with tokens, found ${found}.`,
    );
  }
  const one = await latentDirections([[], [1, 2], []], idf, 3, 0);
  expect(one).toEqual(await latentDirections([[1, 2]], idf, 3, 0));
  expect(one.every(Number.isFinite)).toBe(true);
});

describe('rightSingularVectors', () => {
  test('are those of the dense decomposition, up to sign', async () => {
    const expected = jacobi(dense(SPARSE, 13));
    const found = await rightSingularVectors(SPARSE, 13, 4, 0);
    expect(found).toMatchObject({ rows: 13, width: 4 });
    for (let j = 0; j < 4; j++) {
      const own = Array.from({ length: 13 }, (_, i) => found.data[i * 4 + j]!);
      const cosine = own.reduce((sum, x, i) => sum + x * expected[j]!.vector[i]!, 0);
      expect(Math.abs(cosine), `vector ${j}`).toBeCloseTo(1, 6);
      expect(Math.hypot(...own)).toBeCloseTo(1, 9);
      expect(own[3]).toBe(0);
    }
  });

  test('are no more than the rank', async () => {
    const twice = [SPARSE[4]!, SPARSE[9]!, SPARSE[4]!];
    expect((await rightSingularVectors(twice, 13, 8, 0)).width).toBe(2);
  });

  test('do not depend on where the iteration starts', async () => {
    const of = async (seed: number) => (await rightSingularVectors(SPARSE, 13, 2, seed)).data.map(Math.abs);
    const [one, two] = [await of(1), await of(2)];
    for (const [i, x] of one.entries()) expect(x).toBeCloseTo(two[i]!, 6);
  });
});

test('tf-idf by hand: log tf times idf, rows of length 1', () => {
  const documents = [[1, 1, 2], [1], [1, 4]];
  // idf: ln(4 / 3) of token 1, ln 4 of tokens 2 and 4.
  const [common, rare] = [Math.log(4 / 3), Math.log(4)];
  const first = [(1 + Math.log(2)) * common, rare];
  const length = Math.hypot(...first);
  const rows = tfIdfRows(documents, logIdf(documents, [], 6));
  const told = rows.map((row) => row.map(({ column, value }) => [column, Number(value.toFixed(9))]));
  const expected = [
    [
      [1, first[0]! / length],
      [2, first[1]! / length],
    ],
    [[1, 1]],
    [
      [1, common / Math.hypot(common, rare)],
      [4, rare / Math.hypot(common, rare)],
    ],
  ];
  expect(told).toEqual(
    expected.map((row) => row.map(([column, value]) => [column, Number(value!.toFixed(9))])),
  );
});

describe('latentDirections', async () => {
  // Tokens 0 and 1 never meet; both go with 2 to 4. 5 goes with 6 to 8. Nobody has seen 9.
  const documents = [
    ...[0, 1].flatMap((word) => [2, 3, 4].flatMap((i) => [2, 3, 4].map((j) => [word, word, i, j]))),
    ...[6, 7, 8].flatMap((i) => [6, 7, 8].map((j) => [5, 5, i, j])),
  ];
  const idf = logIdf(documents, [], 10);
  const width = 3;
  const directions = await latentDirections(documents, idf, width, 0);
  const row = (id: number) => Array.from(directions.subarray(id * width, (id + 1) * width));
  const cosine = (a: number, b: number) => row(a).reduce((sum, x, i) => sum + x * row(b)[i]!, 0);

  test('have length 1, also those of words of no document', () => {
    for (let id = 0; id < 10; id++) expect(Math.hypot(...row(id)), `token ${id}`).toBeCloseTo(1, 9);
  });

  test('are alike for words in the same company, and at right angles for words of another', async () => {
    const two = await latentDirections(documents, idf, 2, 0);
    const [a, b, c] = [0, 1, 5].map((id) => Array.from(two.subarray(id * 2, id * 2 + 2)));
    expect(a![0]! * b![0]! + a![1]! * b![1]!).toBeGreaterThan(0.99);
    expect(Math.abs(a![0]! * c![0]! + a![1]! * c![1]!)).toBeLessThan(1e-6);
    expect(Math.abs(cosine(2, 6))).toBeLessThan(1e-6);
  });

  test('leave columns beyond the rank at zero', async () => {
    const wide = await latentDirections([[0], [1], [0, 1]], logIdf([[0], [1], [0, 1]], [], 2), 5, 0);
    for (const id of [0, 1]) expect(Array.from(wide.subarray(id * 5 + 2, id * 5 + 5))).toEqual([0, 0, 0]);
  });

  test('are those of 20,000 documents, spread evenly over more', async () => {
    // Every third says otherwise, and of three two are seen.
    const many = Array.from({ length: 30_000 }, (_, i) => (i % 3 === 2 ? [0, 3] : [i % 3, 2 + (i % 2)]));
    const frequencies = logIdf(many, [], 5);
    const of = (some: readonly number[][]) => latentDirections(some, frequencies, 2, 0);
    const found = await of(many);
    expect(found).toEqual(await of(many.filter((_, i) => i % 3 !== 2)));
    expect(found).not.toEqual(await of(many.slice(0, 20_000)));
  });
});
