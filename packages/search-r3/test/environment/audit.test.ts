/** Audits against brute-force rewards and ranks, on forty documents set by hand. */
import type { AuditReport, RolloutBatch, SelectiveOptions } from 'search-r3/environment';
import { describe, expect, test } from 'vitest';
import {
  COUNT,
  drawing,
  encodedBy,
  environmentOf,
  NONE,
  type Rows,
  scoresOf,
  versionsOf,
} from './by-hand.js';

const judged = (positives: readonly number[]) => positives.map((i) => new Map([[`d${i}`, 1]]));
const rowsOf = (documents: readonly { vector: Float32Array }[]): Rows =>
  documents.map(({ vector }) => [...vector]);

/**
 * Mean absolute error of the rewards of predicted vectors, and the number of documents on the wrong side of a positive.
 */
function bruteForce(queries: Rows, positives: readonly number[], predicted: Rows, truth: Rows) {
  const [before, after] = [scoresOf(queries, predicted), scoresOf(queries, truth)];
  const passes = (scores: Rows, i: number, own: number) => scores[i]![own]! >= scores[i]![positives[i]!]!;
  const reward = (scores: Rows, i: number) =>
    1 / Math.log2(1 + truth.filter((_, own) => passes(scores, i, own)).length);
  const errors = queries.map((_, i) => Math.abs(reward(before, i) - reward(after, i)));
  const misplaced = truth.filter((_, own) =>
    queries.some((__, i) => passes(before, i, own) !== passes(after, i, own)),
  );
  return { rewardError: errors.reduce((a, b) => a + b, 0) / errors.length, misplaced: misplaced.length };
}

const holds = ({ interval: [low, high] }: AuditReport, value: number) => low <= value && value <= high;

describe('with every stale document in the sample', () => {
  test.each(['value', 'random', 'region'] as const)('the errors are the true ones: %s', async (policy) => {
    const draw = drawing(`audited ${policy}`);
    let truth = draw.units();
    const options = { policy, budget: { documents: 6 }, audit: { documents: COUNT } };
    const { at, environment, now } = await environmentOf(options, truth);
    let found = 0;
    for (let version = 1; version < 5; version++) {
      truth = draw.shaken(truth, 0.3);
      at.vectors = truth;
      const { queries, positives, batch } = draw.rolloutsNear(truth, [3, 17, 29], 0.8);
      await environment.refresh(version, batch);
      const stale = versionsOf(now()).filter((own) => own !== version).length;
      const expected = bruteForce(queries, positives, rowsOf(now()), truth);
      const audit = await environment.audit(version, batch);
      expect(audit.encoded).toBe(stale);
      expect(audit.rewardError).toBeCloseTo(expected.rewardError, 6);
      expect(audit.interval[1] - audit.interval[0]).toBeLessThan(1e-8);
      expect(audit.misplaced.estimate).toBe(expected.misplaced);
      found += audit.misplaced.estimate;
    }
    expect(found).toBeGreaterThan(5);
  });
});

describe('before anything is known about errors', () => {
  const draw = drawing('unlearnt');
  const before = draw.units();
  const after = draw.shaken(before, 0.3);
  const positives = [3, 17];
  const changed = positives.map((i) => `d${i}`);
  const { queries } = draw.rolloutsNear(after, positives, 0.5);
  const batch: RolloutBatch = { vectors: Float32Array.from(queries.flat()), relevant: judged(positives) };

  /** Both positives are of another text at version 1, and so not among the pairs that errors are learnt from. */
  async function made(options: SelectiveOptions) {
    const { at, environment, now } = await environmentOf(options, before);
    at.vectors = after;
    environment.change({ changed });
    const truth = () => bruteForce(queries, positives, rowsOf(now()), after);
    return { environment, now, truth };
  }

  test('an audit still draws its sample', async () => {
    for (const documents of [COUNT, 12]) {
      const { environment, truth } = await made({ audit: { documents } });
      // Without rollouts to see them, errors are not learned.
      await environment.refresh(1, NONE);
      const expected = truth();
      expect(expected.rewardError).toBeGreaterThan(0.01);
      const audit = await environment.audit(1, batch);
      expect(holds(audit, expected.rewardError)).toBe(true);
      expect(audit.interval[1] - audit.interval[0] > 0.01).toBe(documents === 12);
      expect(audit.encoded).toBe(documents === 12 ? 12 : 36);
      expect(environment.state().metadata).toMatchObject({ budget: { correction: 1 } });
    }
  });

  test.each([0, 1])('a target first encodes some documents, after %d refreshes', async (refreshes) => {
    const { environment, now, truth } = await made({
      budget: { targetError: 0.02 },
      value: { random: 0 },
      audit: { documents: 12 },
    });
    if (refreshes === 1) await environment.refresh(1, NONE);
    const report = await environment.refresh(1, batch);
    expect(report.encoded.value).toBeGreaterThanOrEqual(8);
    expect(report.expectedError).toBeGreaterThan(0);
    expect(report.expectedError).toBeLessThanOrEqual(0.01);
    expect(encodedBy(report)).toBeLessThan(COUNT);
    expect(versionsOf(now())).toContain(0);
    const expected = truth();
    expect(holds(await environment.audit(1, batch), expected.rewardError)).toBe(true);
  });

  test('without rollouts a target needs nothing', async () => {
    const { environment } = await made({ budget: { targetError: 0.02 }, value: { random: 0 } });
    expect((await environment.refresh(1, NONE)).encoded).toEqual({ changed: 2 });
  });
});
