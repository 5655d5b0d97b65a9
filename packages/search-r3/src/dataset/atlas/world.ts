/**
 * Atlas, the built-in world: countries, cities, people and companies, the facts between them, and one document per
 * aspect of each city. Documents never mention people, and queries name only a person or company, so a model has to
 * know the facts that lead from query to document.
 *
 * The world's seed puts people and companies into three groups: `train`, `dev`, `test`. A mentor or founder is in the
 * group of the person it taught or the company it founded, so no chain of reasoning crosses groups.
 */
import { z } from 'zod';
import { randomStream } from '../../run/random.js';
import { validate } from '../../run/validate.js';
import type { Document } from '../types.js';
import { NameSource } from './names.js';
import {
  ASPECTS,
  type AtlasFact,
  documentTexts,
  type FactKind,
  ordinaryWords,
  SIGHTS_PER_DOCUMENT,
} from './wording.js';

export interface AtlasOptions {
  /** Draws names, facts, groups and document texts (default 7). */
  seed?: number;
  /** Default 30. */
  countries?: number;
  /** At least one per country, which is its capital, and at least two; default 120. */
  cities?: number;
  /** Default 700: with few people, training learns the people instead of how to reason about them. */
  people?: number;
  /** Default 140. */
  companies?: number;
  /** Documents per city, 2 to 8; default 5. */
  aspects?: number;
  /** Share of people and companies for testing; default 0.15, at least 2 people and 1 company. */
  testShare?: number;
  /** Share of people and companies for validation; default 0.03, 0 for none. */
  devShare?: number;
}

export const ATLAS_GROUPS = ['train', 'dev', 'test'] as const;
export type AtlasGroup = (typeof ATLAS_GROUPS)[number];

export interface AtlasWorld {
  readonly options: Readonly<Required<AtlasOptions>>;
  readonly countries: readonly string[];
  readonly cities: readonly string[];
  /** The names of the aspects, as queries and documents write them. */
  readonly aspects: readonly string[];
  readonly people: Readonly<Record<AtlasGroup, readonly string[]>>;
  readonly companies: Readonly<Record<AtlasGroup, readonly string[]>>;
  /** For each kind of fact, a map from subject to object. */
  readonly facts: Readonly<Record<FactKind, ReadonlyMap<string, string>>>;
  /** One per city and aspect, cities x aspects in all, city by city. */
  readonly documents: readonly Document[];
}

const MAXIMUM = 100_000;
const SIGHTS_PER_ENDING = 14;
/** A person needs a mentor of the same group; the training group is cut into two halves. */
const LEAST = {
  people: { train: 2, dev: 2, test: 2 },
  companies: { train: 2, dev: 1, test: 1 },
} as const;

const size = (least: number, standard: number) => z.int().min(least).max(MAXIMUM).default(standard);

const schema = z
  .strictObject({
    seed: z.int().default(7),
    countries: size(1, 30),
    cities: size(2, 120),
    people: size(1, 700),
    companies: size(1, 140),
    aspects: z.int().min(2).max(ASPECTS.length).default(5),
    testShare: z.number().gt(0).lt(1).default(0.15),
    devShare: z.number().min(0).lt(1).default(0.03),
  })
  .superRefine((options, context) => {
    const refuse = (field: string, message: string) =>
      context.addIssue({ code: 'custom', path: [field], message });
    if (options.cities < options.countries) {
      refuse(
        'cities',
        `at least as many cities as countries (${options.countries}), each of which has a capital`,
      );
    }
    for (const members of ['people', 'companies'] as const) {
      const { train, dev, test } = groupSizes(members, options);
      const least = LEAST[members].train;
      if (train >= least) continue;
      const shares = `testShare ${options.testShare} and devShare ${options.devShare}`;
      refuse(
        members,
        `at least ${least} left for training: ${shares} hold out ${test + dev} of ${options[members]}`,
      );
    }
  });

/**
 * Generates a world. The same options give the same world; the defaults give 600 documents and 1,690 facts.
 * @throws InputError naming the option that is unknown, out of range or incompatible with the others.
 */
export function generateAtlas(options: AtlasOptions = {}): AtlasWorld {
  const resolved = validate(schema, options, 'generateAtlas options');
  const random = (label: string) => randomStream(resolved.seed, 'atlas', label);

  const names = new NameSource(random('names'), [...ordinaryWords(), ...ASPECTS.map(({ name }) => name)]);
  const countries = names.draw(resolved.countries, { endings: ['land', 'nia', 'stan'] });
  const cities = names.draw(resolved.cities, { endings: ['burg', 'ton', 'port', 'ville', 'ford', 'polis'] });
  const people = inGroups('people', names.draw(resolved.people, { syllables: 3 }), resolved);
  const companies = inGroups(
    'companies',
    names.draw(resolved.companies, { endings: ['corp', 'works', 'group'] }),
    resolved,
  );
  const sights = ASPECTS.slice(0, resolved.aspects).map(({ name, endings }) => ({
    aspect: name,
    names: endings.flatMap((ending) => names.draw(SIGHTS_PER_ENDING, { endings: [ending] })),
  }));

  const countryAt = (index: number) => countries[index % countries.length] as string;
  const facts: Record<FactKind, Map<string, string>> = {
    born: new Map(),
    country: new Map(cities.map((city, i) => [city, countryAt(i)])),
    capital: new Map(countries.map((country, i) => [country, cities[i] as string])),
    mentor: new Map(),
    founder: new Map(),
  };
  const draws = { born: random('born'), mentor: random('mentor'), founder: random('founder') };
  for (const group of ATLAS_GROUPS) {
    const members = people[group];
    for (const [i, person] of members.entries()) {
      facts.born.set(person, draws.born.choice(cities));
      // 1 to n - 1 places further around the circle: anyone else.
      const other = (i + 1 + draws.mentor.integer(members.length - 1)) % members.length;
      facts.mentor.set(person, members[other] as string);
    }
    for (const company of companies[group]) facts.founder.set(company, draws.founder.choice(members));
  }

  const texts = random('documents');
  const documents = cities.flatMap((city) =>
    sights.map(({ aspect, names }) => ({
      id: documentId(city, aspect),
      text: texts.choice(documentTexts(aspect, city, texts.sample(names, SIGHTS_PER_DOCUMENT))),
    })),
  );
  const aspects = sights.map(({ aspect }) => aspect);
  return { options: resolved, countries, cities, aspects, people, companies, facts, documents };
}

/** The id of the document about an aspect of a city. */
export function documentId(city: string, aspect: string): string {
  return `${city}-${aspect}`;
}

/** All facts of the world, kind by kind. */
export function atlasFacts(world: AtlasWorld): AtlasFact[] {
  return (Object.keys(world.facts) as FactKind[]).flatMap((kind) =>
    [...world.facts[kind]].map(([subject, object]) => ({ kind, subject, object })),
  );
}

/** The object of a fact of the world. */
export function factObject(world: AtlasWorld, kind: FactKind, subject: string): string {
  const object = world.facts[kind].get(subject);
  if (object === undefined) throw new Error(`internal: no fact "${kind}" about "${subject}"`);
  return object;
}

type Members = keyof typeof LEAST;
type Shares = Pick<Required<AtlasOptions>, Members | 'testShare' | 'devShare'>;

function groupSizes(members: Members, options: Shares): Record<AtlasGroup, number> {
  const all = options[members];
  const held = (group: 'dev' | 'test', share: number) =>
    share === 0 ? 0 : Math.max(LEAST[members][group], Math.round(share * all));
  const test = held('test', options.testShare);
  const dev = held('dev', options.devShare);
  return { train: all - test - dev, dev, test };
}

/** Names come in random order, so consecutive slices are random groups. */
function inGroups(members: Members, names: readonly string[], options: Shares): Record<AtlasGroup, string[]> {
  const { train, dev } = groupSizes(members, options);
  return {
    train: names.slice(0, train),
    dev: names.slice(train, train + dev),
    test: names.slice(train + dev),
  };
}
