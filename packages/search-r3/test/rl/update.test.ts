/** What of a step's rollouts goes into the loss, and with which weight. */
import { directPrompt } from 'search-r3/checkpoint';
import {
  advantages,
  type Group,
  outcomeOf,
  type RlOptions,
  rewardRollouts,
  rlOptionsSchema,
  rolloutBatch,
  updateBatch,
} from 'search-r3/rl';
import { describe, expect, test, vi } from 'vitest';
import { DATA, DOCUMENTS, QUERIES } from '../sft/tiny-data.js';
import { completion, craftedEnvironment, group } from './crafted.js';
import { policy } from './support.js';

const [q1, q2, q3, q4] = QUERIES as [
  (typeof QUERIES)[0],
  (typeof QUERIES)[0],
  (typeof QUERIES)[0],
  (typeof QUERIES)[0],
];
const PROMPTS = [
  [1, 5, 7],
  [1, 5, 7, 9, 2],
];
const options = (changes: RlOptions = {}) => rlOptionsSchema.parse({ maxNewTokens: 6, ...changes });
const update = async (groups: readonly Group[], changes: RlOptions = {}, step = 0) =>
  await updateBatch(policy, groups, DATA, options(changes), step);

/** Rewards 1, 0.4, 0 (cut off), 0 (given up). */
const MIXED = group(q1, PROMPTS[0]!, [
  completion(3, 1),
  completion(5, 0.4),
  completion(6, 'length'),
  completion(2, 'stop'),
]);
const EQUAL = group(q2, PROMPTS[1]!, [
  completion(4, 0.7),
  completion(2, 0.7),
  completion(5, 0.7),
  completion(6, 0.7),
]);
const OTHER = group(q4, PROMPTS[1]!, [
  completion(1, 0.2),
  completion(4, 0.9),
  completion(6, 'length'),
  completion(3, 0.9),
]);
const [MIXED_ADVANTAGES, OTHER_ADVANTAGES] = advantages(
  [
    [1, 0.4, 0, 0],
    [0.2, 0.9, 0, 0.9],
  ],
  'group',
) as [number[], number[]];

describe('labels of the policy gradient', () => {
  test('are the tokens of the completion, each predicted by the one before it, and nothing else', async () => {
    const { request, trained } = await update([MIXED]);
    expect(trained.map(({ rollout }) => rollout)).toEqual(MIXED);
    for (const [i, { prompt, completion: own }] of MIXED.entries()) {
      const { ids, labels, embed } = request!.sequences[i]!;
      expect(ids).toEqual([...prompt, ...own.tokens]);
      expect(labels.map(({ position }) => ids[position + 1])).toEqual(own.tokens);
      expect(labels[0]!.position).toBe(prompt.length - 1);
      expect(labels.map(({ oldLogProbability }) => oldLogProbability)).toEqual(own.logProbabilities);
      for (const { advantage } of labels) expect(advantage).toBeCloseTo(MIXED_ADVANTAGES[i]!, 6);
      expect(embed).toBe(own.finish === 'embed' ? ids.length - 1 : undefined);
    }
    expect(request!.temperature).toBe(1);
    expect((await update([MIXED], { temperature: 0.7 })).request!.temperature).toBe(0.7);
  });

  test('the policy weight is on the gradient, not on the KL term', async () => {
    const [first] = (await update([MIXED], { policyWeight: 0.25 })).request!.sequences;
    // 16 tokens in all.
    expect(first!.labels.map(({ weight, klWeight }) => [weight, klWeight])).toEqual(
      [1, 2, 3].map(() => [0.25 / 16, 1 / 16]),
    );
  });
});

describe('masked truncations', () => {
  const weights = async (changes: RlOptions) =>
    await Promise.all(
      (await update([MIXED, OTHER], changes)).trained.map(async ({ rollout }, i) => ({
        length: rollout.completion.tokens.length,
        labels: (await update([MIXED, OTHER], changes)).request!.sequences[i]!.labels.map(
          ({ weight }) => weight,
        ),
      })),
    );

  test('stay in the baseline of their group', async () => {
    const found = (await update([MIXED, OTHER], { maskTruncated: true })).trained;
    expect(found.map(({ advantage }) => advantage)).toEqual(
      [...MIXED_ADVANTAGES.toSpliced(2, 1), ...OTHER_ADVANTAGES.toSpliced(2, 1)].map((value) =>
        expect.closeTo(value, 6),
      ),
    );
    // Without their two zeros the means were higher, so the best rollouts' advantages lower.
    const without = advantages([[1, 0.4, 0]], 'none')[0]!;
    const none = (await update([MIXED], { maskTruncated: true, advantageScaling: 'none' })).trained;
    expect(none[0]!.advantage).toBeGreaterThan(without[0]! + 0.05);
  });

  test.each([
    // Tokens that count: 3 + 5 + 2 and 1 + 4 + 3.
    ['dapo', () => 1 / 18],
    ['grpo', (length: number) => 1 / (8 * length)],
    ['dr_grpo', () => 1 / (8 * 6)],
  ] as const)(
    'have no tokens in the loss, and none in the denominator of %s',
    async (lossNormalization, expected) => {
      const found = await weights({ maskTruncated: true, lossNormalization });
      expect(found.map(({ length }) => length)).toEqual([3, 5, 2, 1, 4, 3]);
      for (const { length, labels } of found) {
        expect(labels).toEqual(Array.from({ length }, () => expect.closeTo(expected(length), 12)));
      }
    },
  );

  test('unmasked, their tokens count', async () => {
    const found = await weights({});
    expect(found.map(({ length }) => length)).toEqual([3, 5, 6, 2, 1, 4, 6, 3]);
    expect(found.flatMap(({ labels }) => labels)).toEqual(Array.from({ length: 30 }, () => 1 / 30));
  });
});

describe('zero-variance groups', () => {
  test('are left out of the run, not out of the denominators', async () => {
    const { request, trained } = await update([EQUAL, MIXED]);
    expect(trained.map(({ rollout }) => rollout)).toEqual(MIXED);
    // 16 tokens and 17.
    expect(request!.sequences[0]!.labels[0]!.weight).toBeCloseTo(1 / 33, 12);
  });

  test('with a KL penalty they are in it', async () => {
    const { request, trained } = await update([EQUAL, MIXED], { beta: 0.1 });
    expect(trained.map(({ rollout }) => rollout)).toEqual([...EQUAL, ...MIXED]);
    for (const [i, { completion: own }] of EQUAL.entries()) {
      const { labels } = request!.sequences[i]!;
      expect(labels.map(({ advantage, klWeight }) => [advantage, klWeight])).toEqual(
        own.tokens.map(() => [0, expect.closeTo(1 / 33, 12)]),
      );
    }
  });

  test('where there is no other, there is nothing to run', async () => {
    expect(await update([EQUAL])).toEqual({ request: undefined, trained: [], anchors: 0 });
    const lost = group(q1, PROMPTS[0]!, [completion(6, 'length'), completion(6, 'length')]);
    expect((await update([lost, EQUAL])).request).toBeUndefined();
  });
});

describe('the contrastive term', async () => {
  const groups = [MIXED, EQUAL, OTHER];
  const found = await update(groups, { contrastive: { weight: 0.3 } });
  const { anchors, documents } = found.request!.contrastive!;
  const sequences = found.request!.sequences;

  test('draws the embeddings that did better than their group, no others', () => {
    const drawn = anchors.map(({ sequence }) => found.trained[sequence]!);
    expect(drawn.map(({ rollout }) => rollout.completion)).toEqual([
      MIXED[0]!.completion,
      // 0.4 of a mean of 0.35.
      MIXED[1]!.completion,
      OTHER[1]!.completion,
      OTHER[3]!.completion,
    ]);
    for (const { sequence } of anchors) {
      expect(sequences[sequence]!.ids[sequences[sequence]!.embed!]).toBe(policy.embedId);
    }
    expect(found.anchors).toBe(4);
    expect(anchors.map(({ infoNceWeight, tripletWeight }) => [infoNceWeight, tripletWeight])).toEqual(
      anchors.map(() => [expect.closeTo(0.3 / 4, 12), 0]),
    );
  });

  test('a zero-variance group, in the run for its KL term, has none that did better', async () => {
    const kept = await update(groups, { beta: 0.1 });
    expect(kept.trained.map(({ rollout }) => rollout)).toEqual(groups.flat());
    const own = kept.request!.contrastive!.anchors;
    expect(own.map(({ sequence }) => kept.trained[sequence]!.rollout)).toEqual([
      MIXED[0],
      MIXED[1],
      OTHER[1],
      OTHER[3],
    ]);
    expect(own.map(({ infoNceWeight }) => infoNceWeight)).toEqual(
      own.map(() => expect.closeTo(options().contrastive.weight / 4, 12)),
    );
    const alone = await update([EQUAL], { beta: 0.1 });
    expect(alone.request!.sequences.length).toBe(4);
    expect([alone.anchors, alone.request!.contrastive]).toEqual([0, undefined]);
  });

  test('a truncated rollout that did better, where tokens cost, has no embedding to draw', async () => {
    const costly = MIXED.map((rollout) =>
      rollout.outcome === 'truncated' ? { ...rollout, reward: 2 } : rollout,
    );
    const { request, trained } = await update([costly]);
    const best = trained.findIndex(({ rollout }) => rollout.reward === 2);
    expect(trained[best]!.advantage).toBeGreaterThan(0);
    expect(request!.contrastive!.anchors.map(({ sequence }) => sequence)).not.toContain(best);
  });

  test("documents are every query's positive and its hard negative, each embedded as a document", async () => {
    // The positives of q1, q2 and q4; the negatives of q1 and q2, q4 has none.
    const ids = ['d1', 'd2', 'd4', 'd8', 'd7'];
    expect(documents.map((sequence) => sequences[sequence])).toEqual(
      await Promise.all(
        ids.map(async (id) => {
          const { ids: tokens } = await directPrompt(
            policy.tokenizer,
            policy.prompts,
            DOCUMENTS.get(id)!,
            'document',
          );
          return { ids: tokens, labels: [], embed: tokens.length - 1 };
        }),
      ),
    );
    expect(anchors.map(({ positive }) => ids[positive])).toEqual(['d1', 'd1', 'd4', 'd4']);
  });

  test('a document that answers the query too is no negative of it', async () => {
    // q1 is answered by d4 too, the positive of q4; nothing else crosses.
    expect(anchors.map(({ falseNegatives }) => falseNegatives)).toEqual([[2], [2], [], []]);
    // Another query with the same positive.
    const twin = group(
      { ...q3, id: 'twin', relevant: new Map([['d4', 1]]), positives: ['d4'] },
      PROMPTS[0]!,
      [completion(2, 0.1), completion(3, 0.8)],
    );
    const twins = (await update([OTHER, twin])).request!.contrastive!.anchors;
    expect(twins.map(({ positive, falseNegatives }) => [positive, falseNegatives])).toEqual([
      [0, [1]],
      [0, [1]],
      [1, [0]],
    ]);
  });

  test('the document that is the query, and one that says the same as its answer, are no negatives of it', async () => {
    // The other positive is d1; the source of this test gives both queries d8.
    const special = group(
      { ...q3, own: 'd8', noNegatives: new Set(['d1']), relevant: new Map([['d4', 1]]), positives: ['d4'] },
      PROMPTS[0]!,
      [completion(2, 0.1), completion(3, 0.8)],
    );
    const [first] = (await update([special, MIXED])).request!.contrastive!.anchors;
    expect(first).toMatchObject({ positive: 0, falseNegatives: [1, 2, 3] });
  });

  test('without weight, or with nothing to draw, there is none', async () => {
    const none = await update(groups, { contrastive: { weight: 0 } });
    expect(none.request!.contrastive).toBeUndefined();
    expect(none.anchors).toBe(0);
    const failures = group(q1, PROMPTS[0]!, [
      completion(2, 0),
      completion(3, 'stop'),
      completion(4, 'length'),
    ]);
    const paid = failures.map((rollout, i) => ({ ...rollout, reward: -i }));
    // The best of them embedded; without it, none did.
    expect((await update([paid])).anchors).toBe(1);
    expect((await update([paid.slice(1)])).anchors).toBe(0);
    expect((await update([paid.slice(1)])).request!.sequences.length).toBe(2);
  });

  test('positives are drawn by seed and step alone', async () => {
    const several = group(
      {
        ...q1,
        relevant: new Map([...DOCUMENTS.keys()].map((id) => [id, 1])),
        positives: [...DOCUMENTS.keys()],
      },
      PROMPTS[0]!,
      MIXED.map(({ completion: own }) => own),
    );
    const drawn = async (step: number, seed = 0) => {
      const { request } = await update([several], { seed }, step);
      const [first] = request!.contrastive!.documents;
      return request!.sequences[first!]!.ids.join();
    };
    const all = (seed?: number) => Promise.all(Array.from({ length: 20 }, (_, step) => drawn(step, seed)));
    const steps = await all();
    expect(await all()).toEqual(steps);
    expect(new Set(steps).size).toBeGreaterThan(4);
    expect(await all(1)).not.toEqual(steps);
  });
});

describe('rollouts', () => {
  test('outcomes are told apart', () => {
    expect(MIXED.map(({ completion: own }) => outcomeOf(own))).toEqual([
      'embedded',
      'embedded',
      'truncated',
      'no_embed_token',
    ]);
  });

  test('only what embedded is shown to the environment, as unit vectors with its judgements', () => {
    const { vectors, relevant, own } = rolloutBatch([...MIXED, ...EQUAL], policy.config.hiddenSize);
    expect(own).toEqual(new Array(6).fill(undefined));
    const itself = MIXED.map((rollout) => ({ ...rollout, query: { ...rollout.query, own: 'd8' } }));
    expect(rolloutBatch(itself, policy.config.hiddenSize).own).toEqual(['d8', 'd8']);
    expect(relevant).toEqual([...new Array(2).fill(q1.relevant), ...new Array(4).fill(q2.relevant)]);
    expect(vectors.length).toBe(6 * policy.config.hiddenSize);
    for (let i = 0; i < 6; i++) {
      const row = vectors.subarray(i * policy.config.hiddenSize, (i + 1) * policy.config.hiddenSize);
      expect(Math.hypot(...row)).toBeCloseTo(1, 6);
    }
    expect(vectors[policy.config.hiddenSize]).toBeCloseTo(0.4, 6);
  });

  test('rewards come from the environment, less the cost of tokens; without an embedding from the cost alone', async () => {
    const rollouts = MIXED.map((rollout) => ({ ...rollout, reward: 9, ranking: 9 }));
    for (const rollout of rollouts) if (rollout.outcome !== 'embedded') rollout.ranking = 0;
    const environment = craftedEnvironment();
    await rewardRollouts(rollouts, environment, 4, policy.config.hiddenSize, { tokenCost: 0.01 });
    expect(environment.refreshed).toEqual([4]);
    expect(rollouts.map(({ ranking }) => ranking)).toEqual(
      [1, 0.4, 0, 0].map((value) => expect.closeTo(value, 6)),
    );
    expect(rollouts.map(({ reward }) => reward)).toEqual(
      [1 - 0.03, 0.4 - 0.05, -0.06, -0.02].map((value) => expect.closeTo(value, 6)),
    );
    expect(rollouts.map(({ rank }) => rank)).toEqual([1, 1, null, null]);
  });

  test('where nothing embedded the environment has nothing to reward', async () => {
    const environment = craftedEnvironment();
    const reward = vi.spyOn(environment, 'reward');
    const lost = group(q1, PROMPTS[0]!, [completion(6, 'length'), completion(2, 'stop')]);
    await rewardRollouts(lost, environment, 0, policy.config.hiddenSize, { tokenCost: 0 });
    expect(reward).not.toHaveBeenCalled();
    expect(lost.map(({ reward: own }) => own)).toEqual([0, 0]);
  });
});

test('a group of one and a stage with nothing to learn from are refused', () => {
  const parse = (changes: RlOptions) => () => rlOptionsSchema.parse(changes);
  expect(parse({ groupSize: 1 })).toThrow(/expected a group of at least 2/);
  expect(parse({ policyWeight: 0, contrastive: { weight: 0 } })).toThrow(/expected a policy gradient or/);
  // They would bias the ratio.
  expect(parse({ topP: 0.9 } as RlOptions)).toThrow(/topP/);
  expect(parse({ topK: 5 } as RlOptions)).toThrow(/topK/);
});
