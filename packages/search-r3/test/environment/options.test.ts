/** Options of the selective environment, each against numbers computed from its definition in float64. */
import { readFileSync } from 'node:fs';
import {
  type RefreshReport,
  type RolloutBatch,
  SelectiveEnvironment,
  type SelectiveOptions,
  selectiveOptionsSchema,
} from 'search-r3/environment';
import { randomStream } from 'search-r3/run';
import { AnnIndex } from 'search-r3/vectors';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { optionNames } from '../sft/options.js';
import { unit } from './drifting.js';
import {
  dot,
  referenceCandidates,
  referenceDrift,
  referenceValues,
  referenceVariance,
  wordCosines,
} from './reference.js';

/** What covers each option: a test, by a part of its name. */
const COVERED: Record<string, [file: string, name: string]> = {
  policy: ['fidelity', 'at equal cost value beats region'],
  'budget.documents': ['drift', 'stale documents are where map and kernel'],
  'budget.fraction': ['fidelity', 'at equal cost value beats region'],
  'budget.targetError': ['fidelity', 'is held, and a smaller one costs more'],
  'budget.most': ['options', 'budget.most'],
  index: ['options', 'index: a graph where it is asked for'],
  seed: ['options', 'seed: other draws'],
  cut: ['options', 'cut: what lies beyond it is worth nothing'],
  'drift.map': ['fidelity', 'every part of it helps'],
  'drift.lambda': ['drift', "['lambda'"],
  'drift.kernel': ['drift', "['without the kernel'"],
  'drift.ridge': ['drift', "['ridge'"],
  'drift.words': ['options', 'drift.words'],
  'drift.sharpness': ['drift', "['sharpness'"],
  'value.random': ['options', 'value.random: a share of the budget'],
  'value.rounds': ['options', 'value.rounds: so many'],
  'value.width': ['options', 'value.width and value.ageLimit'],
  'value.ageLimit': ['options', 'value.width and value.ageLimit'],
  'value.candidates': ['options', 'value.candidates'],
  'region.topK': ['drift', 'by region: what rollouts find'],
  'region.neighbours': ['drift', 'by region: neighbours of the positives'],
  'region.staleness': ['drift', 'by region: what is younger than the bound'],
  'region.rounds': ['options', 'region.rounds'],
  'region.sweep': ['drift', 'by region: what rollouts find'],
  'audit.documents': ['options', 'audit.documents'],
  'audit.bound': ['fidelity', 'warns when the bound is passed'],
};

test('no option is forgotten', () => {
  expect(Object.keys(COVERED).sort()).toEqual(optionNames(selectiveOptionsSchema).sort());
  for (const [file, name] of Object.values(COVERED)) {
    const tests = readFileSync(new URL(`${file}.test.ts`, import.meta.url), 'utf8').split('const TABLE');
    // This list is no test.
    const own =
      file === 'options' ? tests.join('').slice(tests.join('').indexOf("test('no option")) : tests.join('');
    expect(own, name).toContain(name);
  }
});

const DIMENSION = 5;
const COUNT = 40;
const IDS = Array.from({ length: COUNT }, (_, i) => `d${i}`);
const ALL = [...IDS.keys()];
const random = randomStream(8, 'options test');
const normals = () => Array.from({ length: DIMENSION }, () => random.normal());
const shaken = (rows: readonly number[][], size: number) =>
  rows.map((x) => unit(x.map((value) => value + size * random.normal())));

type Rows = readonly (readonly number[])[];

/** Rollouts near the positive of each, of `rows`. */
function rolloutsNear(rows: Rows, positives: readonly number[], size: number) {
  const queries = positives.map((i) => unit(rows[i]!.map((value) => value + size * random.normal())));
  const batch: RolloutBatch = {
    vectors: Float32Array.from(queries.flat()),
    relevant: positives.map((i) => new Map([[`d${i}`, 1]])),
  };
  return { queries, positives, batch };
}
const NONE: RolloutBatch = { vectors: new Float32Array(), relevant: [] };

/** An environment on a corpus whose vectors are set by hand. */
async function environmentOf(options: SelectiveOptions, first: Rows, texts?: string[]) {
  const at = { vectors: first };
  const row = (id: string) => Number(id.slice(1));
  const encode = async (ids: readonly string[]) =>
    Float32Array.from(ids.flatMap((id) => [...at.vectors[row(id)]!]));
  const environment = await SelectiveEnvironment.create(
    IDS,
    { dimension: DIMENSION, encode, ...(texts !== undefined && { text: (id) => texts[row(id)]! }) },
    options,
  );
  made.push(environment);
  await environment.refresh(0, NONE);
  const now = () => IDS.map((id) => environment.provenance(id)!);
  return { at, environment, now };
}
const made: SelectiveEnvironment[] = [];
afterEach(async () => {
  for (const environment of made.splice(0)) await environment.dispose();
  vi.restoreAllMocks();
});

const versionsOf = (documents: readonly { version: number }[]) => documents.map(({ version }) => version);
const encodedBy = ({ encoded }: RefreshReport) => Object.values(encoded).reduce((a, b) => a + b, 0);
const scoresOf = (queries: Rows, rows: Rows) => queries.map((query) => rows.map((x) => dot(query, x)));
const still = { map: false, kernel: false };

describe('the uncertainty of a score', () => {
  const before = Array.from({ length: COUNT }, () => unit(normals()));
  const middle = shaken(before, 0.1);
  const after = shaken(middle, 0.15);
  const { queries, positives, batch } = rolloutsNear(after, [3, 17, 30], 0.5);

  /** Documents of two ages, and what the environment expects of them. */
  async function expectations(value: { width?: number; ageLimit?: number; candidates?: number }) {
    const options = { policy: 'random', budget: { documents: 9 }, value } as const;
    const { at, environment, now } = await environmentOf(options, before);
    at.vectors = middle;
    await environment.refresh(4, NONE);
    const old = now();
    at.vectors = after;
    const report = await environment.refresh(5, batch);
    const fresh = now();
    const pairs = ALL.filter((i) => fresh[i]!.version === 5);
    expect(pairs.length).toBe(9);
    expect(versionsOf(old).filter((version) => version === 4).length).toBe(9);
    const { width = 1, ageLimit = 8 } = value;
    const residuals = pairs.map((i) => after[i]!.map((x, k) => x - old[i]!.vector[k]!));
    const ages = pairs.map((i) => 5 - old[i]!.version);
    const variance = referenceVariance(residuals, ages, queries, ageLimit);
    const deviations = fresh.map(
      ({ version }) => width * Math.sqrt(variance * Math.min(5 - version, ageLimit)),
    );
    const scores = scoresOf(
      queries,
      fresh.map(({ vector }) => [...vector]),
    );
    return { found: report.expectedError, scores, deviations };
  }

  test.each([{}, { width: 2.5 }, { ageLimit: 1 }])(
    'value.width and value.ageLimit: the error to expect under %j',
    async (value) => {
      const { found, scores, deviations } = await expectations(value);
      const { expectedError } = referenceValues({ scores, deviations, positives });
      expect(found).toBeCloseTo(expectedError, 5);
      const standard = await expectations({});
      expect(Math.abs(found - standard.found) > 5e-4).toBe(Object.keys(value).length > 0);
    },
  );

  test('value.candidates: only what lies near some rollout is looked at', async () => {
    const { found, scores, deviations } = await expectations({ candidates: 16 });
    const { looked, floors } = referenceCandidates(scores, 16);
    const { expectedError } = referenceValues({ scores, deviations, positives, looked, floors });
    expect(found).toBeCloseTo(expectedError, 5);
    expect(Math.abs(found - (await expectations({})).found)).toBeGreaterThan(1e-3);
  });
});

describe('the budget', () => {
  const before = Array.from({ length: COUNT }, () => unit(normals()));
  const after = shaken(before, 0.3);
  const { queries, positives, batch } = rolloutsNear(after, [1, 2, 35], 0.5);

  test.each([0.3, 0.5])('budget.most: %d of the corpus where no target is reached', async (most) => {
    const { at, environment } = await environmentOf(
      { budget: { targetError: 1e-9, most }, drift: still },
      before,
    );
    at.vectors = after;
    expect(encodedBy(await environment.refresh(1, batch))).toBe(most * COUNT);
  });

  test('value.random: a share of the budget', async () => {
    const { at, environment } = await environmentOf(
      { budget: { documents: 20 }, value: { random: 0.3 }, drift: still },
      before,
    );
    at.vectors = after;
    const { encoded } = await environment.refresh(1, batch);
    expect(encoded).toMatchObject({ positives: 3, random: 6 });
    expect(encoded.value).toBeGreaterThan(0);
  });

  test.each([1, 4])('value.rounds: so many, of equal size: %d', async (rounds) => {
    const { at, environment } = await environmentOf(
      { budget: { documents: 19 }, value: { rounds, random: 0 }, drift: still },
      before,
    );
    at.vectors = after;
    const report = await environment.refresh(1, batch);
    expect(report.rounds).toBe(rounds);
    expect(report.encoded).toEqual({ positives: 3, value: 16 });
  });

  test('audits correct the expectation by the root of what they find in terms of it', async () => {
    const targetError = 0.01;
    const { at, environment, now } = await environmentOf(
      { policy: 'random', budget: { targetError, most: 0.2 }, audit: { documents: 5 } },
      before,
    );
    at.vectors = after;
    const first = await environment.refresh(1, batch);
    const residuals = ALL.filter((i) => now()[i]!.version === 1).map((i) =>
      after[i]!.map((x, k) => x - before[i]![k]!),
    );
    const variance = referenceVariance(
      residuals,
      residuals.map(() => 1),
      queries,
    );
    const expectation = () => {
      const deviations = now().map(({ version }) => (version === 1 ? 0 : Math.sqrt(variance)));
      const scores = scoresOf(
        queries,
        now().map(({ vector }) => [...vector]),
      );
      return referenceValues({ scores, deviations, positives }).expectedError;
    };
    const expected = expectation();
    expect(first.expectedError).toBeCloseTo(expected, 5);
    const { rewardError } = await environment.audit(1, batch);
    const floor = targetError / 4;
    const correction = Math.sqrt((rewardError + floor) / (expected + floor));
    expect(Math.abs(correction - 1)).toBeGreaterThan(0.05);
    // The same step again: nothing is left to encode, what the audit encoded is known now.
    const again = await environment.refresh(1, batch);
    expect(encodedBy(again)).toBe(0);
    expect(again.expectedError).toBeCloseTo(correction * expectation(), 5);
  });

  test.each([2, 7])('audit.documents: %d encoded', async (documents) => {
    const { at, environment, now } = await environmentOf({ audit: { documents } }, before);
    at.vectors = after;
    await environment.refresh(1, batch);
    const fresh = () => now().filter(({ version }) => version === 1).length;
    const known = fresh();
    expect((await environment.audit(1, batch)).encoded).toBe(documents);
    expect(fresh()).toBe(known + documents);
  });

  test('seed: other draws', async () => {
    const drawn = async (seed: number) => {
      const { environment, now } = await environmentOf(
        { policy: 'random', seed, budget: { documents: 6 } },
        before,
      );
      await environment.refresh(1, NONE);
      return versionsOf(now());
    };
    expect(await drawn(1)).toEqual(await drawn(1));
    expect(await drawn(2)).not.toEqual(await drawn(1));
  });

  test('index: a graph where it is asked for, with the same rewards', async () => {
    const create = vi.spyOn(AnnIndex, 'create');
    const rewards = async (index: 'ann' | 'exact') => {
      const { at, environment } = await environmentOf({ policy: 'region', index }, before);
      at.vectors = after;
      await environment.refresh(1, batch);
      return environment.reward(batch);
    };
    const exact = await rewards('exact');
    expect(create).not.toHaveBeenCalled();
    expect(await rewards('ann')).toEqual(exact);
    expect(create).toHaveBeenCalledTimes(1);
  });
});

describe('what is chosen', () => {
  const before = Array.from({ length: COUNT }, () => unit(normals()));

  /** The stale documents of most value. */
  const best = (values: readonly number[], count: number) =>
    ALL.filter((i) => values[i]! > 0)
      .toSorted((a, b) => values[b]! - values[a]!)
      .slice(0, count)
      .sort((a, b) => a - b);

  test('cut: what lies beyond it is worth nothing', async () => {
    const after = shaken(before, 0.2);
    const { queries, positives, batch } = rolloutsNear(after, [4, 9, 22, 33], 1.5);
    const residuals = positives.map((i) => after[i]!.map((x, k) => x - before[i]![k]!));
    const deviation = Math.sqrt(referenceVariance(residuals, [1, 1, 1, 1], queries));
    const known = before.map((x, i) => (positives.includes(i) ? after[i]! : x));
    const deviations = ALL.map((i) => (positives.includes(i) ? 0 : deviation));
    const chosen: number[][] = [];
    for (const cut of [3, undefined]) {
      const { at, environment, now } = await environmentOf(
        {
          budget: { documents: 16 },
          drift: still,
          value: { random: 0, rounds: 1 },
          ...(cut !== undefined && { cut }),
        },
        before,
      );
      at.vectors = after;
      const { encoded } = await environment.refresh(1, batch);
      expect(encoded).toEqual({ positives: 4, value: 12 });
      const scores = scoresOf(queries, known);
      const { values } = referenceValues({
        scores,
        deviations,
        positives,
        ...(cut !== undefined && { cut }),
      });
      const found = now();
      chosen.push(ALL.filter((i) => found[i]!.version === 1 && !positives.includes(i)));
      expect(chosen.at(-1)).toEqual(best(values, 12));
    }
    expect(chosen[0]).not.toEqual(chosen[1]);
  });

  test('candidates are looked for where the map says that documents are now', async () => {
    // A turn by about a right angle in two planes, and a little that no map tells of.
    const after = before.map((x) =>
      unit([-x[1]!, x[0]!, -x[3]!, x[2]!, x[4]!].map((value) => value + 0.1 * random.normal())),
    );
    const candidates = 16;
    const { queries, positives, batch } = rolloutsNear(after, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27], 0.3);
    const { at, environment, now } = await environmentOf(
      {
        budget: { documents: 14 },
        drift: { kernel: false, lambda: 0.05 },
        value: { random: 0, rounds: 1, candidates },
      },
      before,
    );
    at.vectors = after;
    const report = await environment.refresh(1, batch);
    expect(report.encoded).toEqual({ positives: 10, value: 4 });
    const pairs = positives.map((i) => ({ document: i, old: before[i]!, fresh: after[i]! }));
    const { residuals, times } = referenceDrift(pairs, { lambda: 0.05, kernel: false });
    const moved = before.map((x, i) => (positives.includes(i) ? after[i]! : times(x)));
    // Encoded ones lie in the store as they are, and are found by turned rollouts all the same.
    const searched = before.map((x, i) => times(positives.includes(i) ? after[i]! : x));
    const { looked, floors } = referenceCandidates(scoresOf(queries, searched), candidates);
    const deviation = Math.sqrt(
      referenceVariance(
        residuals,
        positives.map(() => 1),
        queries,
      ),
    );
    const look = {
      scores: scoresOf(queries, moved.map(unit)),
      deviations: ALL.map((i) => (positives.includes(i) ? 0 : deviation)),
      positives,
    };
    const { values } = referenceValues({ ...look, looked, floors });
    const chosen = ALL.filter((i) => now()[i]!.version === 1 && !positives.includes(i));
    expect(chosen).toEqual(best(values, 4));
    expect(chosen).not.toEqual(best(referenceValues(look).values, 4));
  });

  test.each([1, 2, 6])('region.rounds: %d searches at most', async (rounds) => {
    const after = shaken(before, 0.8);
    const { queries, positives, batch } = rolloutsNear(after, [5, 11, 29], 0.8);
    const { at, environment, now } = await environmentOf(
      { policy: 'region', budget: { fraction: 1 }, region: { topK: 3, neighbours: 0, rounds, sweep: 0 } },
      before,
    );
    at.vectors = after;
    const report = await environment.refresh(1, batch);
    const fresh = new Set(positives);
    let round = 0;
    for (; round < rounds; round++) {
      const known = before.map((x, i) => (fresh.has(i) ? after[i]! : x));
      const stale = scoresOf(queries, known)
        .flatMap((own) => ALL.toSorted((a, b) => own[b]! - own[a]!).slice(0, 3))
        .filter((i) => !fresh.has(i));
      if (stale.length === 0) break;
      for (const i of stale) fresh.add(i);
    }
    expect(report.rounds).toBe(round);
    expect(ALL.filter((i) => now()[i]!.version === 1)).toEqual([...fresh].sort((a, b) => a - b));
    if (rounds < 6) expect(round).toBe(rounds);
  });
});

describe('the words of documents', () => {
  const WORDS = ['kol', 'zab', 'dran', 'vim', 'pruk', 'loft', 'tund'];
  const textOf = (i: number) => [WORDS[i % 7], WORDS[(i * 3 + 1) % 7], `b${i % 5}`, `c${i % 11}`].join(' ');
  const texts = ALL.map(textOf);
  const before = Array.from({ length: COUNT }, () => unit(normals()));
  const pushes = WORDS.map(() => normals());
  /** A turn, and documents that share words move alike. */
  const pushed = (rows: Rows, size: number, kinds: readonly number[] = ALL) =>
    rows.map((x, i) =>
      unit(
        x.map((value, k) => {
          const words = pushes[kinds[i]! % 7]![k]! + pushes[(kinds[i]! * 3 + 1) % 7]![k]!;
          return value + 0.6 * (k % 2 === 0 ? -1 : 1) * (x[k % 2 === 0 ? k + 1 : k - 1] ?? 0) + size * words;
        }),
      ),
    );
  const { batch } = rolloutsNear(before, [2, 14, 31], 0.5);
  const budget = { documents: 20 };
  const ridge = 0.1;

  /** Predictions of a step by the vectors before it, against those of the environment after it. */
  function expectPredicted(
    old: readonly { vector: Float32Array }[],
    now: readonly { vector: Float32Array; version: number; predicted: boolean }[],
    fresh: Rows,
    version: number,
    drift: { words?: number; ridge: number; cosine?: (a: number, b: number) => number },
  ): number {
    const pairs = ALL.filter((i) => now[i]!.version === version).map((document) => ({
      document,
      old: [...old[document]!.vector],
      fresh: fresh[document]!,
    }));
    expect(pairs.length).toBe(budget.documents);
    const { move } = referenceDrift(pairs, drift);
    let stale = 0;
    for (const [i, { vector, predicted }] of now.entries()) {
      if (!predicted) continue;
      stale++;
      for (const [k, value] of move(i, [...old[i]!.vector]).entries()) {
        expect(vector[k]).toBeCloseTo(value, 4);
      }
    }
    return stale;
  }

  test.each([0.5, 0.9])('drift.words: their share of the kernel is %d', async (words) => {
    const { at, environment, now } = await environmentOf({ budget, drift: { words, ridge } }, before, texts);
    const old = now();
    at.vectors = pushed(before, 0.2);
    await environment.refresh(1, batch);
    expect(expectPredicted(old, now(), at.vectors, 1, { words, ridge, cosine: wordCosines(texts) })).toBe(20);
  });

  test('a changed document has its new words', async () => {
    const own = [...texts];
    const { at, environment, now } = await environmentOf({ budget, drift: { ridge } }, before, own);
    at.vectors = pushed(before, 0.2);
    await environment.refresh(1, batch);
    // Everything was looked at, and so are its words known.
    const changed = ALL.filter((i) => now()[i]!.predicted).slice(0, 12);
    const kinds = ALL.map((i) => (changed.includes(i) ? i + 3 : i));
    for (const i of changed) own[i] = textOf(kinds[i]!);
    environment.change({ changed: changed.map((i) => `d${i}`) });
    at.vectors = pushed(at.vectors, 0.2, kinds);
    await environment.refresh(2, batch);
    const old = now();
    at.vectors = pushed(at.vectors, 0.2, kinds);
    await environment.refresh(3, batch);
    const found = now();
    expect(changed.filter((i) => found[i]!.predicted).length).toBeGreaterThan(2);
    const cosine = wordCosines(texts, own);
    expect(expectPredicted(old, found, at.vectors, 3, { ridge, cosine })).toBe(20);
  });
});
