import {
  emit,
  f32,
  Graph,
  gatherElements,
  gatherRows,
  gradients,
  i64,
  mul,
  reshape,
  Session,
  type Shape,
  scatterAdd,
  sum,
  type Value,
} from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { checkOperator, numbers } from '../support/check.js';
import { random } from '../support/random.js';
import { at, type Tensor, tabulate } from '../support/tensor.js';

const INDEX_SHAPES: readonly { shape: Shape; size: readonly number[]; values: readonly number[] }[] = [
  { shape: ['N'], size: [6], values: [3, 0, 3, 4, 3, 0] },
  { shape: ['B', 3], size: [2, 3], values: [1, 1, 1, 4, 1, 0] },
  { shape: [], size: [], values: [2] },
  // Negative indices count from the end.
  { shape: [3], size: [3], values: [-1, 4, -5] },
];

test.each(INDEX_SHAPES)('gatherRows at $values', async ({ shape, size, values }) => {
  await checkOperator({
    name: `gatherRows ${values}`,
    sizes: { N: 6, B: 2 },
    inputs: { table: [5, 3] },
    indices: { indices: { shape, values } },
    build: ({ table, indices }) => gatherRows(table as Value, indices as Value),
    reference: ({ table }) =>
      tabulate([...size, 3], (...index) => {
        const flat = index.slice(0, -1).reduce((sofar, i, axis) => sofar * (size[axis] as number) + i, 0);
        const row = values[flat] as number;
        return at(table as Tensor, row < 0 ? row + 5 : row, index.at(-1) as number);
      }),
  });
});

test('gatherRows of a symbolic number of rows', async () => {
  await checkOperator({
    name: 'gatherRows symbolic',
    sizes: { B: 2, S: 3, N: 4 },
    inputs: { states: ['B', 'S', 5] },
    indices: { rows: { shape: ['N'], values: [5, 2, 2, 0] } },
    build: ({ states, rows }) => gatherRows(reshape(states as Value, ['B*S', 5]), rows as Value),
    reference: ({ states }) =>
      tabulate([4, 5], (i, j) => {
        const row = [5, 2, 2, 0][i] as number;
        return at(states as Tensor, Math.floor(row / 3), row % 3, j);
      }),
  });
});

const COLUMNS = [1, 1, 0, 3, 2, 3, 3, 3, -4];
const column = (i: number, j: number) => ((COLUMNS[3 * i + j] as number) + 4) % 4;

test('gatherElements along the last axis', async () => {
  await checkOperator({
    name: 'gatherElements',
    sizes: { B: 3 },
    inputs: { x: ['B', 4] },
    indices: { indices: { shape: ['B', 3], values: COLUMNS } },
    build: ({ x, indices }) => gatherElements(x as Value, indices as Value),
    reference: ({ x }) => tabulate([3, 3], (i, j) => at(x as Tensor, i, column(i, j))),
  });
});

test('scatterAdd along the last axis', async () => {
  await checkOperator({
    name: 'scatterAdd last',
    sizes: { B: 3 },
    inputs: { x: ['B', 4], updates: ['B', 3] },
    indices: { indices: { shape: ['B', 3], values: COLUMNS } },
    build: ({ x, updates, indices }) => scatterAdd(x as Value, indices as Value, updates as Value, -1),
    reference: ({ x, updates }) => {
      const result = { shape: [3, 4], data: (x as Tensor).data.slice() };
      tabulate([3, 3], (i, j) => {
        const flat = 4 * i + column(i, j);
        result.data[flat] = (result.data[flat] as number) + at(updates as Tensor, i, j);
        return 0;
      });
      return result;
    },
  });
});

test('scatterAdd along the first axis passes the gradient to x', async () => {
  await checkOperator({
    name: 'scatterAdd first',
    inputs: { x: [3, 2] },
    indices: { indices: { shape: [2, 2], values: [2, 0, 2, 1] } },
    build: ({ x, indices }, graph) =>
      scatterAdd(
        x as Value,
        indices as Value,
        graph.constant({ dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) }),
        0,
      ),
    reference: ({ x }) =>
      tabulate([3, 2], (i, j) => at(x as Tensor, i, j) + ([0, 2, 0, 4, 4, 0][2 * i + j] as number)),
  });
});

describe('duplicate indices', () => {
  const ROWS = 40;
  const READS = 20_000;
  const WIDTH = 8;

  test('gradients of gathered rows are complete in every one of 60 runs', async () => {
    const graph = new Graph();
    const table = graph.input('table', 'float32', [ROWS, WIDTH]);
    const indices = graph.input('indices', 'int64', ['N']);
    const loss = sum(mul(gatherRows(table, indices), graph.input('cotangent', 'float32', ['N', WIDTH])));
    graph.output('gradient', gradients(loss, [table])[0] as Value);
    const session = await Session.create(emit(graph), { threads: 2 });

    const source = random('duplicates');
    const rows = Array.from({ length: READS }, () => Math.floor(source.integer(ROWS) * source.uniform()));
    // Small integers: their sums are exact in float32 in any order.
    const cotangent = Float32Array.from({ length: READS * WIDTH }, () => source.integer(17) - 8);
    const expected = new Array<number>(ROWS * WIDTH).fill(0);
    for (const [i, row] of rows.entries()) {
      for (let j = 0; j < WIDTH; j++) {
        const at = row * WIDTH + j;
        expected[at] = (expected[at] as number) + (cotangent[i * WIDTH + j] as number);
      }
    }
    session.bind({ table: f32(new Float32Array(ROWS * WIDTH), [ROWS, WIDTH]) });
    const feeds = { indices: i64(rows, [READS]), cotangent: f32(cotangent, [READS, WIDTH]) };
    for (let run = 0; run < 60; run++) {
      expect(numbers((await session.run(feeds)).gradient), `run ${run}`).toEqual(expected);
    }
    await session.dispose();
  });

  test('gradients of gathered elements are complete too', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [3, 5]);
    const picked = gatherElements(x, graph.input('indices', 'int64', [3, 'N']));
    graph.output('gradient', gradients(sum(picked), [x])[0] as Value);
    const session = await Session.create(emit(graph), { threads: 2 });
    const source = random('duplicate elements');
    const columns = Array.from({ length: 3 * 4000 }, () => source.integer(5));
    const expected = new Array<number>(15).fill(0);
    for (const [i, c] of columns.entries()) {
      const at = 5 * Math.floor(i / 4000) + c;
      expected[at] = (expected[at] as number) + 1;
    }
    const feeds = { x: f32(new Float32Array(15), [3, 5]), indices: i64(columns, [3, 4000]) };
    const used = Object.fromEntries(
      Object.entries(feeds).filter(([name]) => session.program.inputs.has(name)),
    );
    for (let run = 0; run < 30; run++) {
      expect(numbers((await session.run(used)).gradient), `run ${run}`).toEqual(expected);
    }
    await session.dispose();
  });
});

describe('shape rules', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 4]);
  const float = graph.input('float', 'float32', ['B', 2]);
  const indices = graph.input('indices', 'int64', ['B', 2]);
  const flat = graph.input('flat', 'int64', ['B']);

  test.each<[string, () => unknown, string]>([
    [
      'gatherRows',
      () => gatherRows(x, float),
      'gatherRows: expected a matrix and int64 indices, found [B, 4] and float32',
    ],
    ['gatherRows', () => gatherRows(flat, flat), 'found [B] and int64'],
    [
      'gatherElements',
      () => gatherElements(x, flat),
      'gatherElements: expected int64 indices of the rank of [B, 4], found int64 [B]',
    ],
    [
      'scatterAdd',
      () => scatterAdd(x, indices, x, -1),
      'scatterAdd: expected int64 indices and updates of one shape and the rank of x, found float32 [B, 4], int64 [B, 2], float32 [B, 4]',
    ],
    [
      'scatterAdd',
      () => scatterAdd(x, float, float, -1),
      'found float32 [B, 4], float32 [B, 2], float32 [B, 2]',
    ],
    [
      'scatterAdd',
      () => scatterAdd(x, indices, float, 2),
      'scatterAdd: expected an axis in [-2, 2), found 2',
    ],
  ])('%s %#', (_, build, message) => {
    expect(build).toThrow(message);
  });

  test('updates have a gradient along the last axis only', () => {
    expect(() => gradients(sum(scatterAdd(x, indices, float, 0)), [float])).toThrow(
      'scatterAdd: the gradient of updates exists along the last axis only',
    );
  });
});
