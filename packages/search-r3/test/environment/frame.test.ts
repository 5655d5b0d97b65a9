/**
 * Large corpora, of which a step looks at few documents: the others move with their frame. Forty documents with few
 * candidates behave the same.
 */
import { ExactEnvironment, type SelectiveEnvironment, type SelectiveOptions } from 'search-r3/environment';
import { describe, expect, test } from 'vitest';
import { ALL, COUNT, drawing, environmentOf, type Rows } from './by-hand.js';
import { unit } from './drifting.js';
import { dot } from './reference.js';

const DIMENSION = 5;
const few: SelectiveOptions = {
  budget: { documents: 12 },
  drift: { kernel: false, lambda: 1e-7 },
  value: { candidates: 6 },
  audit: { documents: 4 },
};

/** Turns the plane of two axes, a different one at every step. */
function rotated(rows: Rows, step: number, angle = 0.3): number[][] {
  const [i, j] = [step % DIMENSION, (2 * step + 1 + (step % DIMENSION)) % DIMENSION];
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  if (i === j) return rows.map((x) => [...x]);
  return rows.map((x) =>
    x.map((value, k) => (k === i ? c * value - s * x[j]! : k === j ? s * x[i]! + c * value : value)),
  );
}

/** The score of every document for a query, by a search. */
async function found(environment: SelectiveEnvironment, query: readonly number[]): Promise<number[]> {
  const [all] = await environment.search(Float32Array.from(query), COUNT);
  const scores = new Map(all!.map(({ id, score }) => [Number(id.slice(1)), score]));
  return ALL.map((row) => scores.get(row)!);
}

describe('a drift that a map describes exactly', () => {
  test('vectors, searches and rewards stay those of a freshly encoded corpus', async () => {
    const draw = drawing('frame');
    // Two documents are equal, and so are their scores.
    let truth: Rows = draw.units().map((x, row, all) => (row === 12 ? all[11]! : x));
    const { at, environment, now } = await environmentOf(few, truth);
    const oracle = await ExactEnvironment.create(
      environment.documents,
      async (ids) => Float32Array.from(ids.flatMap((id) => [...truth[Number(id.slice(1))]!])),
      { dimension: DIMENSION },
    );
    let predicted = 0;
    for (let step = 1; step < 40; step++) {
      truth = rotated(truth, step);
      at.vectors = truth;
      const { queries, batch } = draw.rolloutsNear(truth, [step % 9, 11, (7 * step) % COUNT], 0.9);
      for (const id of ['d11', 'd12']) (batch.relevant[1] as Map<string, number>).set(id, 1 + (step % 2));
      await environment.refresh(step, batch);
      await oracle.refresh(step);
      for (const [row, { vector, predicted: moved }] of now().entries()) {
        predicted += Number(moved);
        for (const [k, value] of truth[row]!.entries()) expect(vector[k]).toBeCloseTo(value, 3);
        if (!moved) expect(vector).toEqual(Float32Array.from(truth[row]!));
      }
      const scores = await found(environment, queries[0]!);
      for (const row of ALL) expect(scores[row]).toBeCloseTo(dot(queries[0]!, truth[row]!), 3);
      const rewards = (await environment.reward(batch)).map(({ reward }) => reward);
      expect(rewards).toEqual((await oracle.reward(batch)).map(({ reward }) => reward));
    }
    expect(predicted).toBeGreaterThan(39 * 20);
    await oracle.dispose();
  });

  test('a restored environment continues bit for bit', async () => {
    const draw = drawing('restored');
    let truth: Rows = draw.units();
    const own = await environmentOf(few, truth);
    const other = await environmentOf(few, truth);
    for (let step = 1; step < 9; step++) {
      truth = rotated(truth, step);
      own.at.vectors = other.at.vectors = truth;
      const { batch } = draw.rolloutsNear(truth, [3, step], 0.9);
      await own.environment.refresh(step, batch);
      if (step === 5) await own.environment.audit(step, batch);
      if (step >= 6) {
        await other.environment.refresh(step, batch);
        expect(await other.environment.reward(batch)).toEqual(await own.environment.reward(batch));
      } else if (step === 5) {
        const state = own.environment.state();
        expect(Object.keys(state.arrays)).toContain('frame');
        await other.environment.restore(state);
      }
    }
    expect(other.now()).toEqual(own.now());
    const query = draw.units()[0]!;
    expect(await found(other.environment, query)).toEqual(await found(own.environment, query));
  });
});

describe('a drift that changes lengths', () => {
  /** The largest distance of a score found from that with the document's vector, by step: stretched by `factors`. */
  async function deviations(factors: readonly number[], steps: number, lambda = 1e-7) {
    const draw = drawing('stretched');
    let truth: Rows = draw.units();
    const { at, environment, now } = await environmentOf({ ...few, drift: { ...few.drift, lambda } }, truth);
    const query = draw.units()[0]!;
    const result: { raw: number; predicted: number; mean: number }[] = [];
    for (let step = 1; step <= steps; step++) {
      truth = truth.map((x) => unit(x.map((value, k) => value * factors[(k + step) % DIMENSION]!)));
      at.vectors = truth;
      await environment.refresh(step, draw.rolloutsNear(truth, [step % 9, 11], 0.9).batch);
      const scores = await found(environment, query);
      const all = now().map(({ vector, predicted }, row) => {
        const own = dot(query, [...vector]);
        return { predicted, away: Math.abs(scores[row]! - own), ratio: scores[row]! / own };
      });
      const most = (moved: boolean) =>
        Math.max(...all.filter(({ predicted }) => predicted === moved).map(({ away }) => away));
      const ratios = all.map(({ ratio }) => ratio).toSorted((a, b) => a - b);
      result.push({ raw: most(false), predicted: most(true), mean: ratios[COUNT / 2]! });
    }
    return result;
  }

  test('raw vectors have exact scores, moved ones approximate scores, exact again after sixteen maps', async () => {
    const all = await deviations([1.001, 0.9985, 1, 1.002, 0.999], 34);
    for (const [i, { raw, predicted, mean }] of all.entries()) {
      expect(raw).toBeLessThan(2e-6);
      // The sixteenth map flattened the frame, and so does the thirty-second.
      if (i === 15 || i === 31) expect(predicted).toBeLessThan(1e-6);
      else expect(predicted).toBeGreaterThan(1e-5);
      expect(predicted).toBeLessThan(0.02);
      expect(Math.abs(mean - 1)).toBeLessThan(0.005);
    }
  });

  test('a frame is flattened at once if lengths differ by more than a hundredth', async () => {
    const all = await deviations([1, 1, 0.8, 1, 1], 3);
    for (const { raw, predicted } of all) {
      expect(raw).toBeLessThan(2e-6);
      expect(predicted).toBeLessThan(1e-6);
    }
  });

  test('a map without an inverse does not end a run: vectors that lost a direction are found by the rest', async () => {
    const all = await deviations([1, 1, 0, 1, 1], 3, 1e-30);
    for (const { raw, predicted } of all) {
      expect(raw).toBeLessThan(2e-6);
      expect(predicted).toBeLessThan(1e-6);
    }
  });
});
