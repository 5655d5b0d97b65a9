import {
  attention,
  cast,
  f32,
  type Graph,
  Graph as GraphClass,
  gradients,
  mul,
  rotary,
  type Shape,
  sub,
  sum,
  type Value,
} from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { type AttentionSizes, referenceAttention, referenceRotary } from '../support/attention.js';
import { checkOperator, evaluate, numbers } from '../support/check.js';
import { random } from '../support/random.js';
import { at, sumOver, type Tensor, tabulate } from '../support/tensor.js';

const BATCH = 2;
const LENGTH = 4;
const HIDDEN = -1e9;

const SIZES: readonly AttentionSizes[] = [
  { heads: 2, kvHeads: 2, headDim: 3 },
  { heads: 4, kvHeads: 2, headDim: 2 },
  { heads: 3, kvHeads: 1, headDim: 2, scale: 0.3 },
];

/** 1 for visible keys, at least one per query. */
const MASKS: Record<string, { shape: Shape; visible: (row: number, query: number, key: number) => boolean }> =
  {
    'causal, shared by all rows': {
      shape: [1, 1, 1, 'S', 'S'],
      visible: (_, query, key) => key <= query,
    },
    'causal with left padding of 0 and 2': {
      shape: ['B', 1, 1, 'S', 'S'],
      // A padded query sees itself, so that no row of the softmax is empty.
      visible: (row, query, key) => key === query || (key <= query && key >= 2 * row),
    },
    'right padding of 1 and 0, both directions': {
      shape: ['B', 1, 1, 'S', 'S'],
      visible: (row, _, key) => key < LENGTH - 1 + row,
    },
  };

const qkv = ({ heads, kvHeads, headDim }: AttentionSizes): Record<'q' | 'k' | 'v', Shape> => ({
  q: ['B', 'S', heads * headDim],
  k: ['B', 'S', kvHeads * headDim],
  v: ['B', 'S', kvHeads * headDim],
});

describe.each(SIZES)('$heads heads on $kvHeads', (sizes) => {
  test.each(Object.entries(MASKS))('%s', async (name, { shape, visible }) => {
    const rows = shape[0] === 1 ? 1 : BATCH;
    const values = Array.from(
      tabulate([rows, LENGTH, LENGTH], (...i) => {
        const [row, query, key] = i as [number, number, number];
        return visible(row, query, key) ? 1 : 0;
      }).data,
    );
    await checkOperator({
      name: `attention ${name} ${sizes.heads}`,
      sizes: { B: BATCH, S: LENGTH },
      inputs: qkv(sizes),
      indices: { visible: { shape, values } },
      build: (x, graph) => {
        const hidden = sub(graph.scalar(1), cast(x.visible as Value, 'float32'));
        const bias = mul(hidden, graph.scalar(HIDDEN));
        return attention(x.q as Value, x.k as Value, x.v as Value, bias, sizes);
      },
      reference: ({ q, k, v }) =>
        referenceAttention(
          q as Tensor,
          k as Tensor,
          v as Tensor,
          (row, query, key) => (visible(row, query, key) ? 0 : HIDDEN),
          sizes.scale === undefined ? sizes : { ...sizes, scale: Math.fround(sizes.scale) },
        ),
    });
  });

  test.each<{ shape: Shape }>([{ shape: ['B', 1, 1, 'S', 'S'] }, { shape: [1, 1, 1, 'S', 'S'] }])(
    'a learned bias of $shape',
    async ({ shape }) => {
      await checkOperator({
        name: `attention bias ${shape} ${sizes.heads}`,
        sizes: { B: BATCH, S: LENGTH },
        inputs: { ...qkv(sizes), bias: shape },
        build: (x) => attention(x.q as Value, x.k as Value, x.v as Value, x.bias as Value, sizes),
        reference: ({ q, k, v, bias }) =>
          referenceAttention(
            q as Tensor,
            k as Tensor,
            v as Tensor,
            (row, query, key) => at(bias as Tensor, row, 0, 0, query, key),
            sizes.scale === undefined ? sizes : { ...sizes, scale: Math.fround(sizes.scale) },
          ),
      });
    },
  );
});

test('a query that sees nothing averages the values, without NaN in any gradient', async () => {
  const source = random('blind');
  const draw = (...shape: number[]) => tabulate(shape, () => Math.fround(source.normal()));
  const points = { q: draw(1, 3, 4), k: draw(1, 3, 2), v: draw(1, 3, 2) };
  const feeds = Object.entries(points).map(([name, x]) => [name, f32(Float32Array.from(x.data), x.shape)]);
  const results = await evaluate((graph) => {
    const [q, k, v] = Object.entries(points).map(([name, x]) => graph.input(name, 'float32', x.shape)) as [
      Value,
      Value,
      Value,
    ];
    const bias = graph.constant({
      dtype: 'float32',
      shape: [1, 1, 1, 3, 3],
      data: Float32Array.of(HIDDEN, HIDDEN, HIDDEN, 0, HIDDEN, HIDDEN, 0, 0, HIDDEN),
    });
    const y = attention(q, k, v, bias, { heads: 2, kvHeads: 1, headDim: 2 });
    const [dq, dk, dv] = gradients(sum(mul(y, y)), [q, k, v]) as [Value, Value, Value];
    return { y, dq, dk, dv };
  }, Object.fromEntries(feeds));
  const average = [0, 1].map((column) => sumOver(3, (row) => at(points.v, 0, row, column)) / 3);
  for (const [i, value] of numbers(results.y).slice(0, 4).entries()) {
    expect(value).toBeCloseTo(average[i % 2] as number, 6);
  }
  for (const name of ['dq', 'dk', 'dv']) expect(numbers(results[name]).every(Number.isFinite)).toBe(true);
});

describe('rotary', () => {
  const POSITIONS = [0, 3, 1, 5, 5, 2];
  const table = (f: (x: number) => number, graph?: Graph) => {
    const values = Float32Array.from({ length: 6 * 2 }, (_, i) => f(Math.floor(i / 2) / 10 ** (i % 2)));
    return {
      tensor: { shape: [6, 2], data: Float64Array.from(values) },
      value: graph?.constant({ dtype: 'float32', shape: [6, 2], data: values }) as Value,
    };
  };

  test.each([{ heads: 1 }, { heads: 3 }])('of $heads heads', async ({ heads }) => {
    await checkOperator({
      name: `rotary ${heads}`,
      sizes: { B: 2, S: 3 },
      inputs: { x: ['B', 'S', 4 * heads] },
      indices: { positions: { shape: ['B', 'S'], values: POSITIONS } },
      build: ({ x, positions }, graph) =>
        rotary(
          x as Value,
          positions as Value,
          table(Math.cos, graph).value,
          table(Math.sin, graph).value,
          heads,
        ),
      reference: ({ x }) =>
        referenceRotary(
          x as Tensor,
          (row, token) => POSITIONS[3 * row + token] as number,
          table(Math.cos).tensor,
          table(Math.sin).tensor,
        ),
    });
  });

  test('the angle tables have no gradient', () => {
    const graph = new GraphClass();
    const x = graph.input('x', 'float32', ['B', 'S', 4]);
    const cos = graph.input('cos', 'float32', [6, 2]);
    const positions = graph.input('positions', 'int64', ['B', 'S']);
    const turned = rotary(x, positions, cos, graph.input('sin', 'float32', [6, 2]), 1);
    expect(() => gradients(sum(turned), [cos])).toThrow(
      'gradients: rotary has no gradient with respect to its argument 2',
    );
  });
});

describe('shape rules', () => {
  const graph = new GraphClass();
  const x = graph.input('x', 'float32', ['B', 'S', 12]);
  const flat = graph.input('bias', 'float32', ['S', 'S']);
  const bias = graph.input('wide', 'float32', [1, 1, 1, 'S', 'S']);

  test('heads come in whole groups, sizes fit, the bias has five axes', () => {
    expect(() => attention(x, x, x, bias, { heads: 4, kvHeads: 3, headDim: 3 })).toThrow(
      new RangeError('attention: expected heads (4) to be a multiple of kvHeads (3)'),
    );
    expect(() => attention(x, x, x, bias, { heads: 4, kvHeads: 4, headDim: 4 })).toThrow(
      new RangeError('attention: expected q of [B, S, 16], found [B, S, 12]'),
    );
    expect(() => attention(x, x, x, bias, { heads: 4, kvHeads: 2, headDim: 3 })).toThrow(
      new RangeError('attention: expected k of [B, S, 6], found [B, S, 12]'),
    );
    expect(() => attention(x, x, x, flat, { heads: 4, kvHeads: 4, headDim: 3 })).toThrow(
      'attention: expected ranks 5, 4, 4, 5, found',
    );
    const crossed = graph.input('crossed', 'float32', [1, 1, 1, 'S', 'T']);
    expect(() => attention(x, x, x, crossed, { heads: 4, kvHeads: 2, headDim: 3 })).toThrow(
      'attention: expected k of [B, S, 6], found [B, S, 12]',
    );
    expect(() => attention(x, x, x, crossed, { heads: 4, kvHeads: 4, headDim: 3 })).toThrow(
      new RangeError('attention: a bias of [1, 1, 1, S, T] does not broadcast to [B, 4, 1, S, S]'),
    );
  });
});
