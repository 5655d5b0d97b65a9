/** Queries of Atlas: an aspect of a city, named through a person or company and one to three facts. */
import type { RandomStream } from '../../run/random.js';
import type { Query } from '../types.js';
import {
  type AtlasFact,
  chainSentence,
  goal,
  HOPS,
  QUERY_KINDS,
  type QueryKind,
  queryText,
} from './wording.js';
import { type AtlasGroup, type AtlasWorld, documentId, factObject } from './world.js';

export interface AtlasQuery extends Query {
  /** `kind-subject-aspect`. */
  id: string;
  kind: QueryKind;
  /** The person (for `founder`: the company) that the text names. */
  subject: string;
  aspect: string;
  /** The facts that lead to the city, in order: one (born), two (mentor, founder) or three (capital). */
  facts: AtlasFact[];
  /** The city the query asks about. */
  city: string;
  /** The id of the one relevant document. */
  document: string;
  /**
   * The correct reasoning: a sentence per fact, then what to look for and where. It is the answer: do not train on it.
   */
  chain: string;
}

/** All queries about the people and companies of a group, kind by kind: (3 x people + companies) x aspects. */
export function atlasQueries(world: AtlasWorld, group: AtlasGroup): AtlasQuery[] {
  return QUERY_KINDS.flatMap((kind) => {
    const subjects = kind === 'founder' ? world.companies[group] : world.people[group];
    return subjects.flatMap((subject) =>
      world.aspects.map((aspect) => makeQuery(world, kind, subject, aspect)),
    );
  });
}

/**
 * The id of a document that resembles the answer: another aspect of the same city or, as likely, the same aspect of
 * another city.
 */
export function hardNegative(
  world: AtlasWorld,
  query: Pick<AtlasQuery, 'city' | 'aspect'>,
  random: RandomStream,
): string {
  const { city, aspect } = query;
  return random.uniform() < 0.5
    ? documentId(city, choiceExcept(world.aspects, aspect, random))
    : documentId(choiceExcept(world.cities, city, random), aspect);
}

/** Draws one of `items` uniformly, except `excluded`; there must be another. */
export function choiceExcept<T>(items: readonly T[], excluded: T, random: RandomStream): T {
  for (;;) {
    const item = random.choice(items);
    if (item !== excluded) return item;
  }
}

function makeQuery(world: AtlasWorld, kind: QueryKind, subject: string, aspect: string): AtlasQuery {
  const facts: AtlasFact[] = [];
  let place = subject;
  for (const hop of HOPS[kind]) {
    const object = factObject(world, hop, place);
    facts.push({ kind: hop, subject: place, object });
    place = object;
  }
  return {
    id: `${kind}-${subject}-${aspect}`,
    text: queryText(kind, subject, aspect),
    kind,
    subject,
    aspect,
    facts,
    city: place,
    document: documentId(place, aspect),
    chain: [...facts.map(chainSentence), goal(aspect, place)].join(' '),
  };
}
