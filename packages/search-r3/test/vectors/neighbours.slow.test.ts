import fc from 'fast-check';
import { InputError, randomStream, type State } from 'search-r3/run';
import { AnnIndex, ExactIndex, NeighbourGraph } from 'search-r3/vectors';
import { afterEach, describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { dot, integerMatrix, ordered, rowOf, unitMatrix } from './brute-force.js';

const dimension = 4;
const open: (AnnIndex | ExactIndex)[] = [];
afterEach(async () => {
  for (const index of open.splice(0)) await index.dispose();
});

async function exactIndex(matrix: Float32Array): Promise<ExactIndex> {
  const index = await ExactIndex.create(dimension);
  open.push(index);
  index.setAll(matrix, matrix.length / dimension);
  return index;
}

/** The neighbours of every row by definition, in float64. */
function byDefinition(list: readonly (ArrayLike<number> | undefined)[], k: number): number[][] {
  return list.map((own, row) => {
    if (own === undefined) return [];
    const scores = list.map((other, i) => (other === undefined || i === row ? undefined : dot(own, other)));
    return ordered(scores).slice(0, k);
  });
}

const listsOf = (graph: NeighbourGraph) =>
  Array.from({ length: graph.size }, (_, row) => [...graph.neighbours(row)]);

const rowsOf = (matrix: Float32Array): (Float32Array | undefined)[] =>
  Array.from({ length: matrix.length / dimension }, (_, row) => rowOf(matrix, row, dimension).slice());

test.each([
  [0, 3],
  [1, 3],
  [5, 3],
  [4, 30],
  [600, 7],
])('neighbours of %i rows, %i each, ties included', async (rows, k) => {
  const matrix = integerMatrix(randomStream(1, rows), rows, dimension);
  const graph = await NeighbourGraph.build(await exactIndex(matrix), { k });
  expect(listsOf(graph)).toEqual(byDefinition(rowsOf(matrix), k));
});

test('after any changes, and after a checkpoint, the lists are those of a new graph', async () => {
  const vector = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: dimension, maxLength: dimension });
  const change = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), at: fc.nat(), vector }),
    fc.record({ kind: fc.constant('append' as const), vector }),
    fc.record({ kind: fc.constant('remove' as const), at: fc.nat() }),
  );
  const input = [
    fc.integer(),
    fc.integer({ min: 1, max: 60 }),
    fc.integer({ min: 1, max: 6 }),
    fc.integer({ min: 0, max: 6 }),
    fc.array(fc.array(change, { minLength: 1, maxLength: 10 }), { maxLength: 6 }),
  ] as const;
  const index = await exactIndex(new Float32Array(0));
  await fc.assert(
    fc.asyncProperty(...input, async (seed, rows, k, reserve, rounds) => {
      const matrix = integerMatrix(randomStream(seed), rows, dimension);
      index.setAll(matrix, rows);
      const list = rowsOf(matrix);
      let graph = await NeighbourGraph.build(index, { k, reserve });
      for (const [round, changes] of rounds.entries()) {
        const changed: number[] = [];
        for (const one of changes) {
          const row = one.kind === 'append' ? list.length : one.at % list.length;
          switch (one.kind) {
            case 'set':
              index.set(row, Float32Array.from(one.vector));
              list[row] = Float32Array.from(one.vector);
              break;
            case 'append':
              index.append(Float32Array.from(one.vector));
              list.push(Float32Array.from(one.vector));
              break;
            case 'remove':
              if (list[row] === undefined) break;
              index.remove(row);
              list[row] = undefined;
              break;
            default:
              one satisfies never;
          }
          changed.push(row);
        }
        await graph.update(index, changed);
        expect(listsOf(graph)).toEqual(byDefinition(list, k));
        if (round % 2 === 0) graph = NeighbourGraph.restore(graph.state());
      }
    }),
    { seed: 3, numRuns: scaled(40, 1000) },
  );
});

test('a reserve saves searches', async () => {
  const random = randomStream(4);
  const matrix = unitMatrix(random, 400, dimension);
  const counts: number[] = [];
  for (const reserve of [0, 10]) {
    const index = await exactIndex(matrix);
    const graph = await NeighbourGraph.build(index, { k: 5, reserve });
    const list = rowsOf(matrix);
    for (let row = 0; row < 20; row++) {
      const vector = unitMatrix(random, 1, dimension);
      list[row] = vector;
      index.set(row, vector);
    }
    const { renewed, searched } = await graph.update(
      index,
      Array.from({ length: 20 }, (_, row) => row),
    );
    expect(renewed).toBe(20);
    counts.push(searched);
    expect(listsOf(graph)).toEqual(byDefinition(list, 5));
  }
  expect(counts[0]).toBeGreaterThan(20);
  expect(counts[1]).toBe(0);
});

test('built on an approximate index, lists are as good as its recall', async () => {
  const matrix = unitMatrix(randomStream(5), 1500, dimension);
  const index = await AnnIndex.create(dimension, { graphFrom: 1, searchWidth: 32 });
  open.push(index);
  await index.setAll(matrix, 1500);
  await index.rebuild();
  const graph = await NeighbourGraph.build(index, { k: 6 });
  expect(index.graph.builds).toBe(1);
  const wanted = byDefinition(rowsOf(matrix), 6);
  const hits = wanted.map((own, row) => own.filter((other) => graph.neighbours(row).includes(other)).length);
  expect(hits.reduce((a, b) => a + b) / (1500 * 6)).toBeGreaterThan(0.97);
});

describe('refusals', () => {
  const state = async (): Promise<State> =>
    (
      await NeighbourGraph.build(await exactIndex(integerMatrix(randomStream(6), 9, dimension)), { k: 2 })
    ).state();

  test.each<[string, (state: State) => State, RegExp]>([
    ['another kind', (s) => ({ ...s, metadata: { kind: 'exact' } }), /neighbour graph state: kind: /],
    [
      'a wrong size',
      (s) => ({ ...s, metadata: { ...(s.metadata as object), size: 8 } }),
      /rows: expected 96/,
    ],
    [
      'no bounds',
      ({ metadata, arrays: { boundRows: _, ...arrays } }) => ({ metadata, arrays }),
      /boundRows: .*none/,
    ],
    [
      'an unknown row',
      ({ metadata, arrays }) => ({
        metadata,
        arrays: { ...arrays, rows: (arrays.rows as Int32Array).with(3, 9) },
      }),
      /rows: expected rows below 9, found 9/,
    ],
  ])('%s', async (_name, change, message) => {
    const changed = change(await state());
    expect(() => NeighbourGraph.restore(changed)).toThrow(InputError);
    expect(() => NeighbourGraph.restore(changed)).toThrow(message);
  });

  test('an unknown row, and invalid options', async () => {
    const graph = NeighbourGraph.restore(await state());
    expect(() => graph.neighbours(9)).toThrow(new RangeError('neighbours: expected a row below 9, found 9'));
    const index = await exactIndex(new Float32Array(0));
    await expect(NeighbourGraph.build(index, { k: 0 })).rejects.toThrow(/NeighbourGraph options: k: /);
  });
});
