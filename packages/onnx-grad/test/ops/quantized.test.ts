/** Quantised products against their definition in float64; the scheme is that of LLM.int8(), section 2.1. */
import { blockProduct, emit, f32, floats, Graph, integerProduct, quantizeRows, Session } from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { EMISSIONS } from '../support/check.js';
import { random } from '../support/random.js';

/** The largest difference from `expected` as a fraction of the largest expected value. */
const worst = (found: Float32Array, expected: readonly number[]) => {
  const scale = Math.max(...expected.map(Math.abs));
  return Math.max(...expected.map((value, i) => Math.abs(value - (found[i] as number)) / scale));
};

const [rows, width, columns] = [3, 40, 7];
const draw = random('quantized');
const x = Float32Array.from({ length: rows * width }, () => draw.normal());
// Rows of very different sizes, and one of zeros.
for (let j = 0; j < width; j++) {
  x[j] = (x[j] as number) * 1e4;
  x[2 * width + j] = 0;
}
const weight = Int8Array.from({ length: width * columns }, () => Math.floor(draw.uniform() * 255) - 127);
const scales = Float32Array.from({ length: columns }, () => 0.001 + draw.uniform());

describe.each(EMISSIONS)('emitted for $emitted, on $provider', ({ emitted, provider }) => {
  test('rows are quantised by their own magnitude, whatever the other rows are', async () => {
    const graph = new Graph();
    const { values, magnitudes } = quantizeRows(graph.input('x', 'float32', ['rows', width]));
    graph.output('values', values);
    graph.output('magnitudes', magnitudes);
    const session = await Session.create(emit(graph, { provider: emitted }), { provider });
    const all = await session.run({ x: f32(x, [rows, width]) });
    const expected = Array.from({ length: rows }, (_, i) =>
      Math.max(...x.subarray(i * width, (i + 1) * width).map(Math.abs)),
    );
    const tiny = 1e-30;
    expect(Array.from(floats(all.magnitudes))).toEqual(expected.map((value) => Math.fround(value || tiny)));
    const bytes = all.values?.data as Uint8Array;
    for (const [i, value] of x.entries()) {
      const exact = (127 * value) / (expected[Math.floor(i / width)] || 1);
      expect(Math.abs((bytes[i] as number) - 128 - exact)).toBeLessThanOrEqual(0.5001);
    }
    for (let i = 0; i < rows; i++) {
      const alone = await session.run({ x: f32(x.slice(i * width, (i + 1) * width), [1, width]) });
      expect(alone.values?.data).toEqual(bytes.slice(i * width, (i + 1) * width));
    }
    await session.dispose();
  });

  test('integer products are exact on the quantised values', async () => {
    const graph = new Graph();
    const quantized = quantizeRows(graph.input('x', 'float32', ['rows', width]));
    const w = graph.constant({ dtype: 'int8', shape: [width, columns], data: weight });
    const s = graph.constant({ dtype: 'float32', shape: [columns], data: scales });
    graph.output('values', quantized.values);
    graph.output('product', integerProduct(quantized, w, s));
    const session = await Session.create(emit(graph, { provider: emitted }), { provider });
    const run = await session.run({ x: f32(x, [rows, width]) });
    const bytes = run.values?.data as Uint8Array;
    const expected = Array.from({ length: rows * columns }, (_, at) => {
      const [i, j] = [Math.floor(at / columns), at % columns];
      let sum = 0;
      for (let k = 0; k < width; k++) {
        sum += ((bytes[i * width + k] as number) - 128) * (weight[k * columns + j] as number);
      }
      return (sum * (scales[j] as number)) / 127;
    });
    expect(worst(floats(run.product), expected)).toBeLessThan(1e-6);
    await session.dispose();
  });
});

describe.each([4, 8] as const)('blocks of %d bits', (bits) => {
  test('dequantised weights, up to the rounding of activations', async () => {
    const [size, block] = [70, 32];
    const blocks = Math.ceil(size / block);
    const input = Float32Array.from({ length: rows * size }, () => draw.normal());
    const levels = 2 ** bits;
    const codes = Array.from({ length: columns * blocks * block }, () => Math.floor(draw.uniform() * levels));
    const steps = Float32Array.from({ length: columns * blocks }, () => 0.01 + draw.uniform());
    const bytes = (block * bits) / 8;
    const packed = new Uint8Array(columns * blocks * bytes);
    for (const [i, code] of codes.entries()) {
      if (bits === 8) packed[i] = code;
      else packed[i >> 1] = (packed[i >> 1] as number) | (code << (4 * (i & 1)));
    }
    const graph = new Graph();
    const weights = {
      packed: graph.constant({ dtype: 'uint8', shape: [columns, blocks, bytes], data: packed }),
      scales: graph.constant({ dtype: 'float32', shape: [columns * blocks], data: steps }),
      bits,
      block,
    };
    graph.output('product', blockProduct(graph.input('x', 'float32', ['rows', size]), weights, size));
    const session = await Session.create(emit(graph));
    const run = await session.run({ x: f32(input, [rows, size]) });
    const expected = Array.from({ length: rows * columns }, (_, at) => {
      const [i, j] = [Math.floor(at / columns), at % columns];
      let sum = 0;
      for (let k = 0; k < size; k++) {
        const code = (codes[j * blocks * block + k] as number) - levels / 2;
        sum += (input[i * size + k] as number) * code * (steps[j * blocks + Math.floor(k / block)] as number);
      }
      return sum;
    });
    expect(worst(floats(run.product), expected)).toBeLessThan(0.02);
    await session.dispose();
  });
});

test.each([
  ['quantizeRows', (graph: Graph) => quantizeRows(graph.input('x', 'float32', ['a', 2, 3]))],
  [
    'integerProduct',
    (graph: Graph) => {
      const quantized = quantizeRows(graph.input('x', 'float32', ['a', 3]));
      integerProduct(quantized, graph.input('w', 'int8', [4, 2]), graph.input('s', 'float32', [2]));
    },
  ],
])('%s names what does not fit', (name, build) => {
  expect(() => build(new Graph())).toThrow(new RegExp(`${name}: expected`));
});
