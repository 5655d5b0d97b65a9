/** Differentiation of whole programs: fan-out, frozen inputs, zeros, intermediate values, refusals. */
import {
  add,
  barrier,
  crossEntropy,
  dump,
  emit,
  exp,
  f32,
  Graph,
  gatherRows,
  gemm,
  gradients,
  i64,
  linear,
  liveNodes,
  log,
  matmul,
  max,
  mean,
  mul,
  rmsNorm,
  Session,
  silu,
  softmax,
  stopGradient,
  sub,
  sum,
  tanh,
  type Value,
} from 'onnx-grad';
import { describe, expect, test } from 'vitest';
import { checkOperator, evaluate, numbers } from './support/check.js';
import { at, map, sumOver, type Tensor, tabulate } from './support/tensor.js';

const operators = (graph: Graph) => liveNodes(graph).map((node) => node.operator.name);

/** A two-layer classifier; `gradients` of the named weights become outputs. */
function classifier(wanted: readonly string[]): Graph {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 3]);
  const weights: Record<string, Value> = {
    w1: graph.input('w1', 'float32', [4, 3]),
    b1: graph.input('b1', 'float32', [4]),
    w2: graph.input('w2', 'float32', [2, 4]),
  };
  const hidden = tanh(linear(x, weights.w1 as Value, weights.b1));
  const logits = linear(hidden, weights.w2 as Value);
  const loss = mean(crossEntropy(logits, graph.input('target', 'int64', ['B'])));
  graph.output('loss', loss);
  const found = gradients(
    loss,
    wanted.map((name) => weights[name] as Value),
  );
  for (const [i, name] of wanted.entries()) graph.output(`d${name}`, found[i] as Value);
  return graph;
}

test('a program with its gradients reads like this', () => {
  expect(dump(classifier(['w1', 'w2']))).toMatchInlineSnapshot(`
    "x: f32[B, 3]
    w1: f32[4, 3]
    b1: f32[4]
    w2: f32[2, 4]
    target: int64[B]
    %5: f32[B, 4] = gemm(x, w1, b1) transB
    %6: f32[B, 4] = tanh(%5)
    %7: f32[B, 2] = gemm(%6, w2) transB
    %8: int64[B, 1] = reshape(target) shape=["B",1]
    %9: f32[B, 1] = max(%7) axes=[1] keepDims
    %10: f32[B, 1] = gatherElements(%7, %8)
    %11: f32[B, 1] = stopGradient(%10)
    %12: f32[B, 1] = sub(%9, %11)
    %13: f32[B, 2] = barrier(%7, %12)
    %14: f32[B], %15: f32[B, 2] = crossEntropy(%13, target, %12)
    %16: f32[] = dimension() dim="B"
    %17: f32[] = sum(%14) axes=[0]
    %18: f32[] = div(%17, %16)
    %20: f32[] = div(1, %16)
    %21: f32[1] = reshape(%20) shape=[1]
    %22: f32[B] = expand(%21) shape=["B"]
    %24: f32[1, 1] = reshape(-1) shape=[1,1]
    %25: f32[B, 1] = expand(%24) shape=["B",1]
    %26: f32[B] = stopGradient(%14)
    %27: f32[B, 2] = barrier(%15, %26)
    %28: int64[B, 1] = reshape(target) shape=["B",1]
    %29: f32[B, 2] = scatterAdd(%27, %28, %25) axis=1
    %30: f32[B, 1] = reshape(%22) shape=["B",1]
    %31: f32[B, 4] = gemm(%29, w2)
    %32: f32[B, 4] = scaleRows(%31, %30)
    %33: f32[B, 4] = scaleRows(%6, %30)
    %34: f32[2, 4] = gemm(%29, %33) transA
    %35: f32[B, 4] = mul(%6, %6)
    %37: f32[B, 4] = sub(1, %35)
    %38: f32[B, 4] = mul(%32, %37)
    %39: f32[4, 3] = gemm(%38, x) transA
    return loss = %18
    return dw1 = %39
    return dw2 = %34"
  `);
});

describe('frozen inputs', () => {
  test('cost nothing: no nodes are added for them', () => {
    const last = operators(classifier(['w2']));
    // Forward: two products; backward: the one for w2, and none through the hidden layer.
    expect(last.filter((name) => name === 'gemm')).toHaveLength(3);
    // (The subtraction belongs to cross-entropy.)
    expect(last.filter((name) => name === 'tanh' || name === 'sub')).toEqual(['tanh', 'sub']);

    const first = operators(classifier(['w1']));
    // Backward: the gradient of the hidden layer and that of w1; neither w2 nor x nor b1.
    expect(first.filter((name) => name === 'gemm')).toHaveLength(4);
    // The one sum is the loss; the gradient of the bias would be another.
    expect(first.filter((name) => name === 'sum')).toHaveLength(1);

    const all = operators(classifier(['w1', 'b1', 'w2']));
    expect(all.filter((name) => name === 'gemm')).toHaveLength(5);
    expect(all.filter((name) => name === 'sum')).toHaveLength(2);
    expect(operators(classifier([])).filter((name) => name === 'gemm')).toHaveLength(2);
  });

  test('do not change the gradients of the others', async () => {
    const draw = (size: number, k: number) =>
      Float32Array.from({ length: size }, (_, i) => Math.sin(k + 2 * i));
    const feeds = {
      x: f32(draw(15, 1), [5, 3]),
      w1: f32(draw(12, 2), [4, 3]),
      b1: f32(draw(4, 3), [4]),
      w2: f32(draw(8, 4), [2, 4]),
      target: i64([0, 1, 1, 0, 1], [5]),
    };
    const results = await Promise.all(
      [['w1', 'b1', 'w2'], ['w1'], ['w2']].map(async (wanted) => {
        const session = await Session.create(emit(classifier(wanted)));
        const result = await session.run(feeds);
        await session.dispose();
        return result;
      }),
    );
    expect(numbers(results[1]?.dw1)).toEqual(numbers(results[0]?.dw1));
    expect(numbers(results[2]?.dw2)).toEqual(numbers(results[0]?.dw2));
    expect(Object.keys(results[1] ?? {})).toEqual(['loss', 'dw1']);
  });
});

describe('fan-out', () => {
  test('adds up contributions, those of products inside the kernel', async () => {
    const build = (a: Value, b: Value, c: Value) => {
      const h = tanh(a);
      return add(mul(gemm(h, b), gemm(h, c)), h);
    };
    await checkOperator({
      name: 'fan-out',
      inputs: { a: [3, 3], b: [3, 3], c: [3, 3] },
      build: ({ a, b, c }) => build(a as Value, b as Value, c as Value),
      reference: ({ a, b, c }) => {
        const h = map(a as Tensor, Math.tanh);
        const product = (m: Tensor, i: number, j: number) => sumOver(3, (k) => at(h, i, k) * at(m, k, j));
        return tabulate([3, 3], (i, j) => {
          const [row, column] = [i as number, j as number];
          return product(b as Tensor, row, column) * product(c as Tensor, row, column) + at(h, row, column);
        });
      },
    });

    const graph = new Graph();
    const [a, b, c] = ['a', 'b', 'c'].map((name) => graph.input(name, 'float32', [3, 3])) as [
      Value,
      Value,
      Value,
    ];
    graph.output('da', gradients(sum(build(a, b, c)), [a])[0] as Value);
    // h gets three contributions: both products take the sum so far as their third operand, without separate additions.
    const backward = liveNodes(graph).filter((node) => node.operator.name === 'gemm');
    expect(backward.map((node) => node.inputs.length)).toEqual([2, 2, 3, 3]);
    expect(operators(graph)).not.toContain('add');
  });

  test('of one value through many operators', async () => {
    await checkOperator({
      name: 'many uses',
      inputs: { x: { shape: ['B', 4], sample: (random) => random.uniform(0.5, 2) } },
      sizes: { B: 3 },
      build: ({ x }) => {
        const v = x as Value;
        return add(add(mul(v, v), mul(v, exp(v))), sub(log(v), mul(softmax(v), silu(v))));
      },
      reference: ({ x }) => {
        const v = x as Tensor;
        return tabulate([3, 4], (i, j) => {
          const e = at(v, i as number, j as number);
          const total = sumOver(4, (k) => Math.exp(at(v, i as number, k)));
          return e * e + e * Math.exp(e) + Math.log(e) - ((Math.exp(e) / total) * e) / (1 + Math.exp(-e));
        });
      },
    });
  });

  test('of the same source given twice', async () => {
    const results = await evaluate(
      (graph) => {
        const x = graph.input('x', 'float32', [2]);
        const [first, second] = gradients(sum(mul(x, x)), [x, x]) as [Value, Value];
        return { first, second };
      },
      { x: f32(Float32Array.of(3, -4), [2]) },
    );
    expect(numbers(results.first)).toEqual([6, -8]);
    expect(numbers(results.second)).toEqual([6, -8]);
  });
});

test('a source that the loss does not use gets zeros of its shape', async () => {
  const results = await evaluate(
    (graph) => {
      const x = graph.input('x', 'float32', ['B', 2]);
      const unused = graph.input('unused', 'float32', [2, 'B']);
      const [dx, none, stopped] = gradients(sum(x), [x, unused, stopGradient(x)]) as [Value, Value, Value];
      return { dx, none, stopped };
    },
    { x: f32(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2]) },
  );
  expect(numbers(results.dx)).toEqual([1, 1, 1, 1, 1, 1]);
  expect(results.none?.shape).toEqual([2, 3]);
  expect(numbers(results.none)).toEqual([0, 0, 0, 0, 0, 0]);
  expect(numbers(results.stopped)).toEqual([0, 0, 0, 0, 0, 0]);
});

test('gradients with respect to inputs, constants and intermediate values at once', async () => {
  // h = 3x, y = h^2: dy/dh = 2h = 6x, dy/dx = 3 * 6x, dy/d3 = sum(6x * x).
  const results = await evaluate(
    (graph) => {
      const x = graph.input('x', 'float32', [2]);
      const three = graph.scalar(3);
      const h = mul(x, three);
      const loss = sum(mul(h, h));
      const [dx, dh, dThree, dLoss] = gradients(loss, [x, h, three, loss]) as [Value, Value, Value, Value];
      return { dx, dh, dThree, dLoss };
    },
    { x: f32(Float32Array.of(1, -2), [2]) },
  );
  expect(numbers(results.dh)).toEqual([6, -12]);
  expect(numbers(results.dx)).toEqual([18, -36]);
  expect(numbers(results.dThree)).toEqual([30]);
  expect(numbers(results.dLoss)).toEqual([1]);
});

test('nothing before an intermediate value is computed if only its gradient is wanted', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [2, 2]);
  const h = gemm(x, x);
  graph.output('dh', gradients(sum(mul(tanh(h), tanh(h))), [h])[0] as Value);
  expect(operators(graph).filter((name) => name === 'gemm')).toHaveLength(1);
});

describe('gradients of gradients', () => {
  test('exist through elementwise operators and products', async () => {
    // f = sum(tanh(W x)); the derivative of |df/dx|^2 is compared with central differences of the analytic df/dx.
    await checkOperator({
      name: 'double backward',
      inputs: { w: [3, 2], x: [2, 1] },
      build: ({ w, x }) => {
        const inner = gradients(sum(tanh(gemm(w as Value, x as Value))), [x as Value])[0] as Value;
        return mul(inner, inner);
      },
      reference: ({ w, x }) =>
        tabulate([2, 1], (j) => {
          const gradient = sumOver(3, (i) => {
            const activation = Math.tanh(sumOver(2, (k) => at(w as Tensor, i, k) * at(x as Tensor, k, 0)));
            return (1 - activation ** 2) * at(w as Tensor, i, j as number);
          });
          return gradient ** 2;
        }),
    });
  });

  test('are refused if a fused operator has only first-order ones', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2, 3]);
    const weight = graph.input('weight', 'float32', [3]);
    const twice = (loss: Value) => () => gradients(sum(gradients(loss, [x])[0] as Value), [x]);
    expect(twice(sum(crossEntropy(x, graph.input('target', 'int64', [2]))))).toThrow(
      'gradients: crossEntropy cannot be differentiated through its output 1',
    );
    expect(twice(sum(tanh(rmsNorm(x, weight, 1e-6))))).toThrow(
      'gradients: rmsNorm cannot be differentiated through its output 1',
    );
  });
});

describe('refusals', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 2]);
  const n = graph.input('n', 'int64', []);
  const stored = graph.external('stored', [2], { location: 'f', offset: 0, length: 8, storage: 'float32' });

  test.each<[string, () => unknown, Error]>([
    [
      'a loss that is not a scalar',
      () => gradients(x, [x]),
      new RangeError('gradients: expected a float32 scalar, found float32 [B, 2]'),
    ],
    [
      'a loss that is not float32',
      () => gradients(n, [x]),
      new RangeError('gradients: expected a float32 scalar, found int64 []'),
    ],
    [
      'an integer source',
      () => gradients(sum(x), [n]),
      new TypeError('gradients: expected float32 sources, found int64 for n'),
    ],
    [
      'data in a file',
      () => gradients(sum(mul(x, stored)), [stored]),
      new TypeError('gradients: stored is read-only external data'),
    ],
  ])('%s', (_, build, error) => {
    expect(build).toThrow(error);
  });
});

test('operators without a gradient stop it', async () => {
  const results = await evaluate(
    (graph) => {
      const x = graph.input('x', 'float32', [3]);
      // The stabilised log-sum-exp: the maximum cancels, so leaving out its gradient changes nothing.
      const highest = max(x);
      const loss = add(highest, log(sum(exp(sub(x, highest)))));
      return { dx: gradients(loss, [x])[0] as Value, expected: softmax(x) };
    },
    { x: f32(Float32Array.of(1, 2, 4), [3]) },
  );
  const expected = numbers(results.expected);
  for (const [i, value] of numbers(results.dx).entries()) expect(value).toBeCloseTo(expected[i] as number, 6);
});

test('batched products accumulate too', async () => {
  await checkOperator({
    name: 'self attention without a mask',
    sizes: { B: 2, S: 3 },
    inputs: { x: ['B', 'S', 2] },
    build: ({ x }) => matmul(softmax(matmul(x as Value, x as Value, { transB: true })), x as Value),
    reference: ({ x }) =>
      tabulate([2, 3, 2], (b, i, j) => {
        const v = x as Tensor;
        const [row, query, column] = [b as number, i as number, j as number];
        const scores = [0, 1, 2].map((key) =>
          Math.exp(sumOver(2, (k) => at(v, row, query, k) * at(v, row, key, k))),
        );
        const total = sumOver(3, (key) => scores[key] as number);
        return sumOver(3, (key) => ((scores[key] as number) / total) * at(v, row, key, column));
      }),
  });
});

describe('one weight in several products, as in a recurrent network', () => {
  const STEPS = 4;
  const build = ({ x, w }: Readonly<Record<string, Value>>) => {
    let h = x as Value;
    for (let step = 0; step < STEPS; step++) h = tanh(gemm(h, w as Value));
    return h;
  };

  test('has the gradient of all uses', async () => {
    await checkOperator({
      name: 'recurrent',
      sizes: { rows: 5 },
      inputs: { x: ['rows', 3], w: [3, 3] },
      build,
      reference: ({ x, w }) => {
        let h = x as Tensor;
        for (let step = 0; step < STEPS; step++) {
          const before = h;
          h = tabulate([5, 3], (row, i) =>
            Math.tanh(sumOver(3, (k) => at(before, row, k) * at(w as Tensor, k, i))),
          );
        }
        return h;
      },
    });
  });

  test('appears in one product per use, without additions that wait', () => {
    const graph = new Graph();
    const [x, w] = [graph.input('x', 'float32', ['rows', 3]), graph.input('w', 'float32', [3, 3])];
    graph.output('dw', gradients(sum(build({ x, w })), [w])[0] as Value);
    // Forward products, gradients of the weight, and gradients of the intermediate values.
    expect(operators(graph).filter((name) => name === 'gemm')).toHaveLength(STEPS + STEPS + STEPS - 1);
    expect(operators(graph)).not.toContain('add');
  });
});

test('an argument that is only waited for gets no gradient', async () => {
  const results = await evaluate(
    (graph) => {
      const k = graph.input('k', 'float32', [2]);
      const first = gradients(sum(mul(barrier(k, exp(k)), k)), [k])[0] as Value;
      return { first, second: gradients(sum(mul(first, k)), [k])[0] as Value };
    },
    { k: f32(Float32Array.of(3, -1), [2]) },
  );
  expect(numbers(results.first)).toEqual([6, -2]);
  expect(numbers(results.second)).toEqual([12, -4]);
});

describe('a table that is read by index and used as a factor', () => {
  const IDS = [2, 0, 2, 3];
  const build = (table: Value, ids: Value) => linear(tanh(gatherRows(table, ids)), table);

  test('has the gradient of both uses', async () => {
    await checkOperator({
      name: 'tied table',
      inputs: { table: [5, 3] },
      indices: { ids: { shape: [4], values: IDS } },
      build: ({ table, ids }) => build(table as Value, ids as Value),
      reference: ({ table }) =>
        tabulate([4, 5], (i, j) => {
          const row = IDS[i as number] as number;
          return sumOver(
            3,
            (k) => Math.tanh(at(table as Tensor, row, k)) * at(table as Tensor, j as number, k),
          );
        }),
    });
  });

  test('gets its scatter last: no product waits for the end of the backward pass', () => {
    const graph = new Graph();
    const table = graph.input('table', 'float32', [5, 3]);
    const loss = sum(build(table, graph.input('ids', 'int64', ['B'])));
    graph.output('gradient', gradients(loss, [table])[0] as Value);
    const { node } = graph.outputs.get('gradient') as Value;
    expect(node?.operator.name).toBe('scatterAdd');
    expect(node?.inputs[0]?.node?.operator.name).toBe('gemm');
    expect(node?.inputs[0]?.node?.inputs).toHaveLength(2);
    // The scattered value depends on the product, so ONNX Runtime computes the product first.
    const barriers = liveNodes(graph).filter(({ operator }) => operator.name === 'barrier');
    expect(barriers.map(({ inputs }) => inputs[1])).toEqual([node?.inputs[0]]);
    expect(operators(graph)).not.toContain('zeros');
  });
});
