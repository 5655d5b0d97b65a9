/** Bounds in a large corpus: the pairs that the drift learns from, and the documents encoded at once. */
import { type RolloutBatch, SelectiveEnvironment, type SelectiveOptions } from 'search-r3/environment';
import { randomStream } from 'search-r3/run';
import { afterEach, expect, test } from 'vitest';
import { unit } from './drifting.js';
import { dot, solve } from './reference.js';

const random = randomStream(4, 'large');
const circle = (angle: number) => [Math.cos(angle), Math.sin(angle)];
/** Pushes vectors by a smooth function of their position. */
const drifted = (x: readonly number[]) => unit([x[0]! + 0.2 * Math.sin(3 * x[1]!), x[1]! + 0.1 * x[0]! ** 2]);

let made: SelectiveEnvironment;
afterEach(() => made.dispose());

/** The documents encoded by two refreshes, call by call, and the vectors before and after the second. */
async function twoSteps(count: number, options: SelectiveOptions) {
  const before = Array.from({ length: count }, () => circle(2 * Math.PI * random.uniform()));
  const after = before.map(drifted);
  let vectors: readonly number[][] = before;
  const calls: number[][] = [];
  const encode = async (ids: readonly string[]) => {
    calls.push(ids.map((id) => Number(id.slice(1))));
    return Float32Array.from(ids.flatMap((id) => vectors[Number(id.slice(1))]!));
  };
  const ids = before.map((_, i) => `d${i}`);
  made = await SelectiveEnvironment.create(ids, { dimension: 2, encode }, options);
  const batch: RolloutBatch = { vectors: Float32Array.from(after[7]!), relevant: [new Map([['d7', 1]])] };
  await made.refresh(0, batch);
  const first = calls.splice(0);
  vectors = after;
  const { encoded } = await made.refresh(1, batch);
  return { before, after, ids, first, second: calls, encoded };
}

test('a corpus is encoded in blocks, few documents are random, and the map learns from 4,096 of the pairs', async () => {
  const { before, after, ids, first, second, encoded } = await twoSteps(20_500, {
    budget: { fraction: 0.6 },
    drift: { kernel: false },
    value: { rounds: 1 },
  });
  expect(first.map(({ length }) => length)).toEqual([8192, 8192, 4116]);
  expect(first.flat()).toEqual([...ids.keys()]);
  expect(encoded.random).toBe(1024);
  const order = second.flat();
  expect(order.length).toBe(12_300);
  const pairs = Array.from({ length: 4_096 }, (_, i) => order[Math.floor((i * 12_300) / 4_096)]!);
  const products = (other: readonly number[][]) =>
    [0, 1].map((k) =>
      [0, 1].map((j) =>
        pairs.reduce((total, i) => total + before[i]![k]! * other[i]![j]!, k === j ? 4_096 / 2 : 0),
      ),
    );
  const matrix = solve(products(before), products(after));
  let predictions = 0;
  for (const [i, id] of ids.entries()) {
    const { vector, predicted } = made.provenance(id)!;
    if (!predicted) continue;
    predictions++;
    const moved = unit([0, 1].map((j) => before[i]![0]! * matrix[0]![j]! + before[i]![1]! * matrix[1]![j]!));
    if (Math.abs(vector[0]! - moved[0]!) + Math.abs(vector[1]! - moved[1]!) > 2e-6) {
      expect([...vector], id).toEqual(moved);
    }
  }
  expect(predictions).toBe(8_200);
});

/** Solves (A + I) x = b by conjugate gradients. */
function conjugateGradients(a: readonly Float64Array[], b: readonly number[]): number[] {
  const x = b.map(() => 0);
  let r = [...b];
  let p = r;
  for (let step = 0; step < 200 && dot(r, r) > 1e-24; step++) {
    const product = a.map((row, i) => {
      let sum = p[i]!;
      for (let j = 0; j < row.length; j++) sum += row[j]! * p[j]!;
      return sum;
    });
    const alpha = dot(r, r) / dot(p, product);
    for (const i of x.keys()) x[i]! += alpha * p[i]!;
    const next = r.map((value, i) => value - alpha * product[i]!);
    const beta = dot(next, next) / dot(r, r);
    p = next.map((value, i) => value + beta * p[i]!);
    r = next;
  }
  return x;
}

test('the kernel learns from 1,024 evenly spaced pairs', async () => {
  const { before, after, ids, second } = await twoSteps(1_400, {
    budget: { documents: 1_300 },
    drift: { map: false },
    // It learns once: nothing is known before, so one round draws everything at random.
    value: { rounds: 1, random: 0 },
  });
  const order = second.flat();
  expect(order.length).toBe(1_300);
  const pairs = Array.from({ length: 1_024 }, (_, i) => order[Math.floor((i * 1_300) / 1_024)]!);
  const alike = (a: number, b: number) => Math.exp(8 * (dot(before[a]!, before[b]!) - 1));
  const gram = pairs.map((i) => Float64Array.from(pairs, (j) => alike(i, j)));
  const coefficients = [0, 1].map((k) =>
    conjugateGradients(
      gram,
      pairs.map((i) => after[i]![k]! - before[i]![k]!),
    ),
  );
  let predictions = 0;
  for (const [i, id] of ids.entries()) {
    const { vector, predicted } = made.provenance(id)!;
    if (!predicted) continue;
    predictions++;
    const moved = unit(
      before[i]!.map(
        (value, k) => value + pairs.reduce((total, j, at) => total + alike(i, j) * coefficients[k]![at]!, 0),
      ),
    );
    for (const [k, value] of moved.entries()) expect(vector[k]).toBeCloseTo(value, 5);
  }
  expect(predictions).toBe(100);
});
