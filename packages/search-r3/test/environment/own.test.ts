/** Rollouts whose query is a document: rewards are those of a corpus without that document. */
import {
  type EncodeDocuments,
  ExactEnvironment,
  type RolloutBatch,
  SelectiveEnvironment,
} from 'search-r3/environment';
import { randomStream } from 'search-r3/run';
import { expect, test } from 'vitest';
import { dcgReward } from '../reference/losses.js';
import { unit } from './drifting.js';
import { dot } from './reference.js';

const DIMENSION = 5;
const random = randomStream(4, 'own documents');
const draw = () => unit(Array.from({ length: DIMENSION }, () => random.normal()));
const VECTORS = Array.from({ length: 40 }, draw);
const IDS = VECTORS.map((_, i) => `d${i}`);
// Near-copies of documents, so that their own document comes first; the last two are of none.
const QUERIES = [3, 3, 17, 30, 8, 12].map((i) => unit(VECTORS[i]!.map((x) => x + 0.1 * random.normal())));
const OWN = ['d3', 'd3', 'd17', 'd30', undefined, undefined];
const BATCH: RolloutBatch = {
  vectors: Float32Array.from(QUERIES.flat()),
  relevant: [{ d9: 1 }, { d0: 1, d21: 3 }, { d4: 2, d5: 1 }, { d30: 3, d2: 1 }, { d8: 1 }, { d3: 1 }].map(
    (grades) => new Map(Object.entries(grades)),
  ),
  own: OWN,
};

/** By the definition, on the corpus without each query's own document. */
const expected = QUERIES.map((query, i) => {
  const ids = IDS.filter((id) => id !== OWN[i]);
  const scores = ids.map((id) => dot(query, VECTORS[IDS.indexOf(id)]!));
  const grades = ids.map((id) => BATCH.relevant[i]!.get(id) ?? 0);
  const best = Math.max(...scores.filter((_, d) => grades[d]! > 0));
  return { reward: dcgReward(scores, grades), rank: scores.filter((score) => score > best).length + 1 };
});

const encode: EncodeDocuments = async (ids) =>
  Float32Array.from(ids.flatMap((id) => VECTORS[Number(id.slice(1))]!));

const check = (found: readonly { reward: number; rank: number }[]) => {
  expect(found.map(({ rank }) => rank)).toEqual(expected.map(({ rank }) => rank));
  for (const [i, { reward }] of found.entries()) expect(reward).toBeCloseTo(expected[i]!.reward, 6);
};

test('in the exact environment', async () => {
  const environment = await ExactEnvironment.create(IDS, encode, { dimension: DIMENSION });
  await environment.refresh(0);
  check(await environment.reward(BATCH));
  const { own: _, ...ranked } = BATCH;
  const [first] = await environment.reward(ranked);
  expect(first!.rank).toBe(expected[0]!.rank + 1);
  environment.change({ removed: ['d3', 'd8'] });
  await expect(environment.reward(BATCH)).rejects.toThrow(/relevant documents of rollout 4/);
  const some: RolloutBatch = {
    vectors: BATCH.vectors.slice(0, 4 * DIMENSION),
    relevant: BATCH.relevant.slice(0, 4),
    own: OWN,
  };
  // The own document of the first two is gone; one place fewer for those behind d8 only.
  const [gone] = await environment.reward(some);
  expect(expected[0]!.rank - gone!.rank).toBe(
    Number(dot(QUERIES[0]!, VECTORS[8]!) > dot(QUERIES[0]!, VECTORS[9]!)),
  );
  await environment.dispose();
});

// With few candidates ranks come from the close look, else from a scan.
test.each([7, 100])('in the selective environment, looking at %d documents', async (candidates) => {
  const environment = await SelectiveEnvironment.create(
    IDS,
    { dimension: DIMENSION, encode },
    { value: { candidates }, budget: { documents: 4 }, drift: { map: false, kernel: false } },
  );
  await environment.refresh(0, BATCH);
  check(await environment.reward(BATCH));
  for (const version of [1, 2]) {
    const { encoded } = await environment.refresh(version, BATCH);
    // Positives, and the own documents that take no place: d3, d17 and d30 beside the eight positives, two of which
    // are own documents of others or themselves.
    expect(encoded.positives).toBe(
      new Set([...OWN.filter((id) => id !== undefined), ...BATCH.relevant.flatMap((r) => [...r.keys()])])
        .size,
    );
    check(await environment.reward(BATCH));
    const { rewardError } = await environment.audit(version, BATCH);
    expect(rewardError).toBeLessThan(1e-6);
  }
  await environment.dispose();
});
