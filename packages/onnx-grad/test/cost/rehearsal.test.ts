/** Costs of small programs, against closed forms. */
import {
  add,
  argMax,
  attention,
  cachedAttention,
  crossEntropy,
  emit,
  Graph,
  gatherRows,
  gradients,
  integerProduct,
  linear,
  mul,
  promptAttention,
  quantizeRows,
  Rehearsal,
  type RunCost,
  reshape,
  type Sizes,
  softmax,
  sum,
  tanh,
  topK,
  type Value,
} from 'onnx-grad';
import { describe, expect, test } from 'vitest';

const FLOAT = 4;

/** The cost of a program of one float32 input `x` of this shape. */
function costOf(
  shape: readonly (number | string)[],
  build: (x: Value, graph: Graph) => Value | Record<string, Value>,
  sizes: Sizes,
): RunCost & { resident: number } {
  const graph = new Graph();
  const built = build(graph.input('x', 'float32', shape), graph);
  const outputs = 'graph' in built ? { y: built as Value } : built;
  for (const [name, value] of Object.entries(outputs)) graph.output(name, value);
  const rehearsal = new Rehearsal(emit(graph));
  const cost = rehearsal.run(sizes);
  return { ...cost, resident: rehearsal.resident };
}

describe('memory between the nodes', () => {
  const bytes = 7 * 5 * FLOAT;
  const x = ['B', 5] as const;

  test("is none for a single node: inputs and outputs are not the arena's", () => {
    const cost = costOf(x, (value) => add(value, value), { B: 7 });
    expect(cost).toMatchObject({ activations: 0, inputs: bytes, outputs: bytes, resident: 0 });
  });

  test('is two results along a chain of additions, which overwrite nothing', () => {
    const chain = (value: Value) => [1, 2, 3, 4, 5].reduce((y) => add(y, y), value);
    expect(costOf(x, chain, { B: 7 }).activations).toBe(2 * bytes);
  });

  test('is one result along a chain that overwrites its argument', () => {
    const chain = (value: Value) => add(softmax(tanh(tanh(add(value, value)))), value);
    expect(costOf(x, chain, { B: 7 }).activations).toBe(bytes);
  });

  test('holds a result until its last use', () => {
    const kept = (value: Value) => {
      const early = add(value, value);
      return add(mul(mul(mul(early, value), value), value), early);
    };
    expect(costOf(x, kept, { B: 7 }).activations).toBe(3 * bytes);
  });

  test('does not count a reshape', () => {
    const views = (value: Value) => sum(reshape(reshape(add(value, value), [5, 'B']), ['B', 5]));
    expect(costOf(x, views, { B: 7 }).activations).toBe(bytes);
  });

  test('grows with the sizes, and asks for all of them', () => {
    const chain = (value: Value) => [1, 2, 3].reduce((y) => add(y, y), value);
    expect(costOf(x, chain, { B: 700 }).activations).toBe(2 * 100 * bytes);
    expect(() => costOf(x, chain, {})).toThrow(new RangeError('cost: expected a size for the dimension B'));
  });
});

test('the softmax of a cross-entropy and its gradient take the memory of the logits', () => {
  const [rows, classes, width] = [6, 1000, 3];
  const graph = new Graph();
  const hidden = graph.input('hidden', 'float32', ['R', width]);
  const table = graph.input('table', 'float32', [classes, width]);
  const loss = sum(crossEntropy(linear(hidden, table), graph.input('targets', 'int64', ['R'])));
  graph.output('loss', loss);
  const [gradient] = gradients(loss, [hidden]);
  graph.output('gradient', gradient as Value);
  const { activations } = new Rehearsal(emit(graph)).run({ R: rows });
  const logits = rows * classes * FLOAT;
  expect(activations).toBeGreaterThanOrEqual(logits);
  // Beside them: a few numbers for each row.
  expect(activations).toBeLessThan(logits + rows * 64);
});

test('attention holds scores of [batch, heads, length, length]', () => {
  const [batch, length, heads, headDim] = [3, 40, 4, 8];
  const cost = costOf(
    ['B', 'L', heads * headDim],
    (x, graph) =>
      attention(x, x, x, graph.input('bias', 'float32', [1, 1, 1, 'L', 'L']), {
        heads,
        kvHeads: heads,
        headDim,
      }),
    { B: batch, L: length },
  );
  const scores = batch * heads * length * length * FLOAT;
  const qkv = batch * length * heads * headDim * FLOAT;
  // The sum with the bias is a second matrix; of q, k and v, the values wait for the probabilities.
  expect(cost.activations).toBe(2 * scores + qkv);
  const products = 2 * (2 * batch * heads * length * length * headDim);
  expect(cost.work.floatOperations).toBe(products);
});

test('recomputed activations are not held', () => {
  const layers = 6;
  const peak = (checkpointed: boolean) => {
    const graph = new Graph();
    const weights = Array.from({ length: layers }, (_, i) => graph.input(`w${i}`, 'float32', [64, 16]));
    const backs = Array.from({ length: layers }, (_, i) => graph.input(`v${i}`, 'float32', [16, 64]));
    let x = graph.input('x', 'float32', ['B', 16]);
    for (const [i, w] of weights.entries()) {
      const input = x;
      const layer = () => add(input, linear(tanh(linear(input, w)), backs[i] as Value));
      x = checkpointed ? graph.checkpoint([input], layer) : layer();
    }
    const loss = sum(mul(x, x));
    for (const [i, gradient] of gradients(loss, [...weights, ...backs]).entries())
      graph.output(`g${i}`, gradient);
    return new Rehearsal(emit(graph)).run({ B: 1000 }).activations;
  };
  const wide = 1000 * 64 * FLOAT;
  expect(peak(false)).toBeGreaterThan(layers * wide);
  expect(peak(true)).toBeLessThan(peak(false) - (layers - 3) * wide);
});

describe('work', () => {
  test('counts two operations for each multiplication of a product', () => {
    const cost = costOf(['B', 5], (x, graph) => linear(x, graph.input('w', 'float32', [3, 5])), { B: 7 });
    expect(cost.work).toEqual({
      floatOperations: 2 * 7 * 3 * 5,
      integerOperations: 0,
      bytes: (7 * 5 + 3 * 5 + 7 * 3) * FLOAT,
      kernels: 1,
    });
  });

  test('counts of a table only the rows that are looked up', () => {
    const cost = costOf(['V', 5], (x, graph) => gatherRows(x, graph.input('i', 'int64', ['N'])), {
      V: 9000,
      N: 7,
    });
    expect(cost.work).toMatchObject({ bytes: 2 * 7 * 5 * FLOAT + 7 * 8, kernels: 1 });
  });

  test('counts nothing for views and for what depends on constants alone', () => {
    const cost = costOf(
      ['B', 6],
      (x, graph) => add(reshape(x, ['B', 2, 3]), mul(graph.scalar(2), graph.scalar(3))),
      {
        B: 7,
      },
    );
    expect(cost.work).toMatchObject({ kernels: 1 });
  });
});

describe('kernels for inference', () => {
  const [batch, length, heads, kvHeads, headDim] = [3, 20, 4, 2, 16];
  const packed = (heads + 2 * kvHeads) * headDim;
  const options = { heads, kvHeads, rotate: true };
  const common = (graph: Graph) => ({
    lastIndex: graph.input('last_index', 'int32', ['B']),
    total: graph.input('total', 'int32', []),
    cos: graph.input('cos', 'float32', ['P', headDim / 2]),
    sin: graph.input('sin', 'float32', ['P', headDim / 2]),
  });
  const program = (build: (q: Value, graph: Graph) => Value) => {
    const graph = new Graph();
    graph.output('y', build(graph.input('q', 'float32', ['B', 'L', packed]), graph));
    const rehearsal = new Rehearsal(emit(graph));
    return { ...rehearsal.run({ B: batch, L: length, P: 32, C: 32 }), resident: rehearsal.resident };
  };

  test('attention over prompts holds its probabilities', () => {
    const cost = program((q, graph) => promptAttention({ q, ...common(graph) }, options));
    expect(cost.outputs).toBe(batch * length * heads * headDim * FLOAT);
    expect(cost.resident).toBeGreaterThan(batch * heads * length * length * FLOAT);
    // Of all positions, each sees those before it and itself.
    expect(cost.work.floatOperations).toBe((4 * batch * heads * headDim * length * (length + 1)) / 2);
  });

  test('attention over a cache gives the cache back', () => {
    const cost = program((q, graph) => {
      const cache = (name: string) => graph.input(name, 'float32', ['B', kvHeads, 'C', headDim]);
      const cached = { pastKeys: cache('keys'), pastValues: cache('values') };
      const { result, keys } = cachedAttention({ q, ...cached, ...common(graph) }, options);
      graph.output('k', keys);
      return result;
    });
    expect(cost.outputs).toBe((batch * length * heads + batch * kvHeads * 32) * headDim * FLOAT);
  });

  test('integer products count apart', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', ['B', 32]);
    const scales = graph.input('scales', 'float32', [8]);
    graph.output('y', integerProduct(quantizeRows(x), graph.input('w', 'int8', [32, 8]), scales));
    const { work } = new Rehearsal(emit(graph)).run({ B: 5 });
    expect(work.integerOperations).toBe(2 * 5 * 32 * 8);
    expect(work.floatOperations).toBe(0);
  });

  test('the most probable tokens have values and indices', () => {
    const graph = new Graph();
    const scores = graph.input('scores', 'float32', ['B', 100]);
    const { values, indices } = topK(scores, 7);
    graph.output('values', values);
    graph.output('ids', indices);
    graph.output('best', argMax(scores));
    expect(new Rehearsal(emit(graph)).run({ B: 5 }).outputs).toBe(5 * 7 * (FLOAT + 8) + 5 * 8);
  });
});

test('an arena keeps what its largest run needed', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 256]);
  graph.output(
    'y',
    [1, 2, 3, 4].reduce((y) => add(y, y), x),
  );
  const rehearsal = new Rehearsal(emit(graph));
  rehearsal.run({ B: 2000 });
  const large = rehearsal.resident;
  expect(large).toBe(2 * 2000 * 256 * FLOAT);
  rehearsal.run({ B: 10 });
  expect(rehearsal.resident).toBe(large);
});
