/** How close the rewards are to those of a full refresh, on a corpus with linear and nonlinear drift. */
import {
  ExactEnvironment,
  type RefreshReport,
  SelectiveEnvironment,
  type SelectiveOptions,
} from 'search-r3/environment';
import { beforeAll, describe, expect, test } from 'vitest';
import { type DriftingCorpus, drifting, sources } from './drifting.js';

const SIZES = { documents: 500, dimension: 24, topics: 12, steps: 9, queries: 8, samples: 4 };
/** Positives included. */
const BUDGET = { fraction: 0.08 };

interface Outcome {
  /** Mean absolute error of the rewards by step, from the second on. */
  errors: number[];
  expected: number[];
  encoded: number[];
  reports: RefreshReport[];
  audits: { interval: readonly [number, number]; exceeded: boolean; error: number; encoded: number }[];
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const total = (counts: Partial<Record<string, number>>) =>
  Object.values(counts).reduce<number>((sum, value) => sum + (value ?? 0), 0);

/** The true rewards, by step. */
async function truth(corpus: DriftingCorpus): Promise<number[][]> {
  let version = 0;
  const told = sources(corpus, () => version);
  const oracle = await ExactEnvironment.create(corpus.ids, told.encode, told);
  const rewards = [];
  for (; version < SIZES.steps; version++) {
    await oracle.refresh(version);
    rewards.push((await oracle.reward(corpus.batches[version]!)).map(({ reward }) => reward));
  }
  await oracle.dispose();
  return rewards;
}

async function follow(
  corpus: DriftingCorpus,
  rewards: readonly number[][],
  options: SelectiveOptions,
  audited = false,
): Promise<Outcome> {
  let version = 0;
  const environment = await SelectiveEnvironment.create(
    corpus.ids,
    sources(corpus, () => version),
    options,
  );
  const outcome: Outcome = { errors: [], expected: [], encoded: [], reports: [], audits: [] };
  for (; version < SIZES.steps; version++) {
    const batch = corpus.batches[version]!;
    const report = await environment.refresh(version, batch);
    const found = await environment.reward(batch);
    const error = mean(found.map(({ reward }, i) => Math.abs(reward - rewards[version]![i]!)));
    if (version === 0) {
      expect(error).toBe(0);
      continue;
    }
    outcome.errors.push(error);
    outcome.expected.push(report.expectedError);
    outcome.encoded.push(total(report.encoded));
    outcome.reports.push(report);
    if (audited) outcome.audits.push({ ...(await environment.audit(version, batch)), error });
  }
  await environment.dispose();
  return outcome;
}

describe.each([1, 2])('seed %i', (seed) => {
  const corpus = drifting({ ...SIZES, seed });
  let rewards: number[][];
  const results = new Map<string, Outcome>();
  const arms: Record<string, SelectiveOptions> = {
    value: { budget: BUDGET },
    map: { budget: BUDGET, drift: { kernel: false } },
    still: { budget: BUDGET, drift: { kernel: false, map: false } },
    region: { policy: 'region', budget: BUDGET },
    random: { policy: 'random', budget: BUDGET },
    never: { policy: 'random', budget: { documents: 1 } },
  };
  const error = (name: string) => mean(results.get(name)!.errors);

  beforeAll(async () => {
    rewards = await truth(corpus);
    for (const [name, options] of Object.entries(arms)) {
      results.set(name, await follow(corpus, rewards, options));
    }
  }, 120_000);

  test('at equal cost value beats region by far, and region random documents', () => {
    for (const name of ['value', 'region', 'random']) {
      expect(mean(results.get(name)!.encoded), name).toBeCloseTo(BUDGET.fraction * SIZES.documents, 6);
    }
    expect(error('never')).toBeGreaterThan(0.04);
    expect(error('random')).toBeLessThan(error('never'));
    expect(error('region')).toBeLessThan(0.9 * error('random'));
    expect(error('value')).toBeLessThan(0.3 * error('region'));
  });

  test('map and kernel help', () => {
    expect(error('map')).toBeLessThan(0.7 * error('still'));
    expect(error('value')).toBeLessThan(error('map'));
  });

  test('the expected error is near the true one', () => {
    const { errors, expected } = results.get('value')!;
    expect(mean(expected)).toBeGreaterThan(0.5 * mean(errors));
    expect(mean(expected)).toBeLessThan(3 * mean(errors));
  });
});

describe('a target error', () => {
  const corpus = drifting({ ...SIZES, seed: 3 });
  const LOOSE = 0.02;
  const TIGHT = 0.005;
  const results = new Map<number, Outcome>();
  beforeAll(async () => {
    const rewards = await truth(corpus);
    for (const targetError of [LOOSE, TIGHT]) {
      results.set(targetError, await follow(corpus, rewards, { budget: { targetError } }, true));
    }
  });

  test.each([LOOSE, TIGHT])('of %s is met without wasting encodings', (targetError) => {
    const { errors } = results.get(targetError)!;
    expect(mean(errors)).toBeLessThan(targetError);
    expect(mean(errors)).toBeGreaterThan(0.1 * targetError);
  });

  test('costs more if it is smaller', () => {
    expect(mean(results.get(TIGHT)!.encoded)).toBeGreaterThan(1.2 * mean(results.get(LOOSE)!.encoded));
  });
});

describe('the audit', () => {
  const corpus = drifting({ ...SIZES, seed: 4, steps: 9 });

  test('has the true error in its interval nearly always, and warns when the bound is passed', async () => {
    const rewards = await truth(corpus);
    const options = { audit: { documents: 40, bound: 0.02 } };
    for (const [budget, policy] of [
      [{ fraction: 0.05 }, 'value'],
      [{ fraction: 0.1 }, 'value'],
      [{ fraction: 0.08 }, 'region'],
    ] as const) {
      const { audits } = await follow(corpus, rewards, { ...options, budget, policy }, true);
      const inside = audits.filter(({ interval: [low, high], error }) => low <= error && error <= high);
      expect(inside.length).toBeGreaterThanOrEqual(audits.length - 2);
      for (const { interval, exceeded, encoded } of audits) {
        expect(exceeded).toBe(interval[1] > 0.02);
        expect(encoded).toBe(40);
      }
    }
  });

  test('brings the expected error nearer to the true one', async () => {
    const longer = drifting({ ...SIZES, seed: 5 });
    const rewards = await truth(longer);
    const off = async (audited: boolean) => {
      const { expected, errors } = await follow(longer, rewards, { audit: { documents: 40 } }, audited);
      // The first audits have to be made first.
      const since = (values: readonly number[]) => mean(values.slice(4));
      return Math.abs(Math.log(since(expected) / since(errors)));
    };
    expect(await off(true)).toBeLessThan(0.8 * (await off(false)));
  });
});
