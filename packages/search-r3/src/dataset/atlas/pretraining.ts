/**
 * What the base model of Atlas reads before any training for search: all facts, the documents, and reasoning about
 * the training group that is right only sometimes. A base that never reasons leaves reinforcement learning nothing to
 * select; one that always reasons rightly leaves it nothing to do. People and companies of `dev` and `test` occur in
 * single facts only, never in a query or in reasoning.
 */
import { z } from 'zod';
import { type RandomStream, randomStream } from '../../run/random.js';
import { validate } from '../../run/validate.js';
import { documentText } from '../beir.js';
import { type AtlasQuery, atlasQueries, choiceExcept } from './queries.js';
import {
  type AtlasFact,
  chainSentence,
  factPrompt,
  factSentences,
  goal,
  ordinaryWords,
  QUERY_KINDS,
  restatement,
} from './wording.js';
import { ATLAS_GROUPS, type AtlasGroup, type AtlasWorld, atlasFacts } from './world.js';

/**
 * How reasoning turns out: the whole chain; the query's aspect again; any fact and then another city than the right
 * one; or a chain whose end, the city at least, is missing.
 */
export type AtlasReasoning = 'right' | 'restating' | 'wandering' | 'broken';

export type PretrainingItem =
  | { kind: 'text'; part: 'facts' | 'documents'; text: string }
  | { kind: 'chat'; part: AtlasReasoning; system: 'reasoning'; user: string; assistant: string };

export interface PretrainingOptions {
  /** Draws the order and the mixture (default 1). */
  seed?: number;
  /** Relative frequency of the items; default facts 0.62, documents 0.13, reasoning 0.25. */
  mixture?: { facts?: number; documents?: number; reasoning?: number };
  /** Relative frequency of each kind of reasoning; default right 0.35, restating 0.25, wandering 0.2, broken 0.2. */
  reasoning?: { [K in AtlasReasoning]?: number };
}

/** How often an item tells each of its facts, in different words. */
const TELLINGS = 2;

const weight = (standard: number) => z.number().min(0).default(standard);
const someWeight = (weights: Record<string, number>) => Object.values(weights).some((value) => value > 0);
const unbalanced = { message: 'at least one weight above 0' };

const schema = z.strictObject({
  seed: z.int().default(1),
  mixture: z
    .strictObject({ facts: weight(0.62), documents: weight(0.13), reasoning: weight(0.25) })
    .refine(someWeight, unbalanced)
    .prefault({}),
  reasoning: z
    .strictObject({
      right: weight(0.35),
      restating: weight(0.25),
      wandering: weight(0.2),
      broken: weight(0.2),
    })
    .refine(someWeight, unbalanced)
    .prefault({}),
});

/**
 * An endless stream of pre-training items; the same world and options give the same stream. Facts come two to an item,
 * each told twice in different words: a model that never saw a held-out name twice in one text could not learn to
 * repeat it, and so not to reason about it (measured: it then puts other names in its place). The two never make a
 * chain of reasoning: the object of one is not the subject of the other. Facts are drawn evenly, in rounds of all of them
 * (apart from a few that are held back for a partner), and so are documents. Reasoning takes the kinds of query in equal
 * shares, so that those about companies, few in number, are learnt too.
 */
export function pretrainingText(
  world: AtlasWorld,
  options: PretrainingOptions = {},
): Generator<PretrainingItem, never> {
  return generateItems(world, validate(schema, options, 'pretrainingText options'));
}

function* generateItems(
  world: AtlasWorld,
  options: z.output<typeof schema>,
): Generator<PretrainingItem, never> {
  const random = randomStream(options.seed, 'atlas-pretraining', world.options.seed);
  const facts = unrelatedPairs(endlessly(atlasFacts(world), random));
  const documents = endlessly(world.documents, random);
  const reasoning = reasoner(world, random);
  for (;;) {
    const part = weighted(options.mixture, random);
    switch (part) {
      case 'facts': {
        const sentences = facts.next().value.flatMap((fact) => random.sample(factSentences(fact), TELLINGS));
        yield { kind: 'text', part, text: random.shuffle(sentences).join(' ') };
        break;
      }
      case 'documents':
        yield { kind: 'text', part, text: documentText(documents.next().value) };
        break;
      case 'reasoning':
        yield reasoning(weighted(options.reasoning, random));
        break;
      default:
        part satisfies never;
    }
  }
}

/** Writes reasoning of a given outcome about a random query of the training group. */
function reasoner(world: AtlasWorld, random: RandomStream): (part: AtlasReasoning) => PretrainingItem {
  const queries = atlasQueries(world, 'train');
  const byKind = QUERY_KINDS.map((kind) => queries.filter((query) => query.kind === kind));
  const heldOut = new Set([
    ...world.people.dev,
    ...world.people.test,
    ...world.companies.dev,
    ...world.companies.test,
  ]);
  // Mentors and founders are of their subject's group, so the subject alone decides.
  const digressions = atlasFacts(world).filter((fact) => !heldOut.has(fact.subject));
  const reason = (part: AtlasReasoning, query: AtlasQuery): string => {
    switch (part) {
      case 'right':
        return query.chain;
      case 'restating':
        return restatement(query.aspect);
      case 'wandering': {
        const elsewhere = choiceExcept(world.cities, query.city, random);
        return `${tell(random.choice(digressions), random)} ${goal(query.aspect, elsewhere)}`;
      }
      case 'broken': {
        const kept = query.facts.slice(0, 1 + random.integer(query.facts.length));
        return [...kept.map(chainSentence), goal(query.aspect)].join(' ');
      }
    }
  };
  return (part) => {
    const query = random.choice(random.choice(byKind));
    return { kind: 'chat', part, system: 'reasoning', user: query.text, assistant: reason(part, query) };
  };
}

/** A prompt that a model which knows the fact continues with `answer`, one word. */
export interface FactRecallProbe {
  fact: AtlasFact;
  /** Whose fact it is; places belong to none. */
  group: AtlasGroup | 'places';
  /** For example "the birthplace of tarimo is". */
  prompt: string;
  answer: string;
}

/** One probe per fact, to measure what a base model has learnt by heart, of held-out people in particular. */
export function factRecallProbes(world: AtlasWorld): FactRecallProbe[] {
  const groups = new Map(
    ATLAS_GROUPS.flatMap((group) =>
      [...world.people[group], ...world.companies[group]].map((name) => [name, group]),
    ),
  );
  return atlasFacts(world).map((fact) => ({
    fact,
    group: groups.get(fact.subject) ?? 'places',
    prompt: factPrompt(fact),
    answer: fact.object,
  }));
}

/** Every word and punctuation mark the world can say, sorted: the vocabulary of a word-level tokenizer. */
export function atlasWords(world: AtlasWorld): string[] {
  const names = [
    ...world.countries,
    ...world.cities,
    ...ATLAS_GROUPS.flatMap((group) => [...world.people[group], ...world.companies[group]]),
  ];
  const written = world.documents.flatMap((document) => documentText(document).split(' '));
  return [...new Set([...ordinaryWords(), ...world.aspects, ...names, ...written])].sort();
}

function tell(fact: AtlasFact, random: RandomStream): string {
  return random.choice(factSentences(fact));
}

/** The items over and over, each time all of them in a new random order. */
function* endlessly<T>(items: readonly T[], random: RandomStream): Generator<T, never> {
  for (;;) yield* random.shuffle(items);
}

/** Whether reasoning can go from one fact to the other: a mentor and that mentor's birthplace. */
const goesOn = (from: AtlasFact, to: AtlasFact) => from.object === to.subject;
const related = (a: AtlasFact, b: AtlasFact) => a === b || goesOn(a, b) || goesOn(b, a);

/** Two unrelated facts at a time; one that is related to the first of a pair waits for a later one. */
function* unrelatedPairs(facts: Generator<AtlasFact, never>): Generator<[AtlasFact, AtlasFact], never> {
  const waiting: AtlasFact[] = [];
  for (;;) {
    const first = waiting.shift() ?? facts.next().value;
    const fits = (fact: AtlasFact) => !related(first, fact);
    while (!waiting.some(fits)) waiting.push(facts.next().value);
    const [second] = waiting.splice(waiting.findIndex(fits), 1) as [AtlasFact];
    yield [first, second];
  }
}

function weighted<K extends string>(weights: Record<K, number>, random: RandomStream): K {
  const entries = Object.entries<number>(weights) as [K, number][];
  let left = random.uniform() * entries.reduce((sum, [, value]) => sum + value, 0);
  let chosen: K | undefined;
  for (const [key, value] of entries) {
    if (value === 0) continue;
    chosen = key;
    if (left < value) break;
    left -= value;
  }
  if (chosen === undefined) throw new Error('internal: no weight above 0');
  return chosen;
}
