/** Emission: names, signatures, sizes that appear inside a program, data in files. */
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  add,
  cast,
  concat,
  emit,
  expand,
  f32,
  Graph,
  gemm,
  gradients,
  i64,
  mean,
  mul,
  reshape,
  Session,
  sub,
  sum,
  tanh,
  type Value,
  zeros,
} from 'onnx-grad';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { evaluate, numbers } from './support/check.js';
import { runModule } from './support/child.js';

describe('the signature', () => {
  test('has only the inputs that an output needs', () => {
    const graph = new Graph();
    const [x, y] = ['x', 'y', 'z'].map((name) => graph.input(name, 'float32', ['B', 2])) as [Value, Value];
    tanh(y);
    graph.output('twice', add(x, x));
    graph.output('same', x);
    const program = emit(graph);
    expect([...program.inputs]).toEqual([['x', { dtype: 'float32', shape: ['B', 2] }]]);
    expect([...program.outputs.keys()]).toEqual(['twice', 'same']);
  });

  test('keeps an input if only its size is used', async () => {
    const ones = await evaluate(
      (graph) => {
        graph.input('sized', 'float32', [3, 'N']);
        return { ones: add(zeros(graph, ['N']), graph.scalar(1)) };
      },
      { sized: f32(new Float32Array(12), [3, 4]) },
    );
    expect(numbers(ones.ones)).toEqual([1, 1, 1, 1]);
  });

  test('may use any names except those of generated values', async () => {
    const names = ['v1', 't0', 'i0', 'n0', 'constant_3', 'in place', 'a/b.c', 'sequence'];
    const results = await evaluate(
      (graph) => {
        const inputs = names.map((name) => graph.input(name, 'float32', ['B']));
        const total = inputs.reduce((a, b) => add(a, b));
        return { v2: total, t1: reshape(mul(total, graph.scalar(2)), [1, 'B']) };
      },
      Object.fromEntries(names.map((name, i) => [name, f32(Float32Array.of(i, 1), [2])])),
    );
    expect(numbers(results.v2)).toEqual([28, 8]);
    expect(numbers(results.t1)).toEqual([56, 16]);
    const graph = new Graph();
    graph.input('x', 'float32', []);
    for (const name of ['%7', '']) {
      expect(() => graph.input(name, 'float32', [])).toThrow(
        `graph: ${JSON.stringify(name)} is not a valid name`,
      );
    }
    expect(() => graph.input('x', 'float32', [])).toThrow('graph: the name x is taken');
    expect(() => graph.output('x', graph.scalar(1))).toThrow('graph: the name x is taken');
  });
});

describe('constants', () => {
  test('of every dtype arrive unchanged', async () => {
    const results = await evaluate((graph) => ({
      float32: graph.constant({ dtype: 'float32', shape: [2], data: Float32Array.of(0.1, -1e30) }),
      int64: graph.constant({ dtype: 'int64', shape: [1, 2], data: BigInt64Array.of(-1n, 2n ** 40n) }),
      int32: graph.constant({ dtype: 'int32', shape: [2], data: Int32Array.of(-7, 8) }),
      bool: graph.constant({ dtype: 'bool', shape: [3], data: Uint8Array.of(1, 0, 1) }),
    }));
    expect(numbers(results.float32)).toEqual([Math.fround(0.1), Math.fround(-1e30)]);
    expect(numbers(results.int64)).toEqual([-1, 2 ** 40]);
    expect(numbers(results.int32)).toEqual([-7, 8]);
    expect(numbers(results.bool)).toEqual([1, 0, 1]);
    expect(Object.entries(results).map(([name, { dtype }]) => name === dtype)).toEqual([
      true,
      true,
      true,
      true,
    ]);
  });

  test.each<[string, Parameters<Graph['constant']>[0], string]>([
    [
      'integers as floats',
      { dtype: 'float32', shape: [1], data: Int32Array.of(1) },
      'float32 in Float32Array',
    ],
    ['floats as integers', { dtype: 'int32', shape: [1], data: Float32Array.of(1) }, 'int32 in Int32Array'],
    ['short integers', { dtype: 'int64', shape: [1], data: Int32Array.of(1) }, 'int64 in BigInt64Array'],
  ])('are no %s', (_, constant, expected) => {
    expect(() => new Graph().constant(constant)).toThrow(
      new TypeError(`constant: expected ${expected}, found ${constant.data.constructor.name}`),
    );
  });

  test('must fill their shape', () => {
    expect(() =>
      new Graph().constant({ dtype: 'float32', shape: [2, 3], data: new Float32Array(5) }),
    ).toThrow(new RangeError('constant: expected 6 elements for [2, 3], found 5'));
  });
});

describe('sizes that appear inside a program', () => {
  test('are read from a value that is computed', async () => {
    const feeds = { a: f32(Float32Array.of(1, 2), [2, 1]), b: f32(Float32Array.of(3), [1, 1]) };
    const results = await evaluate((graph) => {
      const a = graph.input('a', 'float32', ['M', 1]);
      const b = graph.input('b', 'float32', ['N', 1]);
      // No output uses the first value of this size.
      tanh(concat([b, a], 0, 'joined'));
      const both = concat([a, b], 0, 'joined');
      return {
        both,
        wide: expand(reshape(both, [1, 'joined']), [2, 'joined']),
        apart: zeros(graph, ['joined']),
      };
    }, feeds);
    expect(numbers(results.wide)).toEqual([1, 2, 3, 1, 2, 3]);
    expect(numbers(results.apart)).toEqual([0, 0, 0]);
  });

  test('are read as a product if no value has its factors', async () => {
    const results = await evaluate(
      (graph) => {
        const x = graph.input('x', 'float32', ['2*B', 3]);
        const y = graph.input('y', 'float32', ['B*S', 3]);
        return {
          tall: expand(sum(x, [0], true), ['2*B', 3]),
          dy: gradients(sum(mul(y, y)), [y])[0] as Value,
        };
      },
      { x: f32(Float32Array.from([1, 2, 3, 4, 5, 6]), [2, 3]), y: f32(Float32Array.of(1, 2, 3), [1, 3]) },
    );
    expect(numbers(results.tall)).toEqual([5, 7, 9, 5, 7, 9]);
    expect(numbers(results.dy)).toEqual([2, 4, 6]);
  });

  test('are taken from inputs that are needed anyway', () => {
    const graph = new Graph();
    graph.input('labels', 'int64', ['B']);
    const x = graph.input('x', 'float32', ['B', 2]);
    graph.output('mean', mean(x));
    expect([...emit(graph).inputs.keys()]).toEqual(['x']);
  });

  test('must be the size of some value', () => {
    const graph = new Graph();
    graph.output('y', sum(zeros(graph, ['nowhere'])));
    // The only value of this size is the one that needs it.
    expect(() => emit(graph)).toThrow('emit: no value computed before it is needed has the size nowhere');
  });
});

describe('data in files', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'onnx-grad-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** Bit patterns and values from the tables of IEEE 754 binary16 and of bfloat16 (upper half of binary32). */
  const HALF = [
    [0x3c00, 1],
    [0xc000, -2],
    [0x7bff, 65504],
    [0x0001, 2 ** -24],
    [0x3555, 0.333251953125],
  ] as const;
  const BRAIN = [
    [0x3f80, 1],
    [0xc000, -2],
    [0x4049, 3.140625],
    [0x7f7f, 3.3895313892515355e38],
    [0x3eab, 0.333984375],
  ] as const;
  const SINGLE = Float32Array.of(0.1, -1e-30, 12345.678, 3e38, -0);

  test('are read in place at odd offsets, half formats widened exactly', async () => {
    const sixteen = (pairs: readonly (readonly [number, number])[]) => {
      const bytes = Buffer.alloc(2 * pairs.length);
      for (const [i, [bits]] of pairs.entries()) bytes.writeUInt16LE(bits, 2 * i);
      return bytes;
    };
    const parts = [Buffer.from(SINGLE.buffer), sixteen(HALF), sixteen(BRAIN)];
    const paddings = [7, 3, 1];
    const file: Buffer[] = [];
    const offsets = parts.map((part, i) => {
      file.push(Buffer.alloc(paddings[i] as number, 0xff));
      const offset = Buffer.concat(file).length;
      file.push(part);
      return offset;
    });
    await writeFile(join(folder, 'weights'), Buffer.concat(file));
    expect(offsets.map((offset) => offset % 2)).toEqual([1, 0, 1]);

    const program = (location: string) => {
      const graph = new Graph();
      const one = graph.scalar(1);
      for (const [i, storage] of (['float32', 'float16', 'bfloat16'] as const).entries()) {
        const length = parts[i]?.length as number;
        const offset = offsets[i] as number;
        const stored = graph.external(`w.${i}`, [5], { location, offset, length, storage });
        graph.output(storage, mul(cast(stored, 'float32'), one));
      }
      return emit(graph);
    };
    const sessions = [
      // The default: locations are absolute, without the leading slash.
      await Session.create(program(join(folder, 'weights').slice(1))),
      await Session.create(program('weights'), { externalDataFolder: folder }),
    ];
    for (const session of sessions) {
      const results = await session.run({});
      expect(numbers(results.float32)).toEqual(Array.from(SINGLE));
      expect(numbers(results.float16)).toEqual(HALF.map(([, value]) => value));
      expect(numbers(results.bfloat16)).toEqual(BRAIN.map(([, value]) => value));
      await session.dispose();
    }
  });

  test('missing files are an error at creation', async () => {
    const graph = new Graph();
    const data = { location: 'missing', offset: 0, length: 4, storage: 'float32' } as const;
    graph.output('y', mul(graph.external('w', [1], data), graph.scalar(2)));
    await expect(Session.create(emit(graph), { externalDataFolder: folder })).rejects.toThrow(/missing/);
  });

  test.skipIf(process.platform !== 'linux')(
    'are mapped, not copied; prepacking copies them once (reads /proc)',
    async () => {
      const [rows, columns] = [16384, 2048];
      const size = rows * columns * 4;
      const file = await open(join(folder, 'big'), 'w');
      await file.truncate(size);
      await file.close();
      const anonymous = async (prepack: boolean) => {
        const { stdout } = await runModule(`
          import { readFileSync } from 'node:fs';
          import { Graph, Session, emit, f32, linear } from 'onnx-grad';
          const graph = new Graph();
          const data = { location: 'big', offset: 0, length: ${size}, storage: 'float32' };
          const w = graph.external('w', [${rows}, ${columns}], data);
          graph.output('y', linear(graph.input('x', 'float32', ['B', ${columns}]), w));
          const program = emit(graph);
          const anonymous = () => Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
          const before = anonymous();
          const options = { externalDataFolder: ${JSON.stringify(folder)}, prepack: ${prepack} };
          const session = await Session.create(program, options);
          await session.run({ x: f32(new Float32Array(${columns}), [1, ${columns}]) });
          console.log((anonymous() - before) / 1024);
          await session.dispose();
        `);
        return Number(stdout);
      };
      const size_MiB = size / 2 ** 20;
      expect(await anonymous(false)).toBeLessThan(0.25 * size_MiB);
      expect(await anonymous(true)).toBeGreaterThan(0.9 * size_MiB);
      expect(await anonymous(true)).toBeLessThan(1.5 * size_MiB);
    },
  );
});

test('a program is plain data: it survives structured cloning', async () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['B', 2]);
  graph.output('y', sub(gemm(x, x, { transB: true }), graph.scalar(1)));
  const session = await Session.create(structuredClone(emit(graph)));
  const results = await session.run({ x: f32(Float32Array.of(1, 2, 3, 4), [2, 2]) });
  expect(numbers(results.y)).toEqual([4, 10, 10, 24]);
  await session.dispose();
});

test('i64 refuses numbers that are not integers', () => {
  expect(i64([1, 2, 2 ** 40], [3]).data).toEqual(BigInt64Array.of(1n, 2n, 2n ** 40n));
  expect(() => i64([0.5], [1])).toThrow(RangeError);
});
