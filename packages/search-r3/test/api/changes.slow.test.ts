/** Changes of an index by its retriever, in its own thread and in this one; scores are checked against the embedder. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DocumentInput, InputError, InterruptedError, loadRetriever, type Retriever } from 'search-r3';
import { Embedder } from 'search-r3/embed';
import { Model } from 'search-r3/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tinyPolicy, writeModel } from '../cli/tiny.js';

const THREADS = ['worker', 'current'] as const;
const DOCUMENTS: DocumentInput[] = ['bread soup', 'lute', 'ships of elmo', 'choir'].map((text, i) => ({
  id: `d${i}`,
  text,
  page: i,
  tags: i % 2 === 0 ? ['even'] : [],
}));

let cwd: string;
let model: string;
const retrievers = new Map<string, Retriever>();
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'changes-'));
  model = await writeModel(join(cwd, 'model'));
  for (const thread of THREADS) retrievers.set(thread, await loadRetriever(model, { thread }));
});
afterAll(async () => {
  for (const retriever of retrievers.values()) await retriever.dispose();
  await rm(cwd, { recursive: true });
});

const thrown = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

describe.each(THREADS)('thread: %s', (thread) => {
  const on = () => retrievers.get(thread) as Retriever;
  const opened = async (name: string) => {
    const out = join(cwd, `${name}-${thread}`);
    await on().index(DOCUMENTS, { out });
    return { out, index: await on().open(out) };
  };
  const found = async (index: Awaited<ReturnType<Retriever['open']>>, filter?: object) => {
    const options = { reasoning: false, k: 20, ...(filter && { filter }) };
    const [one] = await index.search(['music'], options as object);
    return one?.results ?? [];
  };

  test('add, upsert and delete; a search sees them at once, with the scores of the embedder', async () => {
    const { out, index } = await opened('changed');
    const added = { id: 'new', title: 'drums', text: 'flute', page: 9 };
    const summary = { truncated: 0, maxLength: 64, maxPositions: 64 };
    expect(await index.add([added])).toEqual({ documents: 1, ...summary });
    const replaced = { id: 'd1', text: 'copper and wool' };
    const done: number[] = [];
    const options = { onProgress: (count: number) => done.push(count) };
    expect(await index.upsert([replaced, { id: 'e', text: 'dance' }], options)).toMatchObject({
      documents: 2,
    });
    expect(done.at(-1)).toBe(2);
    expect(await index.delete(['d0', 'unknown'])).toBe(1);
    expect(await index.delete({ page: { $gt: 2, $lt: 9 } })).toBe(1);
    expect([await index.count(), await index.count({ page: { $exists: true } })]).toEqual([4, 2]);

    const embedder = new Embedder(Model.of(tinyPolicy()));
    const left = { new: 'drums flute', d1: 'copper and wool', e: 'dance', d2: 'ships of elmo' };
    const vectors = await embedder.embed(Object.values(left), { role: 'document' });
    const [query] = await embedder.embed(['music']);
    await embedder.model.dispose();
    const scores = vectors.map(({ vector }) =>
      vector.reduce((sum, x, i) => sum + x * (query?.vector[i] as number), 0),
    );
    const wanted = Object.keys(left)
      .map((id, i) => ({ id, score: scores[i] as number }))
      .sort((a, b) => b.score - a.score);
    const results = await found(index);
    expect(results.map(({ id }) => id)).toEqual(wanted.map(({ id }) => id));
    for (const [i, { score }] of wanted.entries()) expect(results[i]?.score).toBeCloseTo(score, 5);
    expect(results.find(({ id }) => id === 'd1')).not.toHaveProperty('page');
    await index.dispose();
    await using again = await on().open(out);
    expect(await found(again)).toEqual(results);
  });

  test('a filter restricts a search', async () => {
    const { index } = await opened('filtered');
    const all = await found(index);
    const even = all.filter(({ page }) => Number(page) % 2 === 0).map(({ id }) => id);
    expect((await found(index, { tags: 'even' })).map(({ id }) => id)).toEqual(even);
    const refused = await thrown(found(index, { page: { $above: 1 } }));
    expect((refused as InputError).message).toMatch(/search options: filter\.page\.\$above: /);
    await index.dispose();
  });

  test('an update embeds what is new or reworded, and keeps the vectors of the rest', async () => {
    const { index } = await opened('updated');
    const before = await found(index);
    const corpus = [
      { ...DOCUMENTS[0], page: 70 },
      { ...DOCUMENTS[1], text: 'lute and drum' },
      DOCUMENTS[2],
      { id: 'new', text: 'dance' },
    ] as DocumentInput[];
    let embedded = 0;
    const onProgress = (done: number) => {
      embedded = done;
    };
    const counts = { added: 1, changed: 2, unchanged: 1, truncated: 0 };
    expect(await index.update(corpus, { onProgress })).toMatchObject({ documents: 5, ...counts, kept: 1 });
    expect(embedded).toBe(2);
    expect(await index.update(corpus, { prune: true })).toMatchObject({
      documents: 4,
      unchanged: 4,
      removed: 1,
    });
    const after = await found(index);
    expect(after.map(({ id }) => id).sort()).toEqual(['d0', 'd1', 'd2', 'new']);
    const scoreOf = (results: typeof after, id: string) => results.find((one) => one.id === id)?.score;
    expect(scoreOf(after, 'd0')).toBe(scoreOf(before, 'd0'));
    expect(scoreOf(after, 'd1')).not.toBeCloseTo(scoreOf(before, 'd1') as number, 4);
    expect(after.find(({ id }) => id === 'd0')?.page).toBe(70);
    await index.dispose();
  });

  test('known ids, bad documents and aborts leave the index as it was', async () => {
    const { out, index } = await opened('refused');
    let embedded = 0;
    const onProgress = () => embedded++;
    for (const [documents, message] of [
      [[{ id: 'x', text: 'soup' }, DOCUMENTS[2]], /"d2", which is in the index/],
      [[{ id: 'x', text: 'soup', rank: 1 }], /documents\[0\]: rank: /],
      [[], /documents: expected at least one, found none/],
    ] as [DocumentInput[], RegExp][]) {
      const error = await thrown(index.add(documents, { onProgress }));
      expect(error).toBeInstanceOf(InputError);
      expect((error as InputError).message).toMatch(message);
    }
    const signal = AbortSignal.abort();
    expect(await thrown(index.upsert([{ id: 'x', text: 'soup' }], { signal }))).toBeInstanceOf(
      InterruptedError,
    );
    expect(embedded).toBe(0);
    expect(await index.count()).toBe(4);
    // The first change took the lock.
    await using other = await on().open(out);
    expect(((await thrown(other.delete(['d0']))) as InputError).message).toMatch(/nobody else is using/);
    await index.dispose();
    expect(await other.delete(['d0'])).toBe(1);
  });
});
