/** Rehearsed memory against what runs take in a process of their own. */
import { expect, test } from 'vitest';
import { runModule } from '../support/child.js';

/** Builds a stack of attention layers with gradients, rehearses a run and does it; writes both figures, in bytes. */
const stack = (options: { layers: number; batch: number; length: number; checkpoint: boolean }) => `
import { readFileSync } from 'node:fs';
import { add, attention, emit, f32, Graph, gradients, linear, mul, Rehearsal, reshape, rmsNorm, Session, sum, swiglu } from 'onnx-grad';
const { layers, batch, length, checkpoint } = ${JSON.stringify(options)};
const [width, heads] = [192, 6];
const graph = new Graph();
const weights = [];
const weight = (name, ...shape) => {
  const value = graph.input(name, 'float32', shape);
  weights.push(value);
  return value;
};
const bias = graph.input('bias', 'float32', [1, 1, 1, 'L', 'L']);
const headDim = width / heads;
let x = reshape(graph.input('x', 'float32', ['B', 'L', width]), ['B*L', width]);
for (let i = 0; i < layers; i++) {
  const [input, norm] = [x, weight('norm' + i, width)];
  const [q, k, v, o] = ['q', 'k', 'v', 'o'].map((name) => weight(name + i, width, width));
  const [gate, up, down] = [weight('gate' + i, 512, width), weight('up' + i, 512, width), weight('down' + i, width, 512)];
  const layer = () => {
    const normed = rmsNorm(input, norm, 1e-6);
    const parts = [q, k, v].map((w) => reshape(linear(normed, w), ['B', 'L', width]));
    const attended = attention(...parts, bias, { heads, kvHeads: heads, headDim });
    const middle = add(input, linear(reshape(attended, ['B*L', width]), o));
    return add(middle, linear(swiglu(linear(middle, gate), linear(middle, up)), down));
  };
  x = checkpoint ? graph.checkpoint([input], layer) : layer();
}
const loss = sum(mul(x, x));
for (const [i, gradient] of gradients(loss, weights).entries()) graph.output('gradient ' + i, gradient);
const program = emit(graph, { inPlace: true });
const sizes = { B: batch, L: length };
const rehearsal = new Rehearsal(program);
rehearsal.run(sizes);
const tensor = (shape) => {
  const actual = shape.map((dim) => sizes[dim] ?? dim);
  const count = actual.reduce((a, b) => a * b, 1);
  return f32(Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 1000) / 5000 - 0.1), actual);
};
const fill = (all) => Object.fromEntries([...all].map(([name, { shape }]) => [name, tensor(shape)]));
const [feeds, outputs] = [fill(program.inputs), fill(program.outputs)];
const session = await Session.create(program);
const status = (key) => 1024 * Number(new RegExp(key + ':\\\\s+(\\\\d+)').exec(readFileSync('/proc/self/status', 'utf8'))[1]);
const before = status('VmRSS');
await session.runInPlace(feeds, outputs);
console.log(JSON.stringify({ rehearsed: rehearsal.resident, taken: status('VmHWM') - before }));
await session.dispose();
`;

test.skipIf(process.platform !== 'linux').each([
  { layers: 4, batch: 16, length: 96, checkpoint: false },
  { layers: 8, batch: 24, length: 160, checkpoint: true },
])('the arena of a training program: %o', async (options) => {
  const { stdout } = await runModule(stack(options));
  const { rehearsed, taken } = JSON.parse(stdout) as { rehearsed: number; taken: number };
  expect(taken).toBeGreaterThan(100 * 2 ** 20);
  expect(Math.abs(rehearsed / taken - 1)).toBeLessThan(0.15);
});
