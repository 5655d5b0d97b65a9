/** Custom loops: calls in other orders than in stage 2, on forty documents set by hand with few candidates. */
import {
  ExactEnvironment,
  type RolloutBatch,
  SelectiveEnvironment,
  type SelectiveOptions,
} from 'search-r3/environment';
import { InputError } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { ALL, COUNT, drawing, environmentOf, type Rows, scoresOf } from './by-hand.js';

const few: SelectiveOptions = {
  budget: { documents: 12 },
  drift: { kernel: false },
  value: { candidates: 10 },
  audit: { documents: 4 },
};

/** A step that leaves some documents stale, and the rewards by the current vectors, which `reward` should return. */
async function stepped(label: string, near = 0.4) {
  const draw = drawing(label);
  const before = draw.units();
  const made = await environmentOf(few, before);
  const after = draw.shaken(before, 0.05);
  made.at.vectors = after;
  const { queries, batch } = draw.rolloutsNear(after, [3, 17, 29], near);
  await made.environment.refresh(1, batch);
  /** Rewards by the vectors there are, of the rollouts and one relevant document each. */
  const expected = (positives: readonly number[], by: Rows = queries) => {
    const scores = scoresOf(
      by,
      made.now().map(({ vector }) => [...vector]),
    );
    return positives.map((positive, i) => {
      const own = scores[i]![positive]!;
      return 1 / Math.log2(1 + scores[i]!.filter((score) => score >= own).length);
    });
  };
  const rewards = async (asked: RolloutBatch) =>
    (await made.environment.reward(asked)).map(({ reward }) => reward);
  return { ...made, draw, after, batch, expected, rewards };
}

const judged = (positives: readonly number[]) => positives.map((i) => new Map([[`d${i}`, 1]]));
const close = (found: readonly number[], expected: readonly number[]) => {
  for (const [i, value] of expected.entries()) expect(found[i], `rollout ${i}`).toBeCloseTo(value, 9);
};

describe('rewards are those of the given rollouts and judgements', () => {
  test('the same vectors with other and with fewer judgements', async () => {
    const { batch, expected, rewards } = await stepped('judgements');
    close(await rewards(batch), expected([3, 17, 29]));
    for (const others of [
      [17, 3, 8],
      [5, 30, 11],
    ]) {
      close(await rewards({ ...batch, relevant: judged(others) }), expected(others));
    }
  });

  test('new vectors and judgements written over those of the refresh', async () => {
    // So near that the close-up of the refresh has the ranks.
    const { batch, draw, after, expected, rewards } = await stepped('rewritten', 0.05);
    expect(await rewards(batch)).toEqual([1, 1, 1]);
    const { queries } = draw.rolloutsNear(after, [5, 30, 11], 0.05);
    batch.vectors.set(queries.flat());
    close(await rewards(batch), expected([3, 17, 29], queries));
    for (const own of batch.relevant as Map<string, number>[]) {
      own.clear();
      own.set('d8', 1);
    }
    close(await rewards(batch), expected([8, 8, 8], queries));
  });

  test('after a removal and after an audit', async () => {
    const { environment, batch, rewards, expected } = await stepped('removed');
    await environment.audit(1, batch);
    close(await rewards(batch), expected([3, 17, 29]));
    const [nearest] = await environment.search(batch.vectors, 1);
    environment.change({ removed: [nearest![0]!.id] });
    const [best] = await environment.search(batch.vectors, COUNT);
    expect(best!.map(({ id }) => id)).not.toContain(nearest![0]!.id);
  });

  test('a document removed after the refresh no longer ranks before a positive', async () => {
    const { environment, batch, draw, after } = await stepped('behind');
    // Nearest to a document other than the positive, which is second.
    const query = draw.shaken([after[8]!.map((x, k) => x + 0.9 * after[3]![k]!)], 0)[0]!;
    const own: RolloutBatch = { vectors: Float32Array.from(query), relevant: judged([3]) };
    await environment.refresh(2, own);
    const ranks = (await environment.search(own.vectors, COUNT))[0]!.map(({ id }) => id);
    const at = ranks.indexOf('d3');
    expect(at).toBeGreaterThan(0);
    expect(await environment.reward(own)).toMatchObject([{ rank: at + 1 }]);
    environment.change({ removed: ranks.slice(0, at) });
    expect(await environment.reward(own)).toMatchObject([{ rank: 1, reward: 1 }]);
    expect(batch.relevant).toHaveLength(3);
  });

  test('after a refresh that failed after encoding the positives', async () => {
    const draw = drawing('failing');
    let truth = draw.units();
    let left = Number.POSITIVE_INFINITY;
    const environment = await SelectiveEnvironment.create(
      ALL.map((i) => `d${i}`),
      {
        dimension: 5,
        encode: async (ids) => {
          if (left-- === 0) throw new Error('out of memory');
          return Float32Array.from(ids.flatMap((id) => truth[Number(id.slice(1))]!));
        },
      },
      few,
    );
    const { batch } = draw.rolloutsNear(truth, [3, 17, 29], 0.4);
    await environment.refresh(0, batch);
    truth = draw.shaken(truth, 0.05);
    await environment.refresh(1, batch);
    const before = await environment.reward(batch);
    truth = draw.units();
    left = 1;
    await expect(environment.refresh(2, batch)).rejects.toThrow('out of memory');
    const found = await environment.reward(batch);
    expect(found).toEqual(await environment.reward({ ...batch, relevant: [...batch.relevant] }));
    expect(found).not.toEqual(before);
    await environment.dispose();
  });

  test.each([
    ['NaN', (x: Float32Array) => x.with(12, Number.NaN), /vector of the document d29: .* found NaN/],
    [
      'an infinite number',
      (x: Float32Array) => x.with(4, Number.POSITIVE_INFINITY),
      /document d3: .* found Infinity/,
    ],
    ['too few numbers', (x: Float32Array) => x.slice(0, 14), /expected 3 of 5 numbers, found 14 numbers/],
  ])('after the encoder gave %s: nothing of it is kept', async (_, change, message) => {
    const draw = drawing('encoder');
    const truths = [draw.units(), draw.units(), draw.units()];
    const { batch } = draw.rolloutsNear(truths[1]!, [3, 17, 29], 0.4);
    const at = { version: 0, bad: false };
    const encode = async (asked: readonly string[]) => {
      const vectors = asked.flatMap((id) => truths[at.version]![Number(id.slice(1))]!);
      return at.bad ? change(Float32Array.from(vectors)) : Float32Array.from(vectors);
    };
    const ids = ALL.map((i) => `d${i}`);
    const own = await SelectiveEnvironment.create(ids, { dimension: 5, encode }, few);
    const exact = await ExactEnvironment.create(ids.slice(0, 30), encode, { dimension: 5 });
    for (const environment of [own, exact]) await environment.refresh(0, batch);
    const before = await exact.reward(batch);
    Object.assign(at, { version: 1, bad: true });
    for (const environment of [own, exact]) {
      const failed = environment.refresh(1, batch);
      await expect(failed).rejects.toThrow(InputError);
      if (environment === own) await expect(failed).rejects.toThrow(message);
    }
    for (const id of ids) {
      const vector = Float32Array.from(truths[0]![Number(id.slice(1))]!);
      expect(own.provenance(id)).toEqual({ vector, version: 0, predicted: false });
    }
    expect(await exact.reward(batch)).toEqual(before);
    Object.assign(at, { version: 2, bad: false });
    for (const environment of [own, exact]) await environment.refresh(2, batch);
    for (const { id, version, predicted, vector } of ids.map((id) => ({ id, ...own.provenance(id)! }))) {
      const truth = Float32Array.from(truths[version]![Number(id.slice(1))]!);
      if (!predicted) expect(vector).toEqual(truth);
    }
    await own.dispose();
    await exact.dispose();
  });

  test.each([0, 5, 12, 20])('%d numbers for 3 rollouts of 5 are refused', async (length) => {
    const { environment, batch } = await stepped('shape');
    await expect(environment.reward({ ...batch, vectors: new Float32Array(length) })).rejects.toThrow(
      `reward: expected 3 rollouts of 5 numbers, found ${length} numbers`,
    );
  });

  test.each([
    [
      'NaN',
      (x: Float32Array) => x.fill(Number.NaN, 7, 8),
      3,
      /expected finite numbers, found NaN in rollout 1/,
    ],
    [
      'too few numbers',
      (x: Float32Array) => x.slice(0, 14),
      3,
      /expected 3 rollouts of 5 numbers, found 14 numbers/,
    ],
    ['an earlier version', (x: Float32Array) => x, 0, /refresh: expected a version from 1 on, found 0/],
  ])('%s is refused, and the next step is as if it had not been', async (_, change, version, error) => {
    const [own, other] = [await stepped('refused'), await stepped('refused')];
    const { batch } = own;
    await expect(
      own.environment.refresh(version, { ...batch, vectors: change(batch.vectors.slice()) }),
    ).rejects.toThrow(error);
    for (const { environment, at, after } of [own, other]) {
      at.vectors = after.map((x, i) => after[(i + 1) % COUNT]!.map((y, k) => (y + 9 * x[k]!) / 10));
      await environment.refresh(3, batch);
    }
    expect(own.now()).toEqual(other.now());
    expect(await own.rewards(batch)).toEqual(await other.rewards(batch));
  });

  test('an unknown document rejects', async () => {
    const { environment, batch } = await stepped('unknown');
    const relevant = judged([3, 17, 99]);
    await expect(environment.reward({ ...batch, relevant })).rejects.toThrow(RangeError);
  });
});

test('a step without rollouts encodes a sweep and looks at nothing', async () => {
  const { environment, at, draw, after, now } = await stepped('none');
  at.vectors = draw.shaken(after, 0.05);
  const report = await environment.refresh(2, { vectors: new Float32Array(), relevant: [] });
  expect(report.expectedError).toBe(0);
  expect(report.encoded).toEqual({ random: 1, sweep: 11 });
  expect(now().filter(({ version }) => version === 2)).toHaveLength(12);
});

describe('an earlier state', () => {
  test('of a corpus that has grown since removes what was added', async () => {
    const { environment, batch, at, after, now } = await stepped('grown');
    const state = environment.state();
    const vectors = now();
    at.vectors = [...after, after[0]!];
    environment.change({ added: ['d40'] });
    await environment.refresh(2, batch);
    await environment.restore(state);
    expect(environment.has('d40')).toBe(false);
    expect(now()).toEqual(vectors);
    // The new state can be saved and restored too.
    await environment.restore(environment.state());
    expect(now()).toEqual(vectors);
    const found = await environment.search(batch.vectors, COUNT + 1);
    for (const own of found) expect(own.map(({ id }) => id).sort()).toEqual(ALL.map((i) => `d${i}`).sort());
  });

  test.each(['value', 'region', 'random'] as const)(
    'taken between two refreshes of one version continues bit for bit: %s',
    async (policy) => {
      const draw = drawing('between');
      const truths = [draw.units()];
      for (let version = 1; version < 4; version++) truths.push(draw.shaken(truths[version - 1]!, 0.3));
      const steps = [1, 2, 2, 3].map((version, i) => ({
        version,
        ...draw.rolloutsNear(truths[version]!, [3 + i, 17 + i, 29 + i], 0.6),
      }));
      const options = { policy, budget: { documents: 12 }, audit: { documents: 4 } };
      const own = await environmentOf(options, truths[0]!);
      const go = async ({ environment, at }: typeof own, { version, batch }: (typeof steps)[number]) => {
        at.vectors = truths[version]!;
        const { seconds: _, parts: __, ...report } = await environment.refresh(version, batch);
        return [report, await environment.reward(batch), await environment.audit(version, batch)];
      };
      await go(own, steps[0]!);
      await go(own, steps[1]!);
      const state = own.environment.state();
      const resumed = await environmentOf(options, truths[0]!);
      await resumed.environment.restore({ ...state, metadata: JSON.parse(JSON.stringify(state.metadata)) });
      for (const step of steps.slice(2)) expect(await go(resumed, step)).toEqual(await go(own, step));
    },
  );

  test('from before uncertainty was saved with its step is accepted', async () => {
    const { environment, batch, at, draw, after } = await stepped('older');
    const other = await stepped('older');
    const { metadata, arrays } = environment.state() as { metadata: Record<string, unknown>; arrays: never };
    const { variance } = metadata.uncertainty as { variance: number };
    expect(variance).toBeGreaterThan(0);
    await other.environment.restore({ metadata: { ...metadata, uncertainty: [variance] }, arrays });
    at.vectors = draw.shaken(after, 0.05);
    other.at.vectors = at.vectors;
    const [own, old] = [await environment.refresh(2, batch), await other.environment.refresh(2, batch)];
    expect(old.expectedError).toBe(own.expectedError);
    expect(old.encoded).toEqual(own.encoded);
    await other.environment.restore({ metadata: { ...metadata, uncertainty: [] }, arrays });
    expect(other.environment.state().metadata).toMatchObject({ uncertainty: { variance: null } });
  });

  test('continues bit for bit if texts have changed since words were counted', async () => {
    const draw = drawing('words');
    const texts = ALL.map((i) => `a${i % 4} b${i % 7} common`);
    const pushes = [0, 1, 2, 3].map(() => draw.normals());
    let truth = draw.units();
    const options: SelectiveOptions = {
      budget: { documents: 20 },
      drift: { map: false, words: 1, ridge: 0.1 },
    };
    const own = await environmentOf(options, truth, texts);
    const changed = ALL.filter((i) => i % 3 === 0);
    for (const i of changed) texts[i] = `a${i % 4} b${i % 2} rare${i}`;
    own.environment.change({ changed: changed.map((i) => `d${i}`) });
    const { batch } = draw.rolloutsNear(truth, [3, 17, 29], 0.4);
    await own.environment.refresh(1, batch);
    const resumed = await environmentOf(options, truth, texts);
    await resumed.environment.restore(own.environment.state());
    truth = truth.map((x, i) => draw.shaken([x.map((v, k) => v + 0.6 * pushes[i % 4]![k]!)], 0.01)[0]!);
    for (const { environment, at } of [own, resumed]) {
      at.vectors = truth;
      await environment.refresh(2, batch);
    }
    expect(own.now().some(({ predicted }) => predicted)).toBe(true);
    expect(resumed.now()).toEqual(own.now());
  });

  test('with a vocabulary of any size is accepted', async () => {
    const rows = drawing('vocabulary').units();
    const many = Array.from({ length: 200_000 }, (_, i) => `word${i}`).join(' ');
    const texts = ALL.map((i) => (i === 0 ? many : `word${i}`));
    const made = () => environmentOf({ budget: { documents: 12 } }, rows, texts);
    const [own, other] = [await made(), await made()];
    await other.environment.restore(own.environment.state());
    expect(other.environment.state()).toEqual(own.environment.state());
  });
});
