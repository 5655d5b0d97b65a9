/** Properties of the selective environment on random corpora and options, with the exact one as the oracle. */
import fc from 'fast-check';
import {
  type CorpusChange,
  type Environment,
  ExactEnvironment,
  type RolloutBatch,
  SelectiveEnvironment,
  type SelectiveOptions,
} from 'search-r3/environment';
import { InputError } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { type DriftingCorpus, type DriftingOptions, drifting, sources } from './drifting.js';

const SIZES = { documents: 37, dimension: 6, topics: 4, steps: 5, queries: 3, samples: 2 };

const corpora = fc.record({
  seed: fc.integer({ min: 0, max: 1000 }),
  documents: fc.integer({ min: 4, max: 60 }),
  noise: fc.constantFrom(0, 0.02, 0.3),
  // One of them gives more pairs than dimensions.
  dimension: fc.constantFrom(4, 9),
});

const budgets: fc.Arbitrary<SelectiveOptions['budget']> = fc.oneof(
  fc.record({ documents: fc.integer({ min: 1, max: 40 }) }),
  fc.record({ fraction: fc.constantFrom(0.1, 0.4, 1) }),
  fc.record({ targetError: fc.constantFrom(0.001, 0.05), most: fc.constantFrom(0.5, 1) }),
);

const anyOptions: fc.Arbitrary<SelectiveOptions> = fc.record({
  policy: fc.constantFrom('value', 'value', 'region', 'random'),
  budget: budgets,
  seed: fc.integer({ min: 0, max: 5 }),
  drift: fc.record({ map: fc.boolean(), kernel: fc.boolean() }),
  value: fc.record({ random: fc.constantFrom(0, 0.3), candidates: fc.constantFrom(10, 1000) }),
  audit: fc.record({ documents: fc.integer({ min: 2, max: 9 }) }),
});

const make = (options: Partial<DriftingOptions>) => drifting({ ...SIZES, seed: 1, ...options });
const rowOf = (id: string) => Number(id.slice(1));

/** Both environments on one corpus, at one version. */
async function both(corpus: DriftingCorpus, options: SelectiveOptions, ids = corpus.ids) {
  const at = { version: 0 };
  const told = sources(corpus, () => at.version);
  const own = await SelectiveEnvironment.create(ids, told, options);
  const oracle = await ExactEnvironment.create(ids, told.encode, told);
  const dispose = async () => {
    await own.dispose();
    await oracle.dispose();
  };
  return { at, own, oracle, dispose };
}

describe('a raw vector is what the encoder returned at its version, a moved one is marked as predicted', () => {
  test('for any corpus, policy, budget and audits', async () => {
    let predictions = 0;
    await fc.assert(
      fc.asyncProperty(corpora, anyOptions, async (shape, options) => {
        const corpus = make(shape);
        const { at, own, dispose } = await both(corpus, options);
        for (; at.version < SIZES.steps; at.version++) {
          const batch = corpus.batches[at.version]!;
          await own.refresh(at.version, batch);
          if (at.version % 2 === 1) await own.audit(at.version, batch);
          for (const id of corpus.ids) {
            const { vector, version, predicted } = own.provenance(id)!;
            const encoded = corpus.vector(rowOf(id), version);
            expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
            if (predicted) {
              predictions++;
              expect(version).toBeLessThan(at.version);
              expect(vector).not.toEqual(encoded);
            } else expect(vector).toEqual(encoded);
          }
          for (const id of batch.relevant.flatMap((grades) => [...grades.keys()])) {
            expect(own.provenance(id)).toMatchObject({ version: at.version, predicted: false });
          }
        }
        await dispose();
      }),
      { numRuns: scaled(8, 100), seed: 1 },
    );
    expect(predictions).toBeGreaterThan(50);
  });
});

describe('with an unlimited budget the rewards are those of a full refresh', () => {
  const unlimited: SelectiveOptions[] = [
    { budget: { fraction: 1 } },
    { budget: { documents: 1_000 }, value: { candidates: 10 } },
    { budget: { targetError: 1e-12 } },
    { policy: 'region', budget: { fraction: 1 }, region: { sweep: 1 } },
    { policy: 'random', budget: { fraction: 1 } },
  ];

  test.each(unlimited)('%j', async (options) => {
    await fc.assert(
      fc.asyncProperty(corpora, async (shape) => {
        const corpus = make(shape);
        const { at, own, oracle, dispose } = await both(corpus, options);
        for (; at.version < SIZES.steps; at.version++) {
          const batch = corpus.batches[at.version]!;
          const report = await own.refresh(at.version, batch);
          await oracle.refresh(at.version);
          expect(await own.reward(batch)).toEqual(await oracle.reward(batch));
          expect(report.expectedError).toBeLessThan(1e-11);
        }
        await dispose();
      }),
      { numRuns: scaled(4, 40), seed: 2 },
    );
  });
});

/** A change that leaves at least two documents, and the ids after it. */
function applied(present: readonly string[], all: readonly string[], picks: readonly number[]) {
  const change: Required<CorpusChange> = { added: [], changed: [], removed: [] };
  for (const [i, id] of all.entries()) {
    const pick = picks[i % picks.length]! + i;
    if (!present.includes(id)) {
      if (pick % 3 === 0) (change.added as string[]).push(id);
    } else if (pick % 5 === 0 && change.removed.length < present.length - 2) {
      (change.removed as string[]).push(id);
    } else if (pick % 7 === 0) (change.changed as string[]).push(id);
  }
  const left = present.filter((id) => !change.removed.includes(id));
  return { change, present: [...left, ...change.added] };
}

/** The rollouts that still have relevant documents, judged by current documents and `known` removed ones. */
function kept(
  { vectors, relevant: judged }: RolloutBatch,
  environment: Environment,
  dimension: number,
  known: ReadonlySet<string> = new Set(),
) {
  const relevant = judged.map(
    (grades) => new Map([...grades].filter(([id]) => known.has(id) || environment.has(id))),
  );
  const rows = [...relevant.keys()].filter((i) => [...relevant[i]!.keys()].some((id) => environment.has(id)));
  return {
    vectors: Float32Array.from(
      rows.flatMap((i) => [...vectors.subarray(i * dimension, (i + 1) * dimension)]),
    ),
    relevant: rows.map((i) => relevant[i]!),
  };
}

describe('added and removed documents', () => {
  test('a removed document is never returned, and unlimited refreshes still equal the oracle', async () => {
    let returned = 0;
    await fc.assert(
      fc.asyncProperty(
        corpora,
        fc.constantFrom<SelectiveOptions['policy']>('value', 'region'),
        fc.boolean(),
        fc.array(fc.nat(100), { minLength: 3, maxLength: 9 }),
        async (shape, policy, unlimited, picks) => {
          const corpus = make(shape);
          let present: readonly string[] = corpus.ids.slice(0, 2 + Math.floor(corpus.ids.length / 2));
          const known = new Set(present);
          const options = { policy, budget: { fraction: unlimited ? 1 : 0.2 }, region: { sweep: 1 } };
          const { at, own, oracle, dispose } = await both(corpus, options, present as string[]);
          for (; at.version < SIZES.steps; at.version++) {
            const batch = kept(corpus.batches[at.version]!, own, corpus.dimension, known);
            await own.refresh(at.version, batch);
            await oracle.refresh(at.version);
            expect(own.documents.toSorted()).toEqual(present.toSorted());
            if (unlimited) expect(await own.reward(batch)).toEqual(await oracle.reward(batch));
            if (batch.relevant.length > 0) {
              for (const hits of await own.search(batch.vectors, corpus.ids.length)) {
                expect(hits.map(({ id }) => id).toSorted()).toEqual(present.toSorted());
                returned += hits.length;
              }
              await own.audit(at.version, batch);
            }
            const next = applied(present, corpus.ids, picks);
            own.change(next.change);
            oracle.change(next.change);
            present = next.present;
            for (const id of present) known.add(id);
            const found = await own.search(corpus.batches[0]!.vectors, corpus.ids.length);
            for (const id of found.flatMap((hits) => hits.map((hit) => hit.id))) {
              expect(next.change.removed).not.toContain(id);
              expect(next.change.changed).not.toContain(id);
            }
          }
          await dispose();
        },
      ),
      { numRuns: scaled(10, 100), seed: 3 },
    );
    expect(returned).toBeGreaterThan(1000);
  });

  test('are encoded if they are new or changed, whatever the budget, and counted', async () => {
    const corpus = make({});
    const { at, own, dispose } = await both(corpus, { budget: { documents: 1 } }, corpus.ids.slice(0, 30));
    const first = await own.refresh(0, empty(corpus));
    expect(first.encoded).toEqual({ full: 30 });
    own.change({ added: ['d33', 'd34'], changed: ['d3'], removed: ['d4'] });
    at.version = 1;
    const second = await own.refresh(1, empty(corpus));
    expect(second.encoded.changed).toBe(3);
    expect(second.tokens.changed).toBe(3 + 3 + 3 + 4 + 3 + 3);
    expect(own.provenance('d4')).toBeUndefined();
    expect(own.provenance('d33')).toMatchObject({ version: 1, predicted: false });
    await dispose();
  });

  test('count as changed if all of them are new or changed', async () => {
    const corpus = make({});
    const { own, dispose } = await both(corpus, {}, corpus.ids.slice(0, 10));
    expect((await own.refresh(0, empty(corpus))).encoded).toEqual({ full: 10 });
    own.change({ changed: own.documents });
    expect((await own.refresh(0, empty(corpus))).encoded).toEqual({ changed: 10 });
    own.change({ removed: own.documents, added: corpus.ids.slice(20, 32) });
    expect((await own.refresh(0, empty(corpus))).encoded).toEqual({ changed: 12 });
    await dispose();
  });

  test('removed documents do not count as relevant; a rollout with no other is refused', async () => {
    const corpus = make({});
    const { own, oracle, dispose } = await both(corpus, {});
    const vectors = corpus.batches[0]!.vectors.subarray(0, corpus.dimension);
    const relevant = (grades: Record<string, number>) => [new Map(Object.entries(grades))];
    for (const environment of [own, oracle]) {
      await environment.refresh(0, empty(corpus));
      environment.change({ removed: ['d5'] });
      const [partly] = await environment.reward({ vectors, relevant: relevant({ d5: 3, d6: 1 }) });
      expect(partly).toEqual((await environment.reward({ vectors, relevant: relevant({ d6: 1 }) }))[0]);
      await expect(environment.reward({ vectors, relevant: relevant({ d5: 1 }) })).rejects.toThrow(
        /relevant documents of rollout 0/,
      );
    }
    await dispose();
  });

  test('one without a vector is named if it is relevant, and left out of audits otherwise', async () => {
    const corpus = make({});
    const batch = (id: string): RolloutBatch => ({
      vectors: corpus.batches[1]!.vectors.slice(0, corpus.dimension),
      relevant: [new Map([[id, 1]])],
    });
    for (const candidates of [1000, 10]) {
      const options: SelectiveOptions = { budget: { documents: 8 }, value: { candidates } };
      const { at, own, oracle, dispose } = await both(corpus, options, corpus.ids.slice(0, 30));
      const waits = (id: string) =>
        new RegExp(
          `the document ${id}: .* has not been encoded since it was added or changed. Call refresh first`,
        );
      const refused = async (environment: Environment, id: string) => {
        const asked: (() => Promise<unknown>)[] = [() => environment.reward(batch(id))];
        // Audits of the exact environment do not check rollouts.
        if (environment === own) asked.push(() => own.audit(at.version, batch(id)));
        for (const ask of asked) {
          await expect(ask()).rejects.toThrow(InputError);
          await expect(ask()).rejects.toThrow(waits(id));
        }
      };
      for (const environment of [own, oracle]) await refused(environment, 'd3');
      // Without a vector it counts no more than if it were removed.
      const gone = await SelectiveEnvironment.create(
        corpus.ids.slice(0, 30),
        sources(corpus, () => at.version),
        options,
      );
      for (; at.version < 2; at.version++) {
        for (const environment of [own, gone, oracle]) await environment.refresh(at.version, batch('d4'));
      }
      at.version = 1;
      for (const environment of [own, oracle]) environment.change({ added: ['d33'], changed: ['d3'] });
      gone.change({ removed: ['d3'] });
      for (const environment of [own, oracle]) {
        for (const id of ['d3', 'd33']) await refused(environment, id);
      }
      expect(await own.reward(batch('d4'))).toEqual(await gone.reward(batch('d4')));
      const audit = await own.audit(1, batch('d4'));
      expect(audit.encoded).toBeGreaterThan(10);
      expect(audit).toEqual(await gone.audit(1, batch('d4')));
      for (const environment of [own, oracle]) {
        await environment.refresh(1, batch('d3'));
        expect(await environment.reward(batch('d3'))).toHaveLength(1);
      }
      await gone.dispose();
      await dispose();
    }
  });

  test('invalid changes are refused as a whole', async () => {
    const corpus = make({});
    const { own, dispose } = await both(corpus, {}, corpus.ids.slice(0, 3));
    const refused: [CorpusChange, RegExp][] = [
      [{ removed: ['d0'], added: ['d1'] }, /d1 is already in the corpus/],
      [{ removed: ['d0', 'd9'] }, /d9 is not in the corpus/],
      [{ removed: ['d0'], changed: ['d0'] }, /d0 is named twice/],
      [{ removed: ['d0', 'd1', 'd2'] }, /at least one document/],
    ];
    for (const [change, message] of refused) expect(() => own.change(change)).toThrow(message);
    expect(own.documents).toEqual(['d0', 'd1', 'd2']);
    await dispose();
  });
});

const empty = (corpus: DriftingCorpus): RolloutBatch => ({
  vectors: new Float32Array(0 * corpus.dimension),
  relevant: [],
});

describe('stopped between two steps and resumed', () => {
  test('the rewards, reports and audits are those of an uninterrupted run', async () => {
    await fc.assert(
      fc.asyncProperty(corpora, anyOptions, fc.integer({ min: 1, max: 3 }), async (shape, options, stop) => {
        const corpus = make(shape);
        const at = { version: 0 };
        const told = sources(corpus, () => at.version);
        const step = async (environment: Environment, version: number) => {
          at.version = version;
          const batch = kept(corpus.batches[version]!, environment, corpus.dimension);
          const { encoded, tokens, rounds, expectedError } = await environment.refresh(version, batch);
          const result = { encoded, tokens, rounds, expectedError };
          const rewards = await environment.reward(batch);
          const audit = batch.relevant.length > 0 ? await environment.audit(version, batch) : undefined;
          if (version === 0 && corpus.ids.length > 5)
            environment.change({ removed: ['d1'], changed: ['d2'] });
          if (version === 1 && corpus.ids.length > 5) environment.change({ added: ['d1'] });
          return { ...result, rewards, audit };
        };
        const straight = await SelectiveEnvironment.create(corpus.ids, told, options);
        const expected = [];
        for (let version = 0; version < SIZES.steps; version++) expected.push(await step(straight, version));
        const killed = await SelectiveEnvironment.create(corpus.ids, told, options);
        const found = [];
        for (let version = 0; version < stop; version++) found.push(await step(killed, version));
        const state = structuredClone(killed.state());
        const resumed = await SelectiveEnvironment.create(corpus.ids, told, options);
        await resumed.restore({ ...state, metadata: JSON.parse(JSON.stringify(state.metadata)) });
        for (let version = stop; version < SIZES.steps; version++) found.push(await step(resumed, version));
        expect(found).toEqual(expected);
        for (const environment of [straight, killed, resumed]) await environment.dispose();
      }),
      { numRuns: scaled(8, 100), seed: 4 },
    );
  });

  test("another corpus' state is refused", async () => {
    const corpus = make({});
    const told = sources(corpus, () => 0);
    const [own, other] = await Promise.all(
      [corpus.ids, corpus.ids.slice(1)].map((ids) => SelectiveEnvironment.create(ids, told)),
    );
    await expect(own!.restore(other!.state())).rejects.toThrow(InputError);
    await own!.dispose();
    await other!.dispose();
  });
});

test('invalid options are refused by name', async () => {
  const corpus = make({});
  const told = sources(corpus, () => 0);
  const options = { budget: { fraction: 2 } };
  await expect(SelectiveEnvironment.create(corpus.ids, told, options)).rejects.toThrow(/budget/);
  const moved = { index: 'ann' } as const;
  await expect(SelectiveEnvironment.create(corpus.ids, told, moved)).rejects.toThrow(
    /index: expected exact, because the drift map moves every vector/,
  );
  await expect(SelectiveEnvironment.create([], told)).rejects.toThrow(InputError);
});
