/**
 * Which documents the selective environment encodes, and what it predicts for the others by map and words, against
 * numbers computed from the definitions in float64.
 */
import { describe, expect, test } from 'vitest';
import { ALL, drawing, environmentOf, type Rows, scoresOf, still } from './by-hand.js';
import { unit } from './drifting.js';
import {
  referenceCandidates,
  referenceDrift,
  referenceValues,
  referenceVariance,
  wordCosines,
} from './reference.js';

const { random, normals, units, shaken, rolloutsNear } = drawing('what documents are encoded');

describe('the choice of documents', () => {
  const before = units();

  /** The stale documents of most value. */
  const best = (values: readonly number[], count: number) =>
    ALL.filter((i) => values[i]! > 0)
      .toSorted((a, b) => values[b]! - values[a]!)
      .slice(0, count)
      .sort((a, b) => a - b);

  test('cut: ranks beyond it are worth nothing', async () => {
    const after = shaken(before, 0.2);
    const { queries, positives, batch } = rolloutsNear(after, [4, 9, 22, 33], 1.5);
    const residuals = positives.map((i) => after[i]!.map((x, k) => x - before[i]![k]!));
    const deviation = Math.sqrt(
      referenceVariance(
        positives.map((i) => after[i]!),
        residuals,
        [1, 1, 1, 1],
        queries,
      ),
    );
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

  test('candidates are searched for where the map predicts documents to be', async () => {
    // A turn by about a right angle in two planes, and a little noise that no map predicts.
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
    // Encoded documents are stored as they are, and the turned rollouts still find them.
    const searched = before.map((x, i) => times(positives.includes(i) ? after[i]! : x));
    const { looked, floors } = referenceCandidates(scoresOf(queries, searched), candidates);
    const deviation = Math.sqrt(
      referenceVariance(
        positives.map((i) => after[i]!),
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

  test.each([1, 2, 6])('region.rounds: at most %d searches', async (rounds) => {
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
  const before = units();
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
    // Everything was looked at, so its words are cached.
    const changed = ALL.filter((i) => now()[i]!.predicted).slice(0, 12);
    const kinds = ALL.map((i) => (changed.includes(i) ? i + 3 : i));
    for (const i of changed) own[i] = textOf(kinds[i]!);
    environment.change({ changed: changed.map((i) => `d${i}`) });
    at.vectors = pushed(at.vectors, 0.2, kinds);
    await environment.refresh(2, batch);
    const old = now();
    // Little enough that the kernel predicts unseen pairs better than the map alone.
    at.vectors = pushed(at.vectors, 0.1, kinds);
    await environment.refresh(3, batch);
    const found = now();
    expect(changed.filter((i) => found[i]!.predicted).length).toBeGreaterThan(2);
    const cosine = wordCosines(texts, own);
    expect(expectPredicted(old, found, at.vectors, 3, { ridge, cosine })).toBe(20);
  });
});
