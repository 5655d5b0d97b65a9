/** Queries of Atlas: an aspect of a city that is reached from a person or company by one to three facts. */
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
  /** The facts that lead to the city, in order: 1 (born), 2 (mentor, founder) or 3 (capital). */
  facts: AtlasFact[];
  /** The city the query asks about. */
  city: string;
  /** The id of the one relevant document. */
  document: string;
  /** The right reasoning: every fact in a sentence, then what to look for where. Not for fine-tuning: it is the answer. */
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
 * The id of a document that is easily taken for the answer: with equal chance another aspect of the same city, or the
 * same aspect of another city.
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

/** One of `items`, uniformly, but not `excluded`; there must be another. */
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
