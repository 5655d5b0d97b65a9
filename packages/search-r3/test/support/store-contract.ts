/**
 * What every vector store must do, as tests: call `storeContract` in the tests of an implementation. Expected rankings
 * come from dot products in float64 over a plain list of documents.
 */
import { InputError, InterruptedError, randomStream } from 'search-r3/run';
import type {
  Batch,
  Batches,
  Filter,
  Fingerprint,
  IndexedDocument,
  StoreSearchOptions,
  VectorStore,
} from 'search-r3/vectors';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { dot, ordered, rowOf, unitMatrix } from '../vectors/brute-force.js';
import { scaled } from './scale.js';
import { FILTERS, LIBRARY, REFUSED_FILTERS } from './store-filters.js';

/** An empty store, and how to come back to it. */
export interface StoreUnderTest {
  store: VectorStore;
  /** Opens the same store again after it was closed. */
  reopen(): Promise<VectorStore>;
  /** Removes everything. Called once, after the last store was closed. */
  dispose(): Promise<void>;
}

export type OpenStore = (shape: { dimension: number; fingerprint: Fingerprint }) => Promise<StoreUnderTest>;

const DIMENSION = 5;
const FINGERPRINT = { weights: 'c0ffee', prompts: 'beef', 'any part': '1' };

/** Runs the tests of the contract on stores made by `open`. */
export function storeContract(name: string, open: OpenStore): void {
  describe(`the contract of stores: ${name}`, () => {
    let under: StoreUnderTest;
    let store: VectorStore;
    beforeEach(async () => {
      under = await open({ dimension: DIMENSION, fingerprint: FINGERPRINT });
      store = under.store;
    });
    afterEach(async () => {
      await store.close();
      await under.dispose();
    });
    const reopen = async () => {
      await store.close();
      store = await under.reopen();
    };
    const exact = (options: StoreSearchOptions = {}) => ({ ...options, approximate: false });

    const vectorsFor = (count: number, seed = 1) => unitMatrix(randomStream(seed), count, DIMENSION);
    const batch = (documents: readonly IndexedDocument[], seed = 1): Batch => ({
      documents,
      vectors: vectorsFor(documents.length, seed),
    });
    const named = (...ids: string[]) => ids.map((id) => ({ id, text: `text of ${id}` }));
    const idsIn = async (filter?: Filter) => {
      const ids: string[] = [];
      for await (const { documents } of store.scan(filter === undefined ? {} : { filter })) {
        ids.push(...documents.map(({ id }) => id));
      }
      return ids.sort();
    };
    const refusal = async (work: Promise<unknown>) => {
      const error = await work.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(InputError);
      return (error as InputError).message;
    };

    test('an empty store', async () => {
      expect([store.dimension, store.fingerprint]).toEqual([DIMENSION, FINGERPRINT]);
      for (const _ of ['new', 'opened again']) {
        expect(await store.count()).toBe(0);
        expect(await store.count({ year: 1 })).toBe(0);
        expect(await store.search(vectorsFor(2))).toEqual([[], []]);
        expect(await store.nearest(vectorsFor(1), { filter: { year: 1 } })).toEqual([[]]);
        expect(await store.get(['a'])).toEqual([undefined]);
        expect(await idsIn()).toEqual([]);
        expect([await store.delete(['a']), await store.delete({})]).toEqual([0, 0]);
        expect(await store.add({ documents: [], vectors: new Float32Array(0) })).toBe(0);
        await reopen();
      }
    });

    test('documents come back as JSON holds them, also after closing', async () => {
      const { vectors } = batch(LIBRARY);
      const given = LIBRARY.map((document) => ({ title: null, ...document, nothing: undefined }));
      expect(await store.add({ documents: given, vectors })).toBe(6);
      const ids = ['f', 'unknown', 'a', 'e\n"', 'f'];
      for (const _ of ['written', 'opened again']) {
        expect(await store.count()).toBe(6);
        const got = await store.get(ids);
        expect(got).toEqual(ids.map((id) => LIBRARY.find((document) => document.id === id)));
        const found = await store.search(rowOf(vectors, 4, DIMENSION), exact({ k: 1 }));
        expect(found).toEqual([[{ id: 'e\n"', score: expect.closeTo(1, 5), document: LIBRARY[4] }]]);
        await reopen();
        expect([store.dimension, store.fingerprint]).toEqual([DIMENSION, FINGERPRINT]);
      }
    });

    test('a search finds the nearest, best first', async () => {
      const count = 137;
      const { vectors } = batch(named(...Array.from({ length: count }, (_, i) => `d${i}`)));
      const documents = Array.from({ length: count }, (_, i) => ({ id: `d${i}`, text: '', third: i % 3 }));
      await store.add([
        { documents: documents.slice(0, 50), vectors: vectors.subarray(0, 50 * DIMENSION) },
        { documents: documents.slice(50), vectors: vectors.subarray(50 * DIMENSION) },
      ]);
      const queries = vectorsFor(7, 2);
      for (const [k, filter] of [
        [1],
        [10],
        [64, { third: 1 }],
        [1000, { third: { $ne: 0 } }],
        [1000],
        [3, { id: 'd77' }],
      ] as [number, Filter?][]) {
        const options = exact({ k, ...(filter && { filter }) });
        const [found, nearest] = [
          await store.search(queries, options),
          await store.nearest(queries, options),
        ];
        const accepted = filter === undefined ? documents.map(({ id }) => id) : await idsIn(filter);
        for (const [query, own] of found.entries()) {
          const scores = documents.map(({ id }, row) =>
            accepted.includes(id)
              ? dot(rowOf(queries, query, DIMENSION), rowOf(vectors, row, DIMENSION))
              : undefined,
          );
          const wanted = ordered(scores).slice(0, k);
          expect(own.map(({ id }) => id)).toEqual(wanted.map((row) => `d${row}`));
          expect(own.map(({ document }) => document)).toEqual(wanted.map((row) => documents[row]));
          for (const [i, row] of wanted.entries()) {
            expect(own[i]?.score).toBeCloseTo(scores[row] as number, 5);
          }
          expect(nearest[query]).toEqual(own.map(({ id, score }) => ({ id, score })));
        }
      }
      const [ten] = await store.search(queries, { approximate: false });
      expect(ten).toHaveLength(10);
    });

    test('equal vectors have equal scores', async () => {
      const vectors = new Float32Array(4 * DIMENSION);
      for (let i = 0; i < 4; i++) vectors.set(vectorsFor(1), i * DIMENSION);
      await store.add({ documents: named('a', 'b', 'c', 'd'), vectors });
      const [found] = await store.search(vectorsFor(1, 3), exact({ k: 4 }));
      expect(found?.map(({ id }) => id).sort()).toEqual(['a', 'b', 'c', 'd']);
      expect(new Set(found?.map(({ score }) => score)).size).toBe(1);
    });

    test('filters, in every call that takes one', async () => {
      await store.add(batch(LIBRARY));
      const ids = LIBRARY.map(({ id }) => id);
      for (const [filter, names] of FILTERS) {
        const wanted = ids.filter((id) => names.includes(id.charAt(0)));
        const shown = JSON.stringify(filter);
        expect(await store.count(filter), shown).toBe(wanted.length);
        expect(await idsIn(filter), shown).toEqual(wanted);
        const [found] = await store.search(vectorsFor(1, 2), { filter, k: 9 });
        expect(found?.map(({ id }) => id).sort(), shown).toEqual(wanted);
      }
      expect(await store.delete({ $or: [{ tags: 'x' }, { year: { $gt: 2021 } }] })).toBe(3);
      expect(await idsIn()).toEqual(['b', 'd', 'e\n"']);
    });

    test('filters that are refused', async () => {
      await store.add(batch(LIBRARY));
      for (const [filter, message] of REFUSED_FILTERS) {
        const bad = filter as Filter;
        expect(await refusal(store.search(vectorsFor(1), { filter: bad }))).toMatch(message);
        expect(await refusal(store.count(bad))).toMatch(message);
        expect(await refusal(idsIn(bad))).toMatch(message);
        expect(await refusal(store.delete(bad))).toMatch(/filter/);
      }
      expect(await store.count()).toBe(6);
    });

    test('an id that is there is not added again, and nothing of its batch is', async () => {
      await store.add(batch(named('a', 'b')));
      const batches = [batch(named('c')), batch(named('d', 'b', 'e'), 2), batch(named('f'))];
      expect(await refusal(store.add(batches))).toContain('"b"');
      expect(await idsIn()).toEqual(['a', 'b', 'c']);
      for (const call of ['add', 'upsert'] as const) {
        expect(await refusal(store[call](batch(named('x', 'y', 'x'))))).toContain('"x" again');
      }
      expect(await idsIn()).toEqual(['a', 'b', 'c']);
    });

    test('upserting replaces fields and vectors as a whole, and adds the rest', async () => {
      await store.add(batch(LIBRARY));
      const [before] = await store.search(vectorsFor(1, 2), exact({ k: 9 }));
      const written = await store.upsert(
        batch([{ id: 'b', text: 'stew', page: 7 }, ...named('g', 'a')] as IndexedDocument[], 4),
      );
      expect(written).toBe(3);
      for (const _ of ['written', 'opened again']) {
        expect(await store.count()).toBe(7);
        expect(await store.get(['b', 'a'])).toEqual([{ id: 'b', text: 'stew', page: 7 }, ...named('a')]);
        const [found] = await store.search(rowOf(vectorsFor(3, 4), 0, DIMENSION), exact({ k: 7 }));
        expect(found?.[0]).toMatchObject({ id: 'b', score: expect.closeTo(1, 5) });
        expect(new Set(found?.map(({ id }) => id)).size).toBe(7);
        const [after] = await store.search(vectorsFor(1, 2), exact({ k: 9 }));
        for (const id of ['c', 'd', 'f']) {
          const score = (hits = before) => hits?.find((hit) => hit.id === id)?.score;
          expect(score(after)).toBeCloseTo(score() as number, 6);
        }
        expect(await store.count({ year: 2020 })).toBe(0);
        await reopen();
      }
    });

    test('deleting by id; the ids are free again', async () => {
      await store.add(batch(LIBRARY));
      expect(await store.delete(['b', 'unknown', 'f', 'b'])).toBe(2);
      for (const _ of ['deleted', 'opened again']) {
        expect(await idsIn()).toEqual(['a', 'c', 'd', 'e\n"']);
        const [found] = await store.search(vectorsFor(1, 2), { k: 9 });
        expect(found?.map(({ id }) => id).sort()).toEqual(['a', 'c', 'd', 'e\n"']);
        expect(await store.get(['f'])).toEqual([undefined]);
        await reopen();
      }
      expect(await store.add(batch(named('f')))).toBe(1);
      expect(await store.get(['f'])).toEqual(named('f'));
    });

    test('batches are read one at a time, and each is there before the next is read', async () => {
      const seen: number[] = [];
      async function* batches(): AsyncGenerator<Batch> {
        for (let i = 0; i < 4; i++) {
          seen.push(await store.count());
          yield batch(named(...Array.from({ length: i }, (_, j) => `${i}-${j}`)), i);
        }
      }
      expect(await store.upsert(batches())).toBe(6);
      expect(seen).toEqual([0, 0, 1, 3]);
    });

    test('what fails between batches or is aborted keeps the batches before', async () => {
      const controller = new AbortController();
      function* failing(): Generator<Batch> {
        yield batch(named('a'));
        yield batch(named('b'));
        throw new RangeError('no more');
      }
      await expect(store.add(failing())).rejects.toThrow('no more');
      async function* aborted(): AsyncGenerator<Batch> {
        yield batch(named('c'));
        controller.abort();
        yield batch(named('d'));
      }
      const { signal } = controller;
      await expect(store.add(aborted(), { signal })).rejects.toThrow(InterruptedError);
      await expect(store.search(vectorsFor(1), { signal })).rejects.toThrow(InterruptedError);
      await reopen();
      expect(await idsIn()).toEqual(['a', 'b', 'c']);
    });

    test('a scan gives documents with their vectors in batches', async () => {
      await store.add(batch(LIBRARY));
      const { vectors } = batch(LIBRARY);
      await store.delete(['c']);
      const sizes: number[] = [];
      for await (const { documents, vectors: own } of store.scan({ size: 2 })) {
        sizes.push(documents.length);
        expect(own.length).toBe(documents.length * DIMENSION);
        for (const [i, document] of documents.entries()) {
          const row = LIBRARY.findIndex(({ id }) => id === document.id);
          expect(document).toEqual(LIBRARY[row]);
          for (const [n, x] of rowOf(own, i, DIMENSION).entries()) {
            expect(x).toBeCloseTo(rowOf(vectors, row, DIMENSION)[n] as number, 6);
          }
        }
      }
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(5);
      expect(Math.max(...sizes)).toBeLessThanOrEqual(2);
    });

    const two = () => batch(named('x', 'y'));
    const withVectors = (...vectors: number[]) => ({ ...two(), vectors: Float32Array.from(vectors) });
    test.each<[string, Batches, RegExp]>([
      ['a vector too few', { ...two(), vectors: vectorsFor(1) }, /vectors: expected 2 rows of dimension 5/],
      ['a vector too long', withVectors(1, 0, 0, 0, 0, 0, 1.1, 0, 0, 0), /vectors\[1\]: .*length 1/],
      ['NaN', withVectors(1, 0, 0, 0, 0, 0, Number.NaN, 0, 0, 0), /vectors\[1\]: .*length 1/],
      ['an empty id', batch(named('x', '')), /documents\[1\]: id/],
      ['no text', batch([...named('x'), { id: 'y' } as IndexedDocument]), /documents\[1\]: text/],
      ['a BigInt', batch([{ id: 'x', text: '', n: [1n] }]), /documents\[0\]: n: .*JSON can hold/],
    ])('%s is refused', async (_what, bad, message) => {
      await store.add(batch(named('x')));
      for (const call of ['add', 'upsert'] as const) {
        expect(await refusal(store[call](bad))).toMatch(message);
      }
      expect(await store.get(['x', 'y'])).toEqual([...named('x'), undefined]);
    });

    test('bad options and queries are refused', async () => {
      await store.add(batch(LIBRARY));
      expect(await refusal(store.search(vectorsFor(1), { k: 0 }))).toMatch(/k: /);
      const unknown = { top: 3 } as StoreSearchOptions;
      expect(await refusal(store.search(vectorsFor(1), unknown))).toMatch(/unknown key "top"/);
      expect(await refusal(store.search(new Float32Array(DIMENSION + 1)))).toMatch(/vectors: /);
      expect(await refusal(store.search(new Float32Array(DIMENSION).fill(Number.NaN)))).toMatch(/vectors: /);
      expect(await store.search(new Float32Array(0))).toEqual([]);
    });

    test('after any changes, searches equal those of a list of the documents', async () => {
      const random = randomStream(7);
      const model = new Map<string, { document: IndexedDocument; vector: Float32Array }>();
      const make = (id: string) => ({
        document: { id, text: `text ${random.integer(1000)}`, year: random.integer(5) },
        vector: unitMatrix(random, 1, DIMENSION),
      });
      for (let step = 0; step < scaled(60, 600); step++) {
        const ids = [...new Set(Array.from({ length: random.integer(9) }, () => `d${random.integer(60)}`))];
        const year = random.integer(5);
        const change = random.integer(4);
        const fresh = ids.filter((id) => change === 0 || !model.has(id)).map(make);
        const given = {
          documents: fresh.map(({ document }) => document),
          vectors: Float32Array.from(fresh.flatMap(({ vector }) => [...vector])),
        };
        const gone = [...model.values()].filter(({ document }) =>
          change === 2 ? ids.includes(document.id) : document.year === year && ids.length > 6,
        );
        if (change < 2) {
          expect(await (change === 0 ? store.upsert(given) : store.add(given))).toBe(fresh.length);
          for (const one of fresh) model.set(one.document.id, one);
        } else {
          const which = change === 2 ? ids : { year, $not: { year: ids.length > 6 ? -1 : year } };
          expect(await store.delete(which)).toBe(gone.length);
          for (const { document } of gone) model.delete(document.id);
        }
        if (step % 13 === 12) await reopen();
        expect(await store.count()).toBe(model.size);
        const query = unitMatrix(random, 1, DIMENSION);
        for (const filter of [undefined, { year: { $gte: 3 } }]) {
          const all = [...model.values()]
            .filter(({ document }) => filter === undefined || (document.year as number) >= 3)
            .map(({ document, vector }) => ({ document, score: dot(query, vector) }))
            .sort((a, b) => b.score - a.score)
            .slice(0, 5);
          const [found] = await store.search(query, exact({ k: 5, ...(filter && { filter }) }));
          expect(found?.map(({ document }) => document)).toEqual(all.map(({ document }) => document));
          for (const [i, { score }] of all.entries()) expect(found?.[i]?.score).toBeCloseTo(score, 5);
        }
      }
    });

    test('concurrent calls: every change is made, and no search sees half of one', async () => {
      await store.add(batch(named('x', 'y', 'same')));
      const calls: Promise<unknown>[] = [store.delete(['x', 'y'])];
      const counts: Promise<number>[] = [];
      for (let i = 0; i < 20; i++) {
        calls.push(store.upsert(batch(named(`${i}a`, `${i}b`, 'same'), i)));
        counts.push(store.search(vectorsFor(1), exact({ k: 99 })).then(([found]) => found?.length ?? 0));
      }
      await Promise.all(calls);
      for (const count of await Promise.all(counts)) expect(count % 2).toBe(1);
      const kept = Array.from({ length: 20 }, (_, i) => [`${i}a`, `${i}b`]).flat();
      expect(await idsIn()).toEqual([...kept, 'same'].sort());
      const scores = Array.from({ length: 20 }, async (_, i) => {
        const [found] = await store.search(rowOf(vectorsFor(3, i), 2, DIMENSION), { filter: { id: 'same' } });
        return found?.[0]?.score ?? 0;
      });
      // The vector of one of the changes.
      expect(Math.max(...(await Promise.all(scores)))).toBeCloseTo(1, 5);
    });

    test('a closed store refuses everything; closing again does nothing', async () => {
      await store.add(batch(LIBRARY));
      await store.close();
      await store.close();
      await expect(store.count()).rejects.toThrow();
      await expect(store.search(vectorsFor(1))).rejects.toThrow();
      await expect(store.upsert(batch(named('g')))).rejects.toThrow();
    });
  });
}
