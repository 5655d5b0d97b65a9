/** The drift and the value of documents, through the public environment, against their definitions. */
import { ExactEnvironment, SelectiveEnvironment, type SelectiveOptions } from 'search-r3/environment';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { unit } from './drifting.js';
import { dot, referenceDrift } from './reference.js';

const DIMENSION = 5;
const COUNT = 40;
const random = randomStream(3, 'drift test');
const row = () => unit(Array.from({ length: DIMENSION }, () => random.normal()));
const before = Array.from({ length: COUNT }, row);
const after = before.map((x) =>
  unit(x.map((value, k) => value + 0.1 * Math.sin(3 * x[(k + 1) % DIMENSION]!))),
);
const IDS = before.map((_, i) => `d${i}`);
const ROLLOUTS = [0, 1, 2].map((i) => ({ query: row(), positive: i * 7 }));
const BATCH = {
  vectors: Float32Array.from(ROLLOUTS.flatMap(({ query }) => query)),
  relevant: ROLLOUTS.map(({ positive }) => new Map([[`d${positive}`, 1]])),
};

/** Runs two steps; returns what the second encoded, and the vectors after it. */
async function twoSteps(options: SelectiveOptions) {
  let vectors = before;
  const encode = async (ids: readonly string[]) =>
    Float32Array.from(ids.flatMap((id) => vectors[Number(id.slice(1))]!));
  const environment = await SelectiveEnvironment.create(IDS, { dimension: DIMENSION, encode }, options);
  await environment.refresh(0, BATCH);
  vectors = after;
  const report = await environment.refresh(1, BATCH);
  const documents = IDS.map((id) => environment.provenance(id)!);
  await environment.dispose();
  return { report, documents };
}

describe('stale documents are where map and kernel, by their definitions, predict them', () => {
  // More pairs than dimensions, and fewer: the primal and the dual form.
  const few = { documents: 4 };
  const many = { documents: 14 };
  test.each<[string, SelectiveOptions]>([
    ['primal', { budget: many }],
    ['dual', { budget: few, drift: { kernel: false } }],
    ['without the kernel', { budget: many, drift: { kernel: false } }],
    ['lambda', { budget: many, drift: { lambda: 0.2 } }],
    ['ridge', { budget: many, drift: { ridge: 0.2 } }],
    ['sharpness', { budget: many, drift: { sharpness: 2 } }],
  ])('%s', async (_, options) => {
    const { documents } = await twoSteps(options);
    const pairs = IDS.map((__, i) => i).filter((i) => !documents[i]!.predicted);
    expect(pairs.length).toBe((options.budget as { documents: number }).documents);
    const learnt = referenceDrift(
      pairs.map((i) => ({ document: i, old: before[i]!, fresh: after[i]! })),
      options.drift ?? {},
    );
    let moved = 0;
    for (const [i, { vector, predicted, version }] of documents.entries()) {
      if (!predicted) {
        expect(version).toBe(1);
        continue;
      }
      for (const [k, value] of learnt.move(i, before[i]!).entries()) expect(vector[k]).toBeCloseTo(value, 5);
      moved = Math.max(moved, 1 - dot([...vector], before[i]!));
    }
    expect(moved).toBeGreaterThan(1e-4);
  });

  test('a part that predicts unseen pairs worse than nothing would is left out', async () => {
    // Random movement cannot be predicted: every vector stays in place.
    const shaken = randomStream(5, 'shaken');
    let vectors = before;
    const encode = async (ids: readonly string[]) =>
      Float32Array.from(ids.flatMap((id) => vectors[Number(id.slice(1))]!));
    const options = { budget: { documents: 12 }, drift: { lambda: 0.001, ridge: 0.001 } };
    const environment = await SelectiveEnvironment.create(IDS, { dimension: DIMENSION, encode }, options);
    await environment.refresh(0, BATCH);
    vectors = before.map((x) => unit(x.map((value) => value + 0.3 * shaken.normal())));
    await environment.refresh(1, BATCH);
    const stale = IDS.map((id) => environment.provenance(id)!).filter(({ version }) => version === 0);
    expect(stale.length).toBe(28);
    expect(stale.every(({ predicted }) => !predicted)).toBe(true);
    await environment.dispose();
  });

  test.each<[string, number, SelectiveOptions['drift'], SelectiveOptions['drift']]>([
    ['the kernel', 0.02, { ridge: 1e-12 }, { kernel: false }],
    ['the map', 0, { lambda: 1e-30, kernel: false }, { map: false, kernel: false }],
  ])('%s is left out where its ridge is too little to solve for it', async (_, size, little, without) => {
    const shaken = randomStream(6, 'alike');
    const near = (x: readonly number[], size: number) =>
      unit(x.map((value) => value + size * shaken.normal()));
    // Equal vectors in pairs, or all equal: the kernel cannot tell the documents apart, nor the map the directions.
    const alike = before.map(() => near(before[0]!, size)).map((x, i, all) => all[i - (i % 2)] ?? x);
    const moved = alike.map((x) =>
      near(
        x.map((value, k) => value + 0.1 * x[(k + 1) % DIMENSION]!),
        0.001,
      ),
    );
    const outcome = async (drift: SelectiveOptions['drift']) => {
      let vectors = alike;
      const encode = async (ids: readonly string[]) =>
        Float32Array.from(ids.flatMap((id) => vectors[Number(id.slice(1))]!));
      const sources = { dimension: DIMENSION, encode };
      const environment = await SelectiveEnvironment.create(IDS, sources, {
        budget: { documents: 30 },
        // In one round, with many equal vectors among them.
        value: { random: 1 },
        drift,
      });
      await environment.refresh(0, BATCH);
      vectors = moved;
      const { encoded } = await environment.refresh(1, BATCH);
      const documents = IDS.map((id) => environment.provenance(id));
      await environment.dispose();
      return { encoded, documents };
    };
    expect(await outcome(little)).toEqual(await outcome(without));
  });
});

describe('the documents encoded', () => {
  test('by value: those whose scores are nearest to a positive, in one round without random ones', async () => {
    const options: SelectiveOptions = {
      budget: { documents: 9 },
      drift: { map: false, kernel: false },
      value: { random: 0, rounds: 1 },
    };
    const { report, documents } = await twoSteps(options);
    expect(report.encoded).toEqual({ positives: 3, value: 6 });
    // All have the same age: for each rollout the value falls with the distance to the boundary.
    const fresh = new Set(IDS.flatMap((_, i) => (documents[i]!.version === 1 ? [i] : [])));
    const gaps = ROLLOUTS.map(({ query, positive }) =>
      before.map((x) => Math.abs(dot(query, x) - dot(query, after[positive]!))),
    );
    for (const stale of IDS.keys()) {
      if (fresh.has(stale)) continue;
      // No stale document is nearer to every boundary than an encoded one.
      const nearer = [...fresh].filter(
        (i) => !ROLLOUTS.some(({ positive }) => positive === i) && gaps.every((own) => own[stale]! < own[i]!),
      );
      expect(nearer).toEqual([]);
    }
  });

  test('by region: what rollouts find, most frequent first, then the oldest', async () => {
    const { report, documents } = await twoSteps({
      policy: 'region',
      budget: { documents: 12 },
      region: { topK: 3, neighbours: 0, rounds: 1, sweep: 0.25 },
    });
    const found = new Set(
      ROLLOUTS.flatMap(({ query, positive }) => {
        // The positives are fresh at the time of the search.
        const now = before.map((x, i) => (ROLLOUTS.some((other) => other.positive === i) ? after[i]! : x));
        const scores = now.map((x) => dot(query, x));
        const best = IDS.map((_, i) => i).sort((a, b) => scores[b]! - scores[a]!);
        return [positive, ...best.slice(0, 3)];
      }),
    );
    for (const i of found) expect(documents[i]!.version).toBe(1);
    expect(report.encoded.positives).toBe(3);
    expect(report.encoded.region).toBe(found.size - 3);
    expect(report.encoded.sweep).toBe(Math.min(3, 12 - found.size));
  });

  test('by region: neighbours of the positives belong to it', async () => {
    const { report, documents } = await twoSteps({
      policy: 'region',
      budget: { documents: 40 },
      region: { topK: 1, neighbours: 4, rounds: 1, sweep: 0 },
    });
    for (const { positive } of ROLLOUTS) {
      const now = before.map((x, i) => (ROLLOUTS.some((other) => other.positive === i) ? after[i]! : x));
      const scores = now.map((x) => dot(now[positive]!, x));
      const near = IDS.map((_, i) => i)
        .filter((i) => i !== positive)
        .sort((a, b) => scores[b]! - scores[a]!)
        .slice(0, 4);
      for (const i of near) expect(documents[i]!.version).toBe(1);
    }
    expect(report.encoded.sweep).toBeUndefined();
    expect(report.encoded.region).toBeLessThanOrEqual(15);
  });

  test('by region: what is younger than the bound is fresh', async () => {
    const region = { topK: 3, rounds: 1, sweep: 0 };
    const { report } = await twoSteps({
      policy: 'region',
      budget: { fraction: 1 },
      region: { ...region, staleness: 1 },
    });
    expect(report.encoded).toEqual({ positives: 3 });
  });
});

test('oracle and environment agree on the reward with a cut', async () => {
  const encode = async (ids: readonly string[]) =>
    Float32Array.from(ids.flatMap((id) => before[Number(id.slice(1))]!));
  const told = { dimension: DIMENSION, encode };
  const own = await SelectiveEnvironment.create(IDS, told, { cut: 3 });
  const oracle = await ExactEnvironment.create(IDS, encode, { dimension: DIMENSION, cut: 3 });
  await own.refresh(0, BATCH);
  await oracle.refresh(0);
  expect(await own.reward(BATCH)).toEqual(await oracle.reward(BATCH));
  await own.dispose();
  await oracle.dispose();
});
