/** Dropout: its rates and independence over many masks, and its gradient. */
import { dropout, emit, f32, floats, Graph, gradients, mul, Session, sum } from 'onnx-grad';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { random } from '../support/random.js';

const [rows, width, rate] = [5, 7, 0.3];
const draws = 4000;
const source = random('dropout');
const noise = (size: number) => Float32Array.from({ length: size }, () => 1 + source.uniform());
const x = Float32Array.from({ length: rows * width }, () => source.normal());
const cotangent = Float32Array.from({ length: rows * width }, () => source.normal());

let session: Session;
beforeAll(async () => {
  const graph = new Graph();
  const input = graph.input('x', 'float32', ['rows', width]);
  const build = () =>
    dropout(input, graph.input('u', 'float32', ['rows']), graph.input('v', 'float32', [width]), rate);
  const y = graph.checkpoint([input], build);
  graph.output('y', y);
  const loss = sum(mul(mul(y, y), graph.input('cotangent', 'float32', ['rows', width])));
  graph.output('gradient', gradients(loss, [input])[0]!);
  session = await Session.create(emit(graph));
});
afterAll(() => session.dispose());

const run = async (u = noise(rows), v = noise(width)) => {
  const found = await session.run({
    x: f32(x, [rows, width]),
    u: f32(u, [rows]),
    v: f32(v, [width]),
    cotangent: f32(cotangent, [rows, width]),
  });
  return { y: floats(found.y), gradient: floats(found.gradient) };
};

test('what is kept is divided by its share; the gradient, recomputed, has the same mask', async () => {
  const { y, gradient } = await run();
  expect(new Set([...y].map((value) => value === 0)).size).toBe(2);
  for (const [i, value] of y.entries()) {
    expect([0, Math.fround(x[i]! / (1 - rate))].some((kept) => Math.abs(value - kept) < 1e-6)).toBe(true);
    expect(gradient[i]).toBeCloseTo((2 * value * cotangent[i]!) / (1 - rate), 4);
  }
});

test('every element is dropped at the rate, and no two elements together more often than by chance', async () => {
  const size = rows * width;
  const single = new Float64Array(size);
  const both = new Float64Array(size * size);
  for (let i = 0; i < draws; i++) {
    const { y } = await run();
    const dropped = [...y.keys()].filter((at) => y[at] === 0);
    for (const a of dropped) {
      single[a]!++;
      for (const b of dropped) both[a * size + b]!++;
    }
  }
  // Five standard deviations of a binomial.
  const bound = (p: number) => 5 * Math.sqrt((p * (1 - p)) / draws);
  for (const [a, count] of single.entries()) {
    expect(Math.abs(count / draws - rate), `element ${a}`).toBeLessThan(bound(rate));
    for (let b = 0; b < a; b++) {
      const together = both[a * size + b]! / draws;
      expect(Math.abs(together - rate ** 2), `elements ${a} and ${b}`).toBeLessThan(bound(rate ** 2));
    }
  }
});

test('noise of another size is refused', () => {
  const graph = new Graph();
  const input = graph.input('x', 'float32', ['rows', width]);
  const [u, v] = [graph.input('u', 'float32', ['rows']), graph.input('v', 'float32', [width + 1])];
  expect(() => dropout(input, u, v, rate)).toThrow(RangeError);
});
