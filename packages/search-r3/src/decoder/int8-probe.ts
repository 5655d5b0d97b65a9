/** Whether this machine's kernels for integer products are right: those of CPUs without VNNI saturate. */
import { emit, f32, floats, Graph, integerProduct, quantizeRows, Session } from 'onnx-grad';

const WIDTH = 256;
const COLUMNS = 48;

let known: Promise<boolean> | undefined;

/** Multiplies rows of the largest magnitude by columns of the largest weights: 127 * 127 * width, in both signs. */
export function int8IsExact(): Promise<boolean> {
  known ??= probe();
  return known;
}

async function probe(): Promise<boolean> {
  const graph = new Graph();
  const sign = (column: number) => (column % 2 === 0 ? 1 : -1);
  const weight = graph.constant({
    dtype: 'int8',
    shape: [WIDTH, COLUMNS],
    data: Int8Array.from({ length: WIDTH * COLUMNS }, (_, i) => 127 * sign(i % COLUMNS)),
  });
  const scales = graph.constant({
    dtype: 'float32',
    shape: [COLUMNS],
    data: new Float32Array(COLUMNS).fill(1 / 127),
  });
  const rows = quantizeRows(graph.input('x', 'float32', ['rows', WIDTH]));
  graph.output('product', integerProduct(rows, weight, scales));
  const session = await Session.create(emit(graph));
  try {
    for (const count of [1, 5, 64]) {
      const x = f32(new Float32Array(count * WIDTH).fill(1), [count, WIDTH]);
      const product = floats((await session.run({ x })).product);
      if (!product.every((value, i) => Math.abs(value - WIDTH * sign(i % COLUMNS)) < 0.01)) return false;
    }
    return true;
  } finally {
    await session.dispose();
  }
}
