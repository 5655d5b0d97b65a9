/** Activation checkpointing: equal gradients, recomputed nodes, less memory. */
import {
  add,
  dump,
  emit,
  f32,
  floats,
  Graph,
  gradients,
  linear,
  liveNodes,
  mul,
  rmsNorm,
  Session,
  silu,
  sum,
  tanh,
  type Value,
} from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { evaluate, numbers } from './support/check.js';
import { runModule } from './support/child.js';
import { random } from './support/random.js';
import { relativeError } from './support/tensor.js';

const LAYERS = 3;
const WIDTH = 6;

/** Residual blocks of a norm and two products; each is a segment if `checkpointed`. */
function residual(checkpointed: boolean): { graph: Graph; sources: readonly Value[] } {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', WIDTH]);
  const sources = [x];
  let h = x;
  for (let layer = 0; layer < LAYERS; layer++) {
    const scale = graph.input(`scale${layer}`, 'float32', [WIDTH]);
    const up = graph.input(`up${layer}`, 'float32', [2 * WIDTH, WIDTH]);
    const down = graph.input(`down${layer}`, 'float32', [WIDTH, 2 * WIDTH]);
    sources.push(scale, up, down);
    const before = h;
    const block = () => add(before, linear(silu(linear(rmsNorm(before, scale, 1e-6), up)), down));
    h = checkpointed ? graph.checkpoint([before], block) : block();
  }
  graph.output('y', h);
  const loss = sum(mul(h, h));
  gradients(loss, sources).forEach((gradient, i) => {
    graph.output(`d${sources[i]?.name}`, gradient);
  });
  return { graph, sources };
}

const count = (graph: Graph, name: string) =>
  liveNodes(graph).filter((node) => node.operator.name === name).length;

test('gradients are bit-identical', async () => {
  const source = random('checkpoint');
  const results = [];
  const { sources } = residual(false);
  const feeds = Object.fromEntries(
    sources.map(({ name, shape }) => {
      const size = shape.map((dim) => (typeof dim === 'number' ? dim : 5));
      const length = size.reduce((a, b) => a * b, 1);
      return [name as string, f32(Float32Array.from({ length }, source.normal), size)];
    }),
  );
  for (const checkpointed of [false, true]) {
    const session = await Session.create(emit(residual(checkpointed).graph));
    results.push(await session.run(feeds));
    await session.dispose();
  }
  const [plain, recomputed] = results;
  expect(Object.keys(recomputed ?? {})).toHaveLength(1 + sources.length);
  for (const [name, tensor] of Object.entries(plain ?? {})) {
    expect(numbers(recomputed?.[name]), name).toEqual(numbers(tensor));
    expect(Math.max(...numbers(tensor).map(Math.abs)), name).toBeGreaterThan(1e-3);
  }
});

describe('the recomputation', () => {
  test('covers what the backward pass reads, behind one barrier per segment', () => {
    const plain = residual(false).graph;
    const { graph } = residual(true);
    expect(count(plain, 'barrier')).toBe(0);
    expect(count(graph, 'barrier')).toBe(LAYERS);
    expect(count(graph, 'rmsNorm')).toBe(2 * LAYERS);
    expect(count(graph, 'silu')).toBe(2 * LAYERS);
    // Nothing reads the result of the second product of a block.
    expect(count(graph, 'gemm') - count(plain, 'gemm')).toBe(LAYERS);
  });

  test('shows in the dump', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', ['B', 2]);
    const w = graph.input('w', 'float32', [2, 2]);
    const y = graph.checkpoint([x], () => tanh(linear(x, w)));
    graph.output('dw', gradients(sum(mul(y, y)), [w])[0] as Value);
    expect(dump(graph)).toMatchInlineSnapshot(`
      "x: f32[B, 2]
      w: f32[2, 2]
      %2: f32[B, 2] = gemm(x, w) transB
      %3: f32[B, 2] = tanh(%2)
      %5: f32[1, 1] = reshape(1) shape=[1,1]
      %6: f32[B, 2] = expand(%5) shape=["B",2]
      %7: f32[B, 2] = mul(%6, %3)
      %8: f32[B, 2] = mul(%6, %3)
      %9: f32[B, 2] = add(%7, %8)
      %10: f32[B, 2] = barrier(x, %9)
      %11: f32[B, 2] = gemm(%10, w) transB
      %12: f32[B, 2] = tanh(%11)
      %13: f32[B, 2] = mul(%12, %12)
      %15: f32[B, 2] = sub(1, %13)
      %16: f32[B, 2] = mul(%9, %15)
      %17: f32[2, 2] = gemm(%16, %10) transA
      return dw = %17"
    `);
  });
});

test('the gradient of a gradient goes through a segment', async () => {
  const cubes = (checkpointed: boolean) =>
    evaluate(
      (graph) => {
        const x = graph.input('x', 'float32', [3]);
        const build = () => mul(tanh(x), x);
        const y = checkpointed ? graph.checkpoint([x], build) : build();
        const [first] = gradients(sum(mul(y, y)), [x]) as [Value];
        return { second: gradients(sum(mul(first, first)), [x])[0] as Value };
      },
      { x: f32(Float32Array.of(0.5, -1, 2), [3]) },
    );
  const [plain, recomputed] = [await cubes(false), await cubes(true)];
  expect(Math.min(...numbers(plain.second).map(Math.abs))).toBeGreaterThan(0.1);
  expect(relativeError(floats(recomputed.second), floats(plain.second))).toBeLessThan(1e-6);
});

test('an open segment cannot be differentiated', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [2]);
  const inside = () => gradients(sum(tanh(x)), [x]);
  expect(() => graph.checkpoint([x], inside)).toThrow(
    'gradients: expected no open checkpoint; differentiate after the segment is built',
  );
  expect(inside()).toHaveLength(1);
});

test('segments do not nest', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [2]);
  expect(() => graph.checkpoint([x], () => graph.checkpoint([x], () => tanh(x)))).toThrow(
    'checkpoint: segments do not nest',
  );
  // The refused attempt leaves no open segment.
  expect(graph.checkpoint([x], () => tanh(x)).shape).toEqual([2]);
});

test('a deep network needs far less memory', async () => {
  // 32 blocks of 4 activations of 2 MiB each: 256 MiB to keep, against 64 MiB of segment inputs.
  const program = (checkpointed: boolean) => `
    import { Graph, Session, add, emit, f32, gradients, linear, mul, sigmoid, sum, tanh } from 'onnx-grad';
    const [ROWS, WIDTH, LAYERS] = [8192, 64, 32];
    const graph = new Graph();
    const x = graph.input('x', 'float32', [ROWS, WIDTH]);
    const weights = Array.from({ length: LAYERS }, (_, i) => graph.input('w' + i, 'float32', [WIDTH, WIDTH]));
    let h = x;
    for (const weight of weights) {
      const before = h;
      const block = () => {
        const inner = linear(before, weight);
        return add(before, mul(tanh(inner), sigmoid(inner)));
      };
      h = ${checkpointed} ? graph.checkpoint([before], block) : block();
    }
    gradients(sum(mul(h, h)), weights).forEach((gradient, i) => graph.output('dw' + i, gradient));
    const session = await Session.create(emit(graph));
    const value = (size, scale) => Float32Array.from({ length: size }, (_, i) => Math.sin(i) * scale);
    session.bind(Object.fromEntries(
      weights.map(({ name }) => [name, f32(value(WIDTH * WIDTH, 0.1), [WIDTH, WIDTH])]),
    ));
    const results = await session.run({ x: f32(value(ROWS * WIDTH, 1), [ROWS, WIDTH]) });
    console.log(Array.from(results.dw0.data.slice(0, 4)).join(' '));
    await session.dispose();
  `;
  const idle = await runModule(`import 'onnx-grad'; import 'onnxruntime-node';`);
  const kept = await runModule(program(false));
  const recomputed = await runModule(program(true));
  expect(recomputed.stdout).toBe(kept.stdout);
  expect(recomputed.peak - idle.peak).toBeLessThan(0.65 * (kept.peak - idle.peak));
});
