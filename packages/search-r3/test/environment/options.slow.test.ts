/**
 * Options of the selective environment against numbers computed from their definitions in float64: here the expected
 * error and the budget, in `choice.test.ts` which documents are encoded and what is predicted for the others.
 */
import { readFileSync } from 'node:fs';
import {
  type EnvironmentOptions,
  environmentOptionsSchema,
  selectiveOptionsSchema,
} from 'search-r3/environment';
import { AnnIndex } from 'search-r3/vectors';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { optionNames } from '../sft/options.js';
import {
  ALL,
  COUNT,
  drawing,
  encodedBy,
  environmentOf,
  NONE,
  scoresOf,
  still,
  versionsOf,
} from './by-hand.js';
import { referenceCandidates, referenceValues, referenceVariance } from './reference.js';

/** The test that covers each option, by a part of its name. */
const COVERED: Record<string, [file: string, name: string]> = {
  policy: ['fidelity.slow', 'at equal cost value beats region'],
  'budget.documents': ['drift', 'stale documents are where map and kernel'],
  'budget.fraction': ['fidelity.slow', 'at equal cost value beats region'],
  'budget.targetError': ['fidelity.slow', 'of %s is met without wasting encodings'],
  'budget.most': ['options.slow', 'budget.most'],
  index: ['options.slow', 'index and graphFrom'],
  graphFrom: ['options.slow', 'index and graphFrom'],
  seed: ['options.slow', 'seed: other draws'],
  cut: ['choice', 'cut: ranks beyond it are worth nothing'],
  'drift.map': ['fidelity.slow', 'map and kernel help'],
  'drift.lambda': ['drift', "['lambda'"],
  'drift.kernel': ['drift', "['without the kernel'"],
  'drift.ridge': ['drift', "['ridge'"],
  'drift.words': ['choice', 'drift.words'],
  'drift.sharpness': ['drift', "['sharpness'"],
  'value.random': ['options.slow', 'value.random: a share of the budget'],
  'value.rounds': ['options.slow', 'value.rounds: %d rounds'],
  'value.width': ['options.slow', 'value.width and value.ageLimit'],
  'value.ageLimit': ['options.slow', 'value.width and value.ageLimit'],
  'value.candidates': ['options.slow', 'value.candidates'],
  'region.topK': ['drift', 'by region: what rollouts find'],
  'region.neighbours': ['drift', 'by region: neighbours of the positives'],
  'region.staleness': ['drift', 'by region: what is younger than the bound'],
  'region.rounds': ['choice', 'region.rounds'],
  'region.sweep': ['drift', 'by region: what rollouts find'],
  'audit.documents': ['options.slow', 'audit.documents'],
  'audit.bound': ['fidelity.slow', 'warns when the bound is passed'],
};

test('no option is forgotten', () => {
  expect(Object.keys(COVERED).sort()).toEqual(optionNames(selectiveOptionsSchema).sort());
  for (const [file, name] of Object.values(COVERED)) {
    const tests = readFileSync(new URL(`${file}.test.ts`, import.meta.url), 'utf8').split('const TABLE');
    // Without the list above, which is not a test.
    const own =
      file === 'options.slow'
        ? tests.join('').slice(tests.join('').indexOf("test('no option"))
        : tests.join('');
    expect(own, name).toContain(name);
  }
});

const { units, shaken, rolloutsNear } = drawing('options test');
afterEach(() => {
  vi.restoreAllMocks();
});

describe('the uncertainty of a score', () => {
  const before = units();
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
    const variance = referenceVariance(
      pairs.map((i) => after[i]!),
      residuals,
      ages,
      queries,
      ageLimit,
    );
    const deviations = fresh.map(
      ({ version }) => width * Math.sqrt(variance * Math.min(5 - version, ageLimit)),
    );
    const scores = scoresOf(
      queries,
      fresh.map(({ vector }) => [...vector]),
    );
    return { found: report.expectedError, unseen: report.positivesUnseen, scores, deviations };
  }

  test.each([{}, { width: 2.5 }, { ageLimit: 1 }])(
    'value.width and value.ageLimit: the expected error with %j',
    async (value) => {
      const { found, scores, deviations } = await expectations(value);
      const { expectedError } = referenceValues({ scores, deviations, positives });
      expect(found).toBeCloseTo(expectedError, 5);
      const standard = await expectations({});
      expect(Math.abs(found - standard.found) > 5e-4).toBe(Object.keys(value).length > 0);
    },
  );

  test('value.candidates: only documents near some rollout are looked at', async () => {
    const { found, scores, deviations } = await expectations({ candidates: 16 });
    const { looked, floors } = referenceCandidates(scores, 16);
    const { expectedError } = referenceValues({ scores, deviations, positives, looked, floors });
    expect(found).toBeCloseTo(expectedError, 5);
    const whole = await expectations({});
    expect(Math.abs(found - whole.found)).toBeGreaterThan(1e-3);
    expect(whole.unseen).toBeUndefined();
  });

  test.each([5, 39])('value.candidates: reports how many positives rank behind %d of them', async (most) => {
    const { unseen, scores } = await expectations({ candidates: most });
    const { floors } = referenceCandidates(scores, most);
    const behind = positives.filter((positive, i) => scores[i]![positive]! < floors[i]!);
    expect(unseen).toBeCloseTo(behind.length / positives.length, 12);
    expect(behind.length > 0).toBe(most === 5);
  });
});

describe('the budget', () => {
  const before = units();
  const after = shaken(before, 0.3);
  const middle = drawing('a step between').shaken(before, 0.1);
  const { queries, positives, batch } = rolloutsNear(after, [1, 2, 35], 0.5);

  test.each([0.3, 0.5])('budget.most: %d of the corpus if the target is not reached', async (most) => {
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

  test.each([1, 4])('value.rounds: %d rounds of equal size', async (rounds) => {
    const { at, environment } = await environmentOf(
      { budget: { documents: 19 }, value: { rounds, random: 0 }, drift: still },
      before,
    );
    at.vectors = after;
    const report = await environment.refresh(1, batch);
    expect(report.rounds).toBe(rounds);
    expect(report.encoded).toEqual({ positives: 3, value: 16 });
  });

  test('audits correct the expected error by the root of the ratio of audited to expected', async () => {
    const targetError = 0.01;
    const { at, environment, now } = await environmentOf(
      { policy: 'random', budget: { targetError, most: 0.2 }, audit: { documents: 5 } },
      before,
    );
    at.vectors = after;
    const first = await environment.refresh(1, batch);
    const seen = ALL.filter((i) => now()[i]!.version === 1);
    const residuals = seen.map((i) => after[i]!.map((x, k) => x - before[i]![k]!));
    const variance = referenceVariance(
      seen.map((i) => after[i]!),
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
    // The same step again: nothing is left to encode, and what the audit encoded is known.
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

  test.each(['random', 'region', 'value'] as const)(
    'budget.targetError: %s stops when the expected error is at the target',
    async (policy) => {
      const asked = async (targetError: number) => {
        const { at, environment } = await environmentOf(
          { policy, budget: { targetError }, region: { topK: 1, neighbours: 0, rounds: 1 }, drift: still },
          before,
        );
        at.vectors = middle;
        await environment.refresh(1, batch);
        at.vectors = after;
        return environment.refresh(2, batch);
      };
      const [loose, tight] = [await asked(0.1), await asked(0.01)];
      // It aims at half of the target.
      expect(loose.expectedError).toBeGreaterThan(0.005);
      expect(loose.expectedError).toBeLessThanOrEqual(0.05);
      expect(tight.expectedError).toBeLessThanOrEqual(0.005);
      expect(encodedBy(tight)).toBeGreaterThan(encodedBy(loose));
      expect(encodedBy(loose)).toBeLessThan(COUNT);
    },
  );

  test('budget.targetError: the first step with stale documents draws random ones too', async () => {
    const { at, environment } = await environmentOf(
      { budget: { targetError: 1e-3 }, value: { random: 1 } },
      before,
    );
    at.vectors = after;
    const { encoded } = await environment.refresh(1, batch);
    // A twentieth of forty.
    expect(encoded.random).toBe(2);
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

  test('index and graphFrom: a graph gives the rewards of a scan while documents change', async () => {
    const create = vi.spyOn(AnnIndex, 'create');
    const steps = async (options: { index: 'exact' } | { index: 'ann'; graphFrom: number }) => {
      const region = { topK: 3, neighbours: 2, sweep: 0 };
      const { at, environment } = await environmentOf(
        { policy: 'region', budget: { documents: 6 }, region, ...options },
        before,
      );
      const found: unknown[] = [];
      for (const [version, truth] of [middle, after, before, after].entries()) {
        at.vectors = truth;
        const { encoded } = await environment.refresh(version + 1, batch);
        if (version === 2) environment.change({ removed: ['d12', 'd31'] });
        const nearest = await environment.search(batch.vectors, 5);
        found.push(
          encoded,
          await environment.reward(batch),
          nearest.map((own) => own.map(({ id }) => id)),
        );
      }
      return found;
    };
    const exact = await steps({ index: 'exact' });
    expect(JSON.stringify(exact.slice(-1))).not.toMatch(/"d12"|"d31"/);
    expect(create).not.toHaveBeenCalled();
    // Forty vectors are few enough for a graph to find all of them.
    for (const [graphFrom, there] of [
      [40, true],
      [41, false],
    ] as const) {
      create.mockClear();
      expect(await steps({ index: 'ann', graphFrom })).toEqual(exact);
      const index = (await create.mock.results[0]!.value) as AnnIndex;
      await vi.waitFor(async () => {
        await index.search(batch.vectors, 1);
        expect(index.graph.rows > 0).toBe(there);
      });
    }
  });
});

describe('the choice of environment', () => {
  const parse = (given: unknown) => environmentOptionsSchema.parse(given);

  test('exact by default, as options.md says', () => {
    for (const given of [undefined, {}, { kind: undefined }, { kind: 'exact' }]) {
      expect(parse(given)).toEqual({ kind: 'exact' });
    }
    expect(parse({ kind: 'selective' })).toMatchObject({ policy: 'value', budget: { fraction: 0.05 } });
    expect(() => parse({ kind: 'some' })).toThrow(/expected .*exact.* or .*selective/);
  });

  test('the exact one has no settings, for the compiler and at run time', () => {
    // @ts-expect-error: no such setting with kind exact.
    const stray: EnvironmentOptions = { kind: 'exact', policy: 'random' };
    expect(() => parse(stray)).toThrow(/expected no such setting with kind exact/);
    expect(() => parse({ budget: { documents: 3 } })).toThrow(/expected no such setting with kind exact/);
  });
});
