/** Quantised products against their definition in float64; the scheme is that of LLM.int8(), section 2.1. */
import {
  blockProduct,
  emit,
  f32,
  floats,
  Graph,
  gradients,
  integerLinear,
  integerProduct,
  mul,
  quantizeRows,
  Session,
  sum,
} from 'onnx-grad';
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
    'integerLinear',
    (graph: Graph) =>
      integerLinear(graph.input('x', 'float32', ['a', 3]), {
        values: graph.input('w', 'int8', [4, 2]),
        scales: graph.input('s', 'float32', [2]),
      }),
  ],
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

/** Rows as the kernels quantise them, exactly, and what they stand for. */
function dequantisedRows(values: readonly number[], inner: number): number[] {
  return values.flatMap((_, at) => {
    if (at % inner !== 0) return [];
    const row = values.slice(at, at + inner);
    const magnitude = Math.fround(Math.max(...row.map(Math.abs)) || 1e-30);
    return row.map((value) => (Math.round((127 * value) / magnitude) / 127) * magnitude);
  });
}

describe.each(EMISSIONS)('a frozen linear layer in int8, emitted for $emitted', ({ emitted, provider }) => {
  // Halves of steps would be rounded differently in float32 and float64: neither x nor its gradient has any here.
  const input = Float32Array.from({ length: rows * width }, () => draw.normal());
  const cotangent = Float32Array.from({ length: rows * columns }, () => draw.normal());

  /** y, and the gradient with respect to x of the sum of y times the cotangent, recomputed or not. */
  async function run(checkpointed: boolean) {
    const graph = new Graph();
    const source = graph.input('x', 'float32', ['rows', width]);
    const layer = {
      values: graph.constant({ dtype: 'int8', shape: [width, columns], data: weight }),
      scales: graph.constant({ dtype: 'float32', shape: [columns], data: scales }),
    };
    const build = () => integerLinear(source, layer);
    const y = checkpointed ? graph.checkpoint([source], build) : build();
    const loss = sum(mul(y, graph.input('cotangent', 'float32', ['rows', columns])));
    graph.output('y', y);
    graph.output('gradient', gradients(loss, [source])[0]!);
    const session = await Session.create(emit(graph, { provider: emitted }), { provider });
    const found = await session.run({
      x: f32(input, [rows, width]),
      cotangent: f32(cotangent, [rows, columns]),
    });
    await session.dispose();
    return { y: floats(found.y), gradient: floats(found.gradient) };
  }

  test.each([false, true])(
    'its result and gradient are int8 products (checkpointed: %s)',
    async (checkpointed) => {
      const found = await run(checkpointed);
      const q = (k: number, n: number) => weight[k * columns + n] as number;
      const read = dequantisedRows([...input], width);
      const y = Array.from({ length: rows * columns }, (_, at) => {
        const [i, n] = [Math.floor(at / columns), at % columns];
        return Array.from({ length: width }, (__, k) => read[i * width + k]! * q(k, n) * scales[n]!).reduce(
          (a, b) => a + b,
        );
      });
      expect(worst(found.y, y)).toBeLessThan(1e-6);
      const scaled = [...cotangent].map((value, at) => Math.fround(value * scales[at % columns]!));
      const incoming = dequantisedRows(scaled, columns);
      const gradient = Array.from({ length: rows * width }, (_, at) => {
        const [i, k] = [Math.floor(at / width), at % width];
        return Array.from({ length: columns }, (__, n) => incoming[i * columns + n]! * q(k, n)).reduce(
          (a, b) => a + b,
        );
      });
      expect(worst(found.gradient, gradient)).toBeLessThan(1e-6);
    },
  );

  test('its gradient is near that of the layer without rounding', async () => {
    const { gradient } = await run(false);
    const exact = Array.from({ length: rows * width }, (_, at) => {
      const [i, k] = [Math.floor(at / width), at % width];
      return Array.from(
        { length: columns },
        (__, n) => cotangent[i * columns + n]! * scales[n]! * weight[k * columns + n]!,
      ).reduce((a, b) => a + b);
    });
    const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
      Array.from({ length: a.length }, (_, i) => a[i]! * b[i]!).reduce((x, y) => x + y, 0);
    const cosine = dot(gradient, exact) / Math.sqrt(dot(gradient, gradient) * dot(exact, exact));
    expect(cosine).toBeGreaterThan(0.9999);
  });
});
