/** Vectors and graph while documents are added, changed and removed. */
import fc from 'fast-check';
import {
  ExactEnvironment,
  type RolloutBatch,
  SelectiveEnvironment,
  type SelectiveOptions,
} from 'search-r3/environment';
import { randomStream } from 'search-r3/run';
import { AnnIndex } from 'search-r3/vectors';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { scaled } from '../support/scale.js';
import { drifting, unit } from './drifting.js';

const rowOf = (id: string) => Number(id.slice(1));
const named = (count: number) => Array.from({ length: count }, (_, i) => `d${i}`);

const made: { dispose(): Promise<void> }[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const environment of made.splice(0)) await environment.dispose();
});

const kept = <T extends { dispose(): Promise<void> }>(environment: T): T => {
  made.push(environment);
  return environment;
};

describe('a raw vector is what the encoder returned for its text at its version', () => {
  const SIZES = { documents: 30, dimension: 5, topics: 3, steps: 7, queries: 6, samples: 1 };

  test.each<SelectiveOptions>([
    { budget: { documents: 6 } },
    { budget: { documents: 6 }, value: { candidates: 8 } },
    { budget: { targetError: 0.01 } },
    { budget: { documents: 6 }, policy: 'region' },
    { budget: { documents: 6 }, policy: 'region', index: 'ann', graphFrom: 5 },
    { budget: { documents: 6 }, policy: 'random' },
  ])('while documents are added, changed and removed, and states restored: %j', async (options) => {
    let raw = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 1000 }),
        fc.array(fc.nat(100), { minLength: 5, maxLength: 11 }),
        async (seed, picks) => {
          const corpus = drifting({ ...SIZES, seed });
          const present = new Set(corpus.ids.slice(0, 20));
          const edition = new Map<string, number>();
          let version = 0;
          // The new text is that of another document.
          const truth = (id: string, at: number) =>
            corpus.vector((rowOf(id) + (edition.get(id) ?? 0)) % SIZES.documents, at);
          const encode = async (ids: readonly string[]) =>
            Float32Array.from(ids.flatMap((id) => [...truth(id, version)]));
          const create = async () => {
            const sources = { dimension: SIZES.dimension, encode };
            return kept(await SelectiveEnvironment.create(corpus.ids.slice(0, 20), sources, options));
          };
          let environment = await create();
          const assertRaw = (waiting: ReadonlySet<string>) => {
            for (const id of present) {
              const found = environment.provenance(id);
              expect(found === undefined, id).toBe(waiting.has(id));
              if (found === undefined || found.predicted) continue;
              raw++;
              expect(found.vector, id).toEqual(truth(id, found.version));
            }
          };
          for (; version < SIZES.steps; version++) {
            const { vectors, relevant } = corpus.batches[version]!;
            const rows = relevant.flatMap((grades, i) => (present.has([...grades.keys()][0]!) ? [i] : []));
            const batch: RolloutBatch = {
              vectors: Float32Array.from(rows.flatMap((i) => [...vectors.subarray(5 * i, 5 * i + 5)])),
              relevant: rows.map((i) => new Map([[[...relevant[i]!.keys()][0]!, 1]])),
            };
            await environment.refresh(version, batch);
            assertRaw(new Set());
            if (version % 2 === 1) await environment.audit(version, batch);
            const change = { added: [] as string[], changed: [] as string[], removed: [] as string[] };
            for (const [i, id] of corpus.ids.entries()) {
              const pick = picks[(i + version) % picks.length]! + i;
              if (!present.has(id)) {
                if (pick % 3 === 0) change.added.push(id);
              } else if (pick % 5 === 0 && change.removed.length < 8) change.removed.push(id);
              else if (pick % 7 === 0) change.changed.push(id);
            }
            environment.change(change);
            for (const id of change.removed) present.delete(id);
            for (const id of change.added) present.add(id);
            for (const id of [...change.added, ...change.changed]) {
              edition.set(id, (edition.get(id) ?? 0) + 1);
            }
            const waiting = new Set([...change.added, ...change.changed]);
            assertRaw(waiting);
            for (const id of change.removed) expect(environment.provenance(id)).toBeUndefined();
            if (picks[0]! % 2 === version % 2) {
              const state = structuredClone(environment.state());
              environment = await create();
              await environment.restore({ ...state, metadata: JSON.parse(JSON.stringify(state.metadata)) });
              assertRaw(waiting);
            }
          }
        },
      ),
      { numRuns: scaled(2, 40), seed: 5 },
    );
    expect(raw).toBeGreaterThan(200);
  });
});

describe('the rows of removed documents', () => {
  const SIZES = { documents: 40, dimension: 5, topics: 4, steps: 7, queries: 5, samples: 2 };

  test.each<SelectiveOptions>([
    { budget: { documents: 9 }, drift: { words: 0.8, ridge: 0.1 } },
    { budget: { documents: 9 }, value: { candidates: 10 } },
    { budget: { documents: 9 }, policy: 'region', region: { topK: 2, neighbours: 4, sweep: 0 } },
    { budget: { documents: 9 }, policy: 'random' },
  ])('go to those that are added, which is as if they were of another text: %j', async (options) => {
    const corpus = drifting({ ...SIZES, seed: 6, noise: 0.1 });
    const random = randomStream(7, 'replaced');
    let version = 0;
    /** What stands at each row: its id where documents are replaced, and which vectors and words it has. */
    const ids = [...corpus.ids];
    const editions = ids.map(() => 0);
    const kindOf = (row: number) => (row + editions[row]!) % SIZES.documents;
    const of = (row: (id: string) => number) => ({
      dimension: SIZES.dimension,
      encode: async (asked: readonly string[]) =>
        Float32Array.from(asked.flatMap((id) => [...corpus.vector(kindOf(row(id)), version)])),
      text: (id: string) =>
        `topic${kindOf(row(id)) % 4} word${kindOf(row(id)) % 7} common${kindOf(row(id)) % 2}`,
    });
    const create = async (row: (id: string) => number) =>
      kept(await SelectiveEnvironment.create(corpus.ids, of(row), options));
    const byId = (id: string) => ids.indexOf(id);
    let replacing = await create(byId);
    const changing = await create(rowOf);
    for (; version < SIZES.steps; version++) {
      const { vectors, relevant } = corpus.batches[version]!;
      const batches = [ids, corpus.ids].map((names) => ({
        vectors,
        relevant: relevant.map(
          (grades) => new Map([...grades].map(([id, grade]) => [names[rowOf(id)]!, grade])),
        ),
      }));
      const step = async (environment: SelectiveEnvironment, batch: RolloutBatch) => {
        const { seconds: _, parts: __, ...report } = await environment.refresh(version, batch);
        const rewards = await environment.reward(batch);
        return { report, rewards, audit: version % 2 === 1 && (await environment.audit(version, batch)) };
      };
      expect(await step(replacing, batches[0]!)).toEqual(await step(changing, batches[1]!));
      expect(replacing.state().arrays).toEqual(changing.state().arrays);
      const rows = [...ids.keys()].filter(() => random.uniform() < 0.2);
      const [removed, added] = [rows.map((row) => ids[row]!), rows.map((row) => `v${version}-${row}`)];
      for (const [i, row] of rows.entries()) {
        ids[row] = added[i]!;
        editions[row] = (editions[row] as number) + 9;
      }
      replacing.change({ removed: removed.toReversed(), added });
      changing.change({ changed: rows.map((row) => `d${row}`) });
      expect(replacing.documents).toEqual(ids);
      for (const id of removed) expect(replacing.provenance(id)).toBeUndefined();
      if (version === 3) {
        const state = structuredClone(replacing.state());
        replacing = await create((id) => (byId(id) === -1 ? rowOf(id) : byId(id)));
        await replacing.restore({ ...state, metadata: JSON.parse(JSON.stringify(state.metadata)) });
      }
    }
    expect(ids.filter((id) => id.startsWith('v')).length).toBeGreaterThan(20);
  });

  test.each(['selective', 'exact'])('are reused, however often documents are replaced: %s', async (kind) => {
    const truth = (id: string) => [Math.cos(id.length + rowOf(id)), Math.sin(id.length + rowOf(id))];
    const encode = async (asked: readonly string[]) => Float32Array.from(asked.flatMap(truth));
    const start = named(10);
    const environment = kept(
      kind === 'exact'
        ? await ExactEnvironment.create(start, encode, { dimension: 2 })
        : await SelectiveEnvironment.create(start, { dimension: 2, encode }),
    );
    const none: RolloutBatch = { vectors: new Float32Array(), relevant: [] };
    let present: readonly string[] = start;
    for (let version = 0; version < 20; version++) {
      await environment.refresh(version, none);
      const next = start.map((_, i) => `d${100 * (version + 1) + i}`);
      environment.change({ added: next, removed: present });
      expect(present).not.toEqual(environment.documents);
      present = environment.documents;
    }
    // Fewer documents for a while, then one more than at the start.
    environment.change({ removed: present.slice(2, 5) });
    const last = ['d5', 'd9000', 'd1903', 'd9001', 'd9002'];
    environment.change({ added: last });
    await environment.refresh(20, none);
    const { arrays, metadata } = environment.state();
    expect(arrays.versions).toHaveLength(12);
    const query = (id: string) => ({ vectors: Float32Array.from(truth(id)), relevant: [new Map([[id, 1]])] });
    for (const id of [...present.slice(0, 2), ...last]) {
      expect((await environment.search(query(id).vectors, 1))[0]![0]!.score).toBeCloseTo(1, 6);
      expect((await environment.reward(query(id)))[0]!.rank).toBe(1);
    }
    // Removed ids are remembered; unknown ones are refused.
    const both = { ...query('d5'), relevant: [new Map(Object.entries({ d100: 1, d5: 1 }))] };
    const judged = async (relevant: Record<string, number>) =>
      environment.reward({ ...both, relevant: [new Map(Object.entries(relevant))] });
    expect(await environment.reward(both)).toEqual(await judged({ d5: 1 }));
    await expect(judged({ d100: 1 })).rejects.toThrow(/relevant documents of rollout 0/);
    await expect(judged({ d99: 1, d5: 1 })).rejects.toThrow(/d99 is not in the corpus/);
    await environment.restore({ arrays, metadata: JSON.parse(JSON.stringify(metadata)) });
    expect(environment.state()).toEqual({ arrays, metadata });
    expect(await judged({ d100: 1, d5: 1 })).toEqual(await judged({ d5: 1 }));
  });

  test('are restored from a state of before they were reused', async () => {
    const encode = async (ids: readonly string[]) => Float32Array.from(ids.flatMap(() => [1, 0]));
    const create = async () => kept(await SelectiveEnvironment.create(named(3), { dimension: 2, encode }));
    const [own, other] = [await create(), await create()];
    own.change({ added: ['d3'], removed: [] });
    own.change({ removed: ['d1'] });
    const { arrays, metadata } = own.state() as { metadata: { corpus: object }; arrays: never };
    const { replaced, gone, ...corpus } = metadata.corpus as Record<string, unknown>;
    expect([replaced, gone]).toEqual([[], []]);
    await other.restore({ arrays, metadata: { ...metadata, corpus } });
    expect(other.documents).toEqual(['d0', 'd2', 'd3']);
    expect(other.provenance('d1')).toBeUndefined();
    other.change({ added: ['d1', 'd4'] });
    expect(other.documents).toEqual(['d0', 'd1', 'd2', 'd3', 'd4']);
  });
});

describe('with a graph', () => {
  const DIMENSION = 6;
  const COUNT = 600;
  const random = randomStream(12, 'graph');
  const units = (count: number) =>
    Array.from({ length: count }, () => unit(Array.from({ length: DIMENSION }, () => random.normal())));
  const truth = units(COUNT);
  const queries = units(200);
  const encode = async (ids: readonly string[]) => Float32Array.from(ids.flatMap((id) => truth[rowOf(id)]!));
  const batch: RolloutBatch = {
    vectors: Float32Array.from(queries.flat()),
    relevant: queries.map((_, i) => new Map([[`d${i}`, 1]])),
  };
  const options = { policy: 'region', index: 'ann', graphFrom: 100 } as const;

  /** An environment and its index. */
  async function graphed() {
    const create = vi.spyOn(AnnIndex, 'create');
    const sources = { dimension: DIMENSION, encode };
    const environment = kept(await SelectiveEnvironment.create(named(COUNT), sources, options));
    const index = (await create.mock.results.at(-1)!.value) as AnnIndex;
    /** Until searches go through a graph. */
    const built = () =>
      vi.waitFor(async () => {
        await environment.search(batch.vectors.subarray(0, DIMENSION), 1);
        expect(index.graph.rows).toBeGreaterThan(0);
      });
    return { environment, index, built };
  }

  /** Per query the ids that an exact scan finds. */
  async function scanned(removed: readonly string[], k: number) {
    const exact = kept(await ExactEnvironment.create(named(COUNT), encode, { dimension: DIMENSION }));
    exact.change({ removed });
    await exact.refresh(0);
    return (await exact.search(batch.vectors, k)).map((own) => own.map(({ id }) => id));
  }

  test('a refresh reports the recall of its searches', async () => {
    const { environment, built } = await graphed();
    const first = await environment.refresh(0, batch);
    expect(first.recall).toBeUndefined();
    await built();
    const expected = await scanned([], 10);
    const found = await environment.search(batch.vectors, 10);
    const hits = expected.map((own, i) => own.filter((id) => found[i]!.some((hit) => hit.id === id)).length);
    const recall = hits.reduce((a, b) => a + b, 0) / (10 * queries.length);
    // A twentieth of the queries is measured.
    const report = await environment.refresh(1, batch);
    expect(report.recall).toBeGreaterThan(0.9);
    expect(Math.abs(report.recall! - recall)).toBeLessThan(0.05);
  });

  test('a state is restored into an empty environment and over another state', async () => {
    const removed = named(40);
    const [own, fresh, used] = [await graphed(), await graphed(), await graphed()];
    for (const { environment } of [own, used]) await environment.refresh(0, batch);
    await own.built();
    await used.built();
    const left = { vectors: batch.vectors.slice(240), relevant: batch.relevant.slice(40) };
    own.environment.change({ removed });
    await own.environment.refresh(1, left);
    const state = structuredClone(own.environment.state());
    used.environment.change({ removed: ['d300', 'd301'], changed: ['d302'] });
    const expected = await scanned(removed, 5);
    const vectors = named(COUNT).map((id) => own.environment.provenance(id));
    const { encoded } = await own.environment.refresh(2, left);
    for (const { environment, built } of [fresh, used]) {
      await environment.restore({ ...state, metadata: JSON.parse(JSON.stringify(state.metadata)) });
      expect(named(COUNT).map((id) => environment.provenance(id))).toEqual(vectors);
      for (const through of ['scan', 'graph'] as const) {
        if (through === 'graph') await built();
        const found = await environment.search(batch.vectors, 5);
        const hits = expected.map((ids, i) => ids.filter((id) => found[i]!.some((hit) => hit.id === id)));
        expect(hits.flat().length).toBeGreaterThan(0.95 * expected.flat().length);
        for (const { id } of found.flat()) expect(removed).not.toContain(id);
      }
      expect((await environment.refresh(2, left)).encoded).toEqual(encoded);
    }
  });
});
