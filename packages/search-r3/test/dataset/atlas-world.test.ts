import { createHash } from 'node:crypto';
import fc from 'fast-check';
import {
  ATLAS_GROUPS,
  type AtlasWorld,
  atlasFacts,
  atlasQueries,
  atlasSplits,
  atlasWords,
  documentId,
  FACT_KINDS,
  factSentences,
  generateAtlas,
} from 'search-r3/dataset';
import { InputError } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { AtlasReader, readFact, sentences } from './atlas-reader.js';

const world = generateAtlas();

const groupCounts = (groups: Readonly<Record<string, readonly string[]>>) =>
  Object.fromEntries(Object.entries(groups).map(([group, names]) => [group, names.length]));

/** All names in the world, repeated where the world repeats them. */
const allNames = (world: AtlasWorld) => [
  ...world.countries,
  ...world.cities,
  ...ATLAS_GROUPS.flatMap((group) => [...world.people[group], ...world.companies[group]]),
];

/** A reader who has been told every fact in every wording, and whose facts are therefore consistent. */
function wellRead(world: AtlasWorld): AtlasReader {
  const reader = new AtlasReader(world.documents);
  for (const sentence of atlasFacts(world).flatMap(factSentences).flatMap(sentences)) {
    const fact = readFact(sentence);
    if (fact === undefined) throw new Error(`tells no fact: ${sentence}`);
    reader.learn(fact);
  }
  return reader;
}

describe('sizes', () => {
  test('the default world: 30 countries, 120 cities, 700 people, 140 companies, 600 documents', () => {
    expect(world.countries).toHaveLength(30);
    expect(world.cities).toHaveLength(120);
    // 15 % of 700 and of 140 are 105 and 21; 3 % are 21 and 4.2
    expect(groupCounts(world.people)).toEqual({ train: 574, dev: 21, test: 105 });
    expect(groupCounts(world.companies)).toEqual({ train: 115, dev: 4, test: 21 });
    expect(world.aspects).toEqual(['festivals', 'food', 'history', 'transport', 'trade']);
    expect(world.documents).toHaveLength(600);
    // born 700, country 120, capital 30, mentor 700, founder 140
    expect(FACT_KINDS.map((kind) => world.facts[kind].size)).toEqual([700, 120, 30, 700, 140]);
    expect(atlasFacts(world)).toHaveLength(1690);
  });

  test('5,000 documents', () => {
    const shares = { testShare: 1 / 3, devShare: 0.05 };
    const large = generateAtlas({ cities: 1000, countries: 60, people: 500, companies: 80, ...shares });
    expect(large.documents).toHaveLength(5000);
    expect(new Set(large.documents.map(({ id }) => id)).size).toBe(5000);
    expect(new Set(allNames(large)).size).toBe(60 + 1000 + 500 + 80);
    // round(500 / 3) = 167 of test, 25 of dev; round(80 / 3) = 27, 4
    expect(groupCounts(large.people)).toEqual({ train: 308, dev: 25, test: 167 });
    expect(groupCounts(large.companies)).toEqual({ train: 49, dev: 4, test: 27 });
    const reader = wellRead(large);
    for (const query of atlasSplits(large, 1).test)
      expect(reader.answer(query.text)).toEqual([query.document]);
  });

  test('the vocabulary of the default world is at most 1,250 words, each without spaces or capitals', () => {
    const words = atlasWords(world);
    expect(new Set(words).size).toBe(words.length);
    expect(words.length).toBeGreaterThan(30 + 120 + 700 + 140);
    expect(words.length).toBeLessThanOrEqual(1250);
    expect(words.filter((word) => !/^([a-z]+|[.,:?])$/.test(word))).toEqual([]);
  });

  test('uneven counts: every country has a capital of its own and the cities are shared out', () => {
    const uneven = generateAtlas({ countries: 7, cities: 23, people: 11, companies: 5, aspects: 3 });
    const { capital, country } = uneven.facts;
    expect(new Set(capital.values()).size).toBe(7);
    for (const [name, city] of capital) expect(country.get(city)).toBe(name);
    // 23 = 2 x 4 + 5 x 3
    const cities = uneven.countries.map(
      (name) => [...country.values()].filter((value) => value === name).length,
    );
    expect(cities.sort()).toEqual([3, 3, 3, 3, 3, 4, 4]);
    expect(uneven.documents).toHaveLength(69);
  });
});

describe('determinism', () => {
  test('the same options give the same world, another seed another one of the same sizes', () => {
    expect(generateAtlas({ seed: 7 })).toEqual(world);
    const other = generateAtlas({ seed: 8 });
    expect(other.cities).not.toEqual(world.cities);
    expect(other.documents).toHaveLength(600);
  });

  test('the default world stays what published base models were trained on', () => {
    // Not from elsewhere: the digest of this world when it was settled. If it changes, every base model that was
    // trained on it has to be trained again.
    const content = JSON.stringify([world.people, world.companies, atlasFacts(world), world.documents]);
    expect(createHash('sha256').update(content).digest('hex').slice(0, 16)).toBe('c659312bd69d20e0');
  });
});

describe('texts', () => {
  test('documents name their city and aspect, no person, company or country, in 13 to 20 words', () => {
    const others = new Set([
      ...world.countries,
      ...ATLAS_GROUPS.flatMap((group) => [...world.people[group], ...world.companies[group]]),
    ]);
    const cities = new Set(world.cities);
    const aspects = new Set(world.aspects);
    const pairs = world.cities.flatMap((city) => world.aspects.map((aspect) => ({ city, aspect })));
    for (const [i, { city, aspect }] of pairs.entries()) {
      const { id, text } = world.documents[i] ?? { id: '', text: '' };
      expect(id).toBe(documentId(city, aspect));
      const words = text.split(' ');
      expect(words.filter((word) => cities.has(word))).toEqual([city]);
      expect(words.filter((word) => aspects.has(word))).toEqual([aspect]);
      expect(words.filter((word) => others.has(word))).toEqual([]);
      expect(words.length).toBeGreaterThanOrEqual(13);
      expect(words.length).toBeLessThanOrEqual(20);
    }
    expect(new Set(world.documents.map(({ text }) => text)).size).toBe(600);
  });

  test('every fact is told in two or three ways, which an independent reader understands alike', () => {
    for (const fact of atlasFacts(world)) {
      const ways = factSentences(fact);
      expect(new Set(ways).size).toBe(fact.kind === 'capital' ? 2 : 3);
      for (const way of ways) expect(sentences(way).map(readFact)).toEqual([fact]);
    }
  });
});

test('impossible sizes are refused, with the option and the reason', () => {
  const refusal = (options: object) => {
    try {
      generateAtlas(options);
    } catch (error) {
      expect(error).toBeInstanceOf(InputError);
      return (error as InputError).message;
    }
    return 'nothing refused';
  };
  expect(refusal({ cities: 29 })).toBe(
    'generateAtlas options: cities: expected at least as many cities as countries (30), each of which has a capital, found 29.',
  );
  expect(refusal({ people: 5, testShare: 0.5 })).toBe(
    'generateAtlas options: people: expected at least 2 left for training: testShare 0.5 and devShare 0.03 hold out 5 of 5, found 5.',
  );
  expect(refusal({ companies: 3, testShare: 0.5 })).toBe(
    'generateAtlas options: companies: expected at least 2 left for training: testShare 0.5 and devShare 0.03 hold out 3 of 3, found 3.',
  );
  // 693 of test and 21 of dev
  expect(refusal({ testShare: 0.99 })).toMatch(/people: .* hold out 714 of 700/);
  expect(refusal({ aspects: 1 })).toMatch(/aspects: .*from 2, found 1\.$/);
  expect(refusal({ aspects: 9 })).toMatch(/aspects: .*to 8, found 9\.$/);
  expect(refusal({ countries: 0, cities: 4 })).toMatch(/countries: .*from 1, found 0\.$/);
  expect(refusal({ countries: 1, cities: 1 })).toMatch(/cities: .*from 2, found 1\.$/);
  expect(refusal({ people: 1e9 })).toMatch(/people: .*to 100000, found 1000000000\.$/);
  expect(refusal({ people: 7.5 })).toMatch(/people: .*a whole number, found 7\.5\.$/);
  expect(refusal({ testShare: 0 })).toMatch(/testShare: .*above 0, found 0\.$/);
  expect(refusal({ devShare: 1 })).toMatch(/devShare: .*below 1, found 1\.$/);
  expect(refusal({ seed: 0.5 })).toMatch(/seed: .*a whole number, found 0\.5\.$/);
  expect(refusal({ peeple: 300 })).toMatch(/the unknown key "peeple"\. Did you mean "people"\?$/);
});

test('worlds of any size hold together', () => {
  const sizes = fc.record({
    seed: fc.integer(),
    countries: fc.integer({ min: 1, max: 25 }),
    cities: fc.integer({ min: 2, max: 60 }),
    people: fc.integer({ min: 1, max: 50 }),
    companies: fc.integer({ min: 1, max: 20 }),
    aspects: fc.integer({ min: 2, max: 8 }),
    testShare: fc.constantFrom(0.01, 0.2, 1 / 3, 0.5, 0.9),
    devShare: fc.constantFrom(0, 0.05, 0.3),
  });
  let [generated, refused] = [0, 0];
  fc.assert(
    fc.property(sizes, (options) => {
      const { countries, cities, people, companies, aspects, testShare, devShare } = options;
      const held = (all: number, test: number, dev: number) =>
        Math.max(test, Math.round(testShare * all)) +
        (devShare === 0 ? 0 : Math.max(dev, Math.round(devShare * all)));
      if (cities < countries || people - held(people, 2, 2) < 2 || companies - held(companies, 1, 1) < 2) {
        refused++;
        expect(() => generateAtlas(options)).toThrow(InputError);
        return;
      }
      generated++;
      const world = generateAtlas(options);
      expect(new Set(allNames(world)).size).toBe(countries + cities + people + companies);
      expect(new Set(world.documents.map(({ id }) => id)).size).toBe(cities * aspects);
      const reader = wellRead(world);
      expect(reader.facts).toBe(2 * people + cities + countries + companies);
      for (const group of ATLAS_GROUPS) {
        const members = new Set(world.people[group]);
        for (const person of members) {
          const mentor = world.facts.mentor.get(person) ?? '';
          expect(mentor).not.toBe(person);
          expect(members.has(mentor)).toBe(true);
        }
        for (const company of world.companies[group]) {
          expect(members.has(world.facts.founder.get(company) ?? '')).toBe(true);
        }
        const queries = atlasQueries(world, group);
        expect(queries).toHaveLength((3 * members.size + world.companies[group].length) * aspects);
        for (const query of queries) expect(reader.answer(query.text)).toEqual([query.document]);
      }
    }),
    { numRuns: scaled(60, 1000) },
  );
  expect(generated).toBeGreaterThan(5);
  expect(refused).toBeGreaterThan(5);
});
