/**
 * The retriever in its own thread and in this one: the same vectors and rankings, checked against the embedder and a
 * brute-force ranking; errors, aborts, callbacks and disposal across the thread.
 */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import {
  type DocumentInput,
  type Embedding,
  type FoundDocuments,
  InputError,
  InterruptedError,
  loadRetriever,
  type Retriever,
  VERSION,
} from 'search-r3';
import { loadCheckpoint, saveCheckpoint } from 'search-r3/checkpoint';
import { Embedder } from 'search-r3/embed';
import { Model, makePolicy } from 'search-r3/model';
import { ATLAS_BASE } from 'search-r3/pipeline';
import { ATLAS_PROMPTS } from 'search-r3/pretrain';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { tinyBase, tinyCollection, tinyPolicy, writeCollection, writeModel } from '../cli/tiny.js';

const QUERIES = ['which trade is there in elmo', 'music', 'people of hask know food'];
const LONG = Array<string>(80).fill('bread').join(' ');
const THREADS = ['worker', 'current'] as const;

let cwd: string;
let model: string;
const retrievers = new Map<string, Retriever>();
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'api-'));
  model = await writeModel(join(cwd, 'model'));
  await writeCollection(join(cwd, 'data'));
  for (const thread of THREADS) retrievers.set(thread, await loadRetriever(model, { thread }));
});
afterAll(async () => {
  for (const retriever of retrievers.values()) await retriever.dispose();
  await rm(cwd, { recursive: true });
});

const on = (thread: string) => retrievers.get(thread) as Retriever;
const thrown = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

test('the version is that of the package', () => expect(VERSION).toBe(manifest.version));

describe.each(THREADS)('thread: %s', (thread) => {
  test('vectors, reasoning and counts are those of the embedder, also for concurrent calls', async () => {
    const embedder = new Embedder(Model.of(tinyPolicy()));
    const ways = [
      { role: 'query' },
      { role: 'document' },
      { reasoning: true, temperature: 1, seed: 3 },
    ] as const;
    const expected = [];
    for (const options of ways) expected.push(await embedder.embed(QUERIES, options));
    await embedder.model.dispose();
    expect(on(thread).dimension).toBe(32);
    expect(await Promise.all(ways.map((options) => on(thread).embed(QUERIES, options)))).toEqual(expected);
  });

  test('progress and tokens arrive in order, before the result', async () => {
    const progress: [number, number][] = [];
    const pieces = new Map<number, string>();
    const embedded = await on(thread).embed(QUERIES, {
      reasoning: true,
      onProgress: (done, total) => progress.push([done, total]),
      onToken: ({ text, piece }) => pieces.set(text, `${pieces.get(text) ?? ''}${piece}`),
    });
    expect(progress).toEqual([1, 2, 3].map((done) => [done, 3]));
    for (const [i, { reasoning }] of embedded.entries()) expect(pieces.get(i)).toBe(reasoning);
  });

  test('errors keep their type, their problem and their message', async () => {
    const strict = await thrown(
      on(thread).embed(['soup', LONG], { strict: true, nameOf: (index) => `row ${index + 7}` }),
    );
    expect(strict).toBeInstanceOf(InputError);
    expect((strict as InputError).problem).toMatchObject({ source: 'row 8', expected: 'at most 64 tokens' });
    expect((strict as InputError).message).toMatch(/^row 8: prompt: expected at most 64 tokens, found 8\d/);
    const options = await thrown(on(thread).embed(['soup'], { maxNewTokens: 0, reasoning: true }));
    expect((options as InputError).problem.field).toBe('maxNewTokens');
    const missing = await thrown(loadRetriever(join(cwd, 'nowhere'), { thread }));
    expect((missing as InputError).problem.source).toBe(join(cwd, 'nowhere/config.json'));
    const base = join(cwd, `base-${thread}`);
    await saveCheckpoint(base, tinyBase());
    expect(
      ((await thrown(loadRetriever(base, { thread, reasoning: true }))) as InputError).problem,
    ).toMatchObject({ source: base, field: 'prompts.reasoning', found: 'none in the preset topics' });
  });

  test('an abort ends the work with an InterruptedError; the retriever stays usable', async () => {
    const before = new AbortController();
    before.abort();
    expect(await thrown(on(thread).embed(QUERIES, { signal: before.signal }))).toBeInstanceOf(
      InterruptedError,
    );
    const during = new AbortController();
    let tokens = 0;
    const stopped = await thrown(
      on(thread).embed(QUERIES, {
        reasoning: true,
        signal: during.signal,
        onToken: () => {
          tokens++;
          during.abort();
        },
      }),
    );
    expect(stopped).toBeInstanceOf(InterruptedError);
    // All texts would take 3 times 40.
    expect(tokens).toBeLessThan(100);
    expect(await on(thread).embed(['soup'])).toHaveLength(1);
  });

  test('an error in a callback ends the work', async () => {
    const error = new RangeError('enough');
    const onProgress = () => {
      throw error;
    };
    expect(await thrown(on(thread).embed(QUERIES, { reasoning: true, onProgress }))).toBe(error);
    expect(await on(thread).embed(['soup'])).toHaveLength(1);
  });

  test('a folder and documents give an index that finds the nearest documents', async () => {
    const { corpus } = tinyCollection();
    const documents = corpus.map(({ _id, title, text }, i) => ({
      id: _id,
      ...(title !== undefined && { title }),
      text,
      page: i + 1,
    }));
    const [folder, memory] = [join(cwd, `folder-${thread}`), join(cwd, `memory-${thread}`)];
    const done: number[] = [];
    const summary = { documents: 24, dimension: 32, truncated: 0, maxLength: 64, maxPositions: 64 };
    expect(await on(thread).index(join(cwd, 'data'), { out: folder })).toEqual({ ...summary, index: folder });
    const onProgress = (count: number) => done.push(count);
    expect(await on(thread).index(documents, { out: memory, ann: true, onProgress })).toEqual({
      ...summary,
      index: memory,
    });
    expect(done.at(-1)).toBe(24);
    // The second has a graph, which finds the same.
    const graphs = [folder, memory].map((place) => existsSync(join(place, 'data-1/graph.usearch')));
    expect(graphs).toEqual([false, true]);

    const embedder = new Embedder(Model.of(tinyPolicy()));
    const matrix = await embedder.embed(
      corpus.map(({ title = '', text }) => `${title} ${text}`.trim()),
      { role: 'document' },
    );
    const queries = await embedder.embed(QUERIES, { reasoning: true });
    await embedder.model.dispose();
    for (const place of [folder, memory]) {
      const index = await on(thread).open(place);
      expect(await index.count()).toBe(24);
      const found = await index.search([...QUERIES, LONG], { k: 5 });
      expect(found.map(({ truncated }) => truncated)).toEqual([false, false, false, true]);
      for (const [i, { vector, reasoning, completed }] of queries.entries()) {
        const ranked = matrix
          .map((row, j) => ({
            id: corpus[j]?._id,
            score: row.vector.reduce((sum, x, n) => sum + x * (vector[n] as number), 0),
            page: j + 1,
          }))
          .sort((a, b) => b.score - a.score)
          .slice(0, 5);
        const { query, results, ...rest } = found[i] as FoundDocuments;
        expect(query).toBe(QUERIES[i]);
        expect(rest).toEqual({ truncated: false, reasoning, completed });
        expect(results.map(({ id, rank }) => [id, rank])).toEqual(ranked.map(({ id }, at) => [id, at + 1]));
        for (const [at, { score, page }] of results.entries()) {
          expect(score).toBeCloseTo(ranked[at]?.score as number, 5);
          expect(page).toBe(place === memory ? ranked[at]?.page : undefined);
        }
      }
      const [direct] = await index.search(QUERIES, { reasoning: false });
      expect([direct?.reasoning, direct?.completed, direct?.results.length]).toEqual([null, null, 10]);
      expect(await thrown(index.search(QUERIES, { k: 0 }))).toBeInstanceOf(InputError);
      await index.dispose();
      expect(await thrown(index.search(QUERIES))).toBeInstanceOf(Error);
    }
  });

  test('further fields of a folder are kept; fields of search results are refused with the line', async () => {
    const corpus = tinyCollection().corpus.map((row, i) => ({
      ...row,
      url: `${row._id}.org`,
      metadata: { i },
    }));
    const [data, out] = [join(cwd, `urls-${thread}`), join(cwd, `urls-index-${thread}`)];
    await writeCollection(data, { corpus });
    await on(thread).index(data, { out });
    const index = await on(thread).open(out);
    const [found] = await index.search(QUERIES.slice(0, 1), { reasoning: false });
    await index.dispose();
    for (const { id, url, metadata } of found?.results ?? []) {
      expect([url, metadata]).toEqual([`${id}.org`, { i: Number(id.slice(1)) }]);
    }
    expect(found?.results).toHaveLength(10);
    await writeCollection(data, { corpus: corpus.map((row, i) => (i === 4 ? { ...row, rank: 1 } : row)) });
    const refused = await thrown(on(thread).index(data, { out, overwrite: true }));
    expect((refused as InputError).problem).toMatchObject({
      source: `${join(data, 'corpus.jsonl')}:5`,
      field: 'rank',
    });
  });

  test('bad documents and occupied folders are refused before the work, and so is another model', async () => {
    const out = join(cwd, `refused-${thread}`);
    const document = { id: 'a', text: 'soup' };
    const twice = await thrown(on(thread).index([document, { ...document, id: 'b' }, document], { out }));
    expect((twice as InputError).message).toMatch(
      /^documents\[2\]: id: .*"a" again, which is documents\[0\]/,
    );
    expect(await thrown(on(thread).index([], { out }))).toBeInstanceOf(InputError);
    for (const overwrite of [false, true]) {
      const occupied = await thrown(on(thread).index([document], { out: model, overwrite }));
      expect((occupied as InputError).problem).toMatchObject({
        source: model,
        found: 'a folder that is not empty, and not an index',
      });
    }
    expect((await readdir(cwd)).includes(`refused-${thread}`)).toBe(false);
    // `overwrite` also works without an old index.
    await on(thread).index([document], { out, overwrite: true });
    await on(thread).index([document, { id: 'b', text: 'bread' }], { out, overwrite: true });
    const other = await loadRetriever(await writeModel(join(cwd, `other-${thread}`), 1), { thread });
    const refused = await thrown(other.open(out));
    expect((refused as InputError).problem).toMatchObject({ source: out, field: 'fingerprint.weights' });
    await other.dispose();
  });

  test.each<[string, object, RegExp]>([
    ['no text', { id: 'd' }, /^documents\[3\]: text: expected string, found nothing/],
    ['no id', { text: 'soup' }, /^documents\[3\]: id: /],
    ['a number for a title', { id: 'd', title: 7, text: 'soup' }, /^documents\[3\]: title: /],
    [
      'a score',
      { id: 'd', text: 'soup', score: 0.5 },
      /^documents\[3\]: score: .*found one\. Rename the field/,
    ],
    ['a rank', { id: 'd', text: 'soup', rank: null }, /^documents\[3\]: rank: .*Rename/],
    [
      'a BigInt',
      { id: 'd', text: 'soup', page: 7n },
      /^documents\[3\]: page: expected a value that JSON can hold/,
    ],
  ])('a document with %s is refused before any is embedded', async (_what, bad, message) => {
    const good = ['a', 'b', 'c'].map((id) => ({ id, title: null, text: 'soup' }));
    const out = join(cwd, `bad-${thread}`);
    let done = 0;
    const onProgress = () => done++;
    const refused = on(thread).index([...good, bad as DocumentInput], { out, onProgress });
    const error = await thrown(refused);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
    expect(done).toBe(0);
  });

  test('an undefined option has its default', async () => {
    const out = join(cwd, `undefined-${thread}`);
    const nothing = {
      maxLength: undefined,
      strict: undefined,
      signal: undefined,
      onProgress: undefined,
    } as object;
    const more = { reasoning: undefined, maxNewTokens: undefined, temperature: undefined, seed: undefined };
    const indexing = { out, overwrite: undefined, ann: undefined, ...nothing } as { out: string };
    const documents = ['soup', 'bread'].map((text) => ({ id: text, text }));
    const summary = await on(thread).index(documents, indexing);
    expect(summary).toMatchObject({ documents: 2, maxLength: 64 });
    await using index = await on(thread).open(out);
    const searching = { k: undefined, onToken: undefined, ...more, ...nothing } as object;
    const found = await index.search(['soup'], searching);
    expect(found).toEqual(await index.search(['soup']));
    expect(found[0]?.reasoning).toEqual(expect.any(String));
    const embedding = { role: undefined, nameOf: undefined, onToken: undefined, ...more, ...nothing };
    expect(await on(thread).embed(['soup'], embedding as object)).toEqual(await on(thread).embed(['soup']));
    await using other = await loadRetriever(model, { thread, threads: undefined } as object);
    expect(await other.embed(['soup'])).toEqual(await on(thread).embed(['soup']));
  });

  test('a null title is no title', async () => {
    const out = join(cwd, `untitled-${thread}`);
    const source = { id: 'a', title: null, text: 'soup', page: 7 };
    await on(thread).index([source, { id: 'b', text: 'bread' }], { out });
    await using index = await on(thread).open(out);
    const [found] = await index.search(['soup'], { reasoning: false });
    const results = found?.results.map(({ score: _, rank: __, ...document }) => document);
    expect(results).toContainEqual({ id: 'a', text: 'soup', page: 7 });
    const [{ vector }] = (await on(thread).embed(['soup'], { role: 'document' })) as [Embedding];
    const [query] = (await on(thread).embed(['soup'])) as [Embedding];
    const cosine = vector.reduce((sum, x, i) => sum + x * (query.vector[i] as number), 0);
    expect(found?.results.find(({ id }) => id === 'a')?.score).toBeCloseTo(cosine, 5);
  });

  test('a blank query is refused with its position, in embedding and search', async () => {
    const out = join(cwd, `blank-${thread}`);
    await on(thread).index([{ id: 'a', text: 'soup' }], { out });
    await using index = await on(thread).open(out);
    const found = await Promise.all([
      thrown(on(thread).embed(['soup', ' '])),
      thrown(index.search(['soup', ''])),
    ]);
    const problem = { expected: 'a query with text' };
    expect((found[0] as InputError).problem).toMatchObject({ source: 'text 1', ...problem, found: '" "' });
    expect((found[1] as InputError).problem).toMatchObject({ source: 'query ""', ...problem });
    expect(await on(thread).embed([''], { role: 'document' })).toHaveLength(1);
  });

  test('errors name bad arguments that only JavaScript lets through', async () => {
    const out = join(cwd, `untyped-${thread}`);
    await on(thread).index([{ id: 'a', text: 'soup' }], { out });
    await using index = await on(thread).open(out);
    const untyped = <T>(value: unknown) => value as T;
    for (const [refused, message] of [
      [on(thread).embed(untyped('soup')), /^texts: expected array, found "soup"/],
      [on(thread).embed(untyped(['soup', 3])), /^texts: 1: expected string, found 3/],
      [index.search(untyped('soup')), /^queries: expected array, found "soup"/],
      [
        on(thread).index([{ id: 'a', text: 'soup' }], untyped(undefined)),
        /^index options: out: expected string/,
      ],
      [
        on(thread).index([{ id: 'a', text: 'soup' }], untyped({ out: 3 })),
        /^index options: out: expected string/,
      ],
      [
        on(thread).index(untyped({ id: 'a' }), { out: `${out}-new` }),
        /^documents: expected a list of documents/,
      ],
    ] as const) {
      const error = await thrown(refused);
      expect(error).toBeInstanceOf(InputError);
      expect((error as InputError).message).toMatch(message);
    }
  });

  test('after disposal it refuses work, and a second disposal does nothing', async () => {
    const out = join(cwd, `disposed-${thread}`);
    let kept: Retriever;
    {
      await using retriever = await loadRetriever(model, { thread });
      await retriever.index([{ id: 'a', text: 'soup' }], { out });
      await retriever.open(out);
      kept = retriever;
    }
    expect(await thrown(kept.embed(QUERIES))).toBeInstanceOf(Error);
    await kept.dispose();
  });

  test('an index and its retriever can be disposed of together, in any order', async () => {
    const out = join(cwd, `both-${thread}`);
    await on(thread).index([{ id: 'a', text: 'soup' }], { out });
    for (const order of ['index first', 'retriever first']) {
      const retriever = await loadRetriever(model, { thread });
      const both = [await retriever.open(out), retriever];
      if (order === 'retriever first') both.reverse();
      await Promise.all(both.map((disposable) => disposable.dispose()));
    }
  });
});

test.each(THREADS)('notes about the model reach the caller: thread %s', async (thread) => {
  const folder = join(cwd, `noted-${thread}`);
  await cp(model, folder, { recursive: true });
  const { rms_norm_eps: _, ...config } = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const notes: string[] = [];
  await using _retriever = await loadRetriever(folder, { thread, onNote: (text) => notes.push(text) });
  expect(notes).toEqual([
    `${folder}: config.json leaves fields out; the defaults of transformers are used: rms_norm_eps 0.000001.`,
  ]);
});

test('disposal rejects pending calls', async () => {
  const retriever = await loadRetriever(model);
  const index = join(cwd, 'pending');
  await retriever.index([{ id: 'a', text: 'soup' }], { out: index });
  const opened = await retriever.open(index);
  const pending = thrown(retriever.embed(QUERIES, { reasoning: true }));
  await retriever.dispose();
  expect(((await pending) as Error).message).toContain('disposed');
  await opened.dispose();
});

test('the event loop keeps running while the thread embeds, and the vectors are the same', async () => {
  const folder = join(cwd, 'atlas');
  await saveCheckpoint(folder, makePolicy(await loadCheckpoint(ATLAS_BASE), ATLAS_PROMPTS));
  const texts = Array.from(
    { length: 120 },
    (_, i) => `food in the home town of the mentor of ${'rupete '.repeat(1 + (i % 5))}`,
  );
  const measured: { use: EventLoopUtilization; vectors: Float32Array[] }[] = [];
  for (const thread of THREADS) {
    await using retriever = await loadRetriever(folder, { thread });
    const start = performance.eventLoopUtilization();
    const embedded = await retriever.embed(texts);
    measured.push({
      use: performance.eventLoopUtilization(start),
      vectors: embedded.map(({ vector }) => vector),
    });
  }
  const [worker, current] = measured;
  // Shares of time in which the loop was busy, which do not depend on the load of the machine.
  expect(current?.use.utilization).toBeGreaterThan(0.6);
  expect(worker?.use.utilization).toBeLessThan(0.3);
  expect(worker?.vectors).toEqual(current?.vectors);
});

test('a program that forgets to dispose still ends', async () => {
  await symlink(resolve(import.meta.dirname, '../../../../node_modules'), join(cwd, 'node_modules'));
  const code = `import { loadRetriever } from 'search-r3';
const [{ vector }] = await (await loadRetriever(${JSON.stringify(model)})).embed(['soup']);
console.log(vector.length);`;
  await writeFile(join(cwd, 'forgets.mjs'), code);
  const run = spawnSync(process.execPath, ['forgets.mjs'], { cwd, encoding: 'utf8', timeout: 30_000 });
  expect(run).toMatchObject({ status: 0, stdout: '32\n', stderr: '' });
});

test('a program that exits while its model works keeps its exit code', () => {
  const code = `import { loadRetriever } from 'search-r3';
const retriever = await loadRetriever(${JSON.stringify(model)});
const texts = Array.from({ length: 4000 }, (_, i) => 'soup '.repeat(1 + (i % 40)));
void retriever.embed(texts, { onProgress: () => setTimeout(() => process.exit(7), 3) });`;
  const run = spawnSync(process.execPath, ['--input-type=module', '--eval', code], {
    cwd,
    encoding: 'utf8',
    timeout: 30_000,
  });
  expect(run).toMatchObject({ status: 7, stdout: '', stderr: '' });
});
