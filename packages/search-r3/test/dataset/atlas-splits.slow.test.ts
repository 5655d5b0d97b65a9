import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ATLAS_SPLITS,
  type AtlasQuery,
  atlasCollection,
  atlasFacts,
  atlasQueries,
  atlasSplits,
  factSentences,
  generateAtlas,
  hardNegative,
  loadBeir,
  QUERY_KINDS,
  sampleByKind,
  saveBeir,
} from 'search-r3/dataset';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { AtlasReader, readFact, sentences } from './atlas-reader.js';

const world = generateAtlas();
const SEEDS = [0, 1, 2, 17];

const subjects = (queries: readonly AtlasQuery[]) => new Set(queries.map((query) => query.subject));
const ids = (queries: readonly AtlasQuery[]) => queries.map((query) => query.id);
const kindCounts = (queries: readonly AtlasQuery[]) =>
  Object.fromEntries(
    QUERY_KINDS.map((kind) => [kind, queries.filter((query) => query.kind === kind).length]),
  );

describe('queries', () => {
  const queries = atlasQueries(world, 'test');

  test('count, ids and number of facts', () => {
    // 105 people and 21 companies, each asked about in 5 aspects
    expect(kindCounts(queries)).toEqual({ born: 525, capital: 525, mentor: 525, founder: 105 });
    expect(new Set(ids(queries)).size).toBe(1680);
    expect(new Set(queries.map(({ text }) => text)).size).toBe(1680);
    for (const { id, kind, subject, aspect, facts } of queries) {
      expect(id).toBe(`${kind}-${subject}-${aspect}`);
      expect(facts).toHaveLength({ born: 1, capital: 3, mentor: 2, founder: 2 }[kind]);
    }
  });

  test('the gold document is the only one that answers, found again from the told facts', () => {
    const reader = new AtlasReader(world.documents);
    for (const fact of atlasFacts(world)) {
      const told = readFact(sentences(factSentences(fact).at(-1) ?? '')[0] ?? '');
      if (told !== undefined) reader.learn(told);
    }
    for (const query of queries) expect(reader.answer(query.text)).toEqual([query.document]);
  });

  test('the chain of reasoning says each fact in a sentence of the single facts and ends at the gold city', () => {
    for (const { chain, facts, city, aspect, subject } of queries) {
      const said = sentences(chain);
      expect(said.at(-1)).toBe(`look for ${aspect} in ${city}`);
      expect(said.slice(0, -1).map(readFact)).toEqual(facts);
      for (const [i, fact] of facts.entries()) {
        expect(factSentences(fact)).toContain(`${said[i]} .`);
        expect(fact.subject).toBe(i === 0 ? subject : facts[i - 1]?.object);
      }
      expect(facts.at(-1)?.object).toBe(city);
    }
  });
});

describe('splits', () => {
  test.each(SEEDS)('split seed %i: no person or company is named in two splits', (splitSeed) => {
    const splits = atlasSplits(world, splitSeed);
    // 287 + 287 people, 58 + 57 companies: (3 x 287 + 58) x 5 and (3 x 287 + 57) x 5
    expect(ATLAS_SPLITS.map((split) => splits[split].length)).toEqual([4595, 4590, 100, 400]);
    for (const one of ATLAS_SPLITS) {
      for (const other of ATLAS_SPLITS) {
        if (one === other) continue;
        const shared = [...subjects(splits[one])].filter((name) => subjects(splits[other]).has(name));
        expect({ one, other, shared }).toEqual({ one, other, shared: [] });
      }
    }
    expect(new Set([...ids(splits.sft), ...ids(splits.rl)])).toEqual(
      new Set(ids(atlasQueries(world, 'train'))),
    );
    expect(ids(atlasQueries(world, 'test'))).toEqual(expect.arrayContaining(ids(splits.test)));
    expect(ids(atlasQueries(world, 'dev'))).toEqual(expect.arrayContaining(ids(splits.dev)));
  });

  test('no held-out person or company occurs in a training query or its chain, nor a trained one in evaluation', () => {
    const names = (group: 'train' | 'dev' | 'test') => [...world.people[group], ...world.companies[group]];
    const words = (group: 'train' | 'dev' | 'test') =>
      new Set(atlasQueries(world, group).flatMap(({ text, chain }) => `${text} ${chain}`.split(' ')));
    for (const group of ['train', 'dev', 'test'] as const) {
      const said = words(group);
      const foreign = (['train', 'dev', 'test'] as const).filter((other) => other !== group).flatMap(names);
      expect(foreign.filter((name) => said.has(name))).toEqual([]);
      expect(names(group).filter((name) => !said.has(name))).toEqual([]);
    }
  });

  test('a split seed gives the same splits again; another one other halves and other samples of the same people', () => {
    expect(atlasSplits(world, 3)).toEqual(atlasSplits(world, 3));
    const [a, b] = [atlasSplits(world, 3), atlasSplits(world, 4)];
    // Hypergeometric: 287 of 574 people twice meet in 287^2 / 574 = 143.5, variance 143.5 / 2 x 287 / 573 = 35.94;
    // 58 of 115 companies in 58^2 / 115 = 29.25, variance 29.25 x 57 / 115 x 57 / 114 = 7.25. Standard deviation 6.6.
    const again = subjects(b.sft);
    const inBoth = [...subjects(a.sft)].filter((name) => again.has(name)).length;
    expect(Math.abs(inBoth - 172.75)).toBeLessThan(5 * 6.6);
    expect(new Set(ids(a.test))).not.toEqual(new Set(ids(b.test)));
  });

  test('samples hold equally many of each kind, as far as there are enough, and so does their beginning', () => {
    const { test, dev } = atlasSplits(world, 5);
    expect(kindCounts(test)).toEqual({ born: 100, capital: 100, mentor: 100, founder: 100 });
    expect(new Set(ids(test)).size).toBe(400);
    expect(kindCounts(test.slice(0, 10))).toEqual({ born: 3, capital: 3, mentor: 2, founder: 2 });
    // dev has 4 companies x 5 aspects: the other 80 are shared by three kinds
    expect(kindCounts(dev)).toEqual({ born: 27, capital: 27, mentor: 26, founder: 20 });
  });

  test('without balance the few company queries stay few', () => {
    const counts = kindCounts(atlasSplits(world, 5, { balance: 'none' }).test);
    expect(Object.values(counts).reduce((sum, count) => sum + count)).toBe(400);
    // hypergeometric: 400 of 1680, of which 105 are about companies; mean 25, standard deviation 4.2
    expect(counts.founder).toBeGreaterThan(3);
    expect(counts.founder).toBeLessThan(47);
  });

  test('sample sizes: given, all, none, too many', () => {
    const sizes = atlasSplits(world, 1, { testQueries: 1680, devQueries: 0 });
    expect(new Set(ids(sizes.test))).toEqual(new Set(ids(atlasQueries(world, 'test'))));
    expect(sizes.dev).toEqual([]);
    const small = generateAtlas({ people: 20, companies: 6, testShare: 1 / 3 });
    // 7 people and 2 companies: (3 x 7 + 2) x 5, fewer than the default 400
    expect(atlasSplits(small, 1).test).toHaveLength(115);
    expect(() => atlasSplits(small, 1, { testQueries: 116 })).toThrow(
      'atlasSplits options: testQueries: expected at most 115, all that this world has, found 116. A world with more people or a larger testShare has more.',
    );
    expect(() => atlasSplits(small, 1, { devQueries: -1 })).toThrow(/devQueries: .*found -1/);
    expect(() => atlasSplits(small, 0.5)).toThrow(/splitSeed: .*found 0\.5/);
  });

  test('sampling more than there is gives all', () => {
    const queries = atlasQueries(world, 'dev');
    expect(new Set(ids(sampleByKind(queries, 10_000, randomStream(1))))).toEqual(new Set(ids(queries)));
  });
});

describe('hard negatives', () => {
  test('half are another aspect of the same city, half the same aspect of another city, never the answer', () => {
    const query = atlasQueries(world, 'train')[31];
    if (query === undefined) throw new Error('no such query');
    const random = randomStream(1, 'negatives');
    const drawn = Array.from({ length: 6000 }, () => hardNegative(world, query, random));
    expect(drawn).not.toContain(query.document);
    const sameCity = drawn.filter((id) => id.startsWith(`${query.city}-`));
    const sameAspect = drawn.filter((id) => id.endsWith(`-${query.aspect}`));
    expect(sameCity.length + sameAspect.length).toBe(6000);
    // binomial: mean 3000, standard deviation 38.7
    expect(Math.abs(sameCity.length - 3000)).toBeLessThan(5 * 38.7);
    expect(new Set(sameCity).size).toBe(4);
    expect(new Set(sameAspect).size).toBe(119);
    const known = new Set(world.documents.map(({ id }) => id));
    expect(drawn.filter((id) => !known.has(id))).toEqual([]);
    const again = randomStream(1, 'negatives');
    expect(drawn.slice(0, 50)).toEqual(Array.from({ length: 50 }, () => hardNegative(world, query, again)));
  });

  test('the smallest world has one of each', () => {
    const tiny = generateAtlas({ countries: 1, cities: 2, aspects: 2, people: 8, companies: 5 });
    const random = randomStream(2);
    for (const query of atlasQueries(tiny, 'train')) {
      const drawn = new Set(Array.from({ length: 64 }, () => hardNegative(tiny, query, random)));
      const far = (city: string, aspect: string) => city !== query.city && aspect !== query.aspect;
      const expected = tiny.documents
        .map(({ id }) => id)
        .filter((id) => id !== query.document && !far(id.split('-')[0] ?? '', id.split('-')[1] ?? ''));
      expect([...drawn].sort()).toEqual(expected.sort());
    }
  });
});

describe('collection', () => {
  test('holds the documents, queries and judgements of the splits, and is the same after a BEIR folder', async () => {
    const collection = atlasCollection(world, 2);
    const splits = atlasSplits(world, 2);
    expect(collection.corpus).toEqual(world.documents);
    expect(collection.queries.size).toBe(4595 + 4590 + 100 + 400);
    for (const split of ATLAS_SPLITS) {
      const judged = [...(collection.qrels.get(split) ?? [])].map(([id, grades]) => [id, ...grades]);
      expect(judged).toEqual(splits[split].map(({ id, document }) => [id, [document, 1]]));
    }
    for (const [id, query] of collection.queries) {
      expect(query).toEqual({ id, text: collection.atlas.get(id)?.text });
    }
    const folder = await mkdtemp(join(tmpdir(), 'atlas-'));
    try {
      await saveBeir(join(folder, 'atlas'), collection);
      const { corpus, queries, qrels } = await loadBeir(join(folder, 'atlas'));
      expect({ corpus, queries, qrels }).toEqual({
        corpus: collection.corpus,
        queries: collection.queries,
        qrels: collection.qrels,
      });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('passes its options on, and has no split without queries', () => {
    const collection = atlasCollection(generateAtlas({ devShare: 0 }), 2, { testQueries: 12 });
    expect([...collection.qrels.keys()]).toEqual(['sft', 'rl', 'test']);
    expect(collection.qrels.get('test')?.size).toBe(12);
  });
});
