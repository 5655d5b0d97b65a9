/**
 * The pre-training text of Atlas's base model: all facts, the documents, and reasoning about the training group, which
 * is right only sometimes. If the base never reasoned, reinforcement learning would have nothing to select; if it
 * always reasoned correctly, it would have nothing to learn. People and companies of `dev` and `test` occur in single
 * facts only, never in a query or in reasoning.
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
 * Outcomes of reasoning: `right`, the whole chain; `restating`, the query's aspect again; `wandering`, any fact and
 * then a wrong city; `broken`, a chain that stops before the city.
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

/** How often an item tells each of its facts, each time in different words. */
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
 * Yields pre-training items without end; the same world and options give the same stream.
 *
 * An item tells two facts, each twice in different words. A model that never sees a held-out name twice in one text
 * cannot learn to repeat it, and so cannot reason about it (measured: it writes other names instead). The two facts
 * never form a chain: the object of one is not the subject of the other. Facts are drawn in rounds over all of them (a
 * few wait for a partner), and so are documents. The kinds of query have equal shares of the reasoning, so that the
 * model also learns the few queries about companies.
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
  // Mentors and founders belong to their subject's group, so checking the subject is enough.
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

/** A prompt that a model continues with `answer`, one word, if it knows the fact. */
export interface FactRecallProbe {
  fact: AtlasFact;
  /** The group of the fact's subject; places belong to none. */
  group: AtlasGroup | 'places';
  /** For example "the birthplace of tarimo is". */
  prompt: string;
  answer: string;
}

/** One probe per fact, to measure what a base model knows by heart, above all about held-out people. */
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

/** All words and punctuation marks of the world, sorted: the vocabulary of a word-level tokenizer. */
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

/** Yields all items in random order, again and again. */
function* endlessly<T>(items: readonly T[], random: RandomStream): Generator<T, never> {
  for (;;) yield* random.shuffle(items);
}

/** Whether two facts form a chain: a mentor and that mentor's birthplace. */
const goesOn = (from: AtlasFact, to: AtlasFact) => from.object === to.subject;
const related = (a: AtlasFact, b: AtlasFact) => a === b || goesOn(a, b) || goesOn(b, a);

/** Yields pairs of unrelated facts; a fact related to the first of a pair waits for a later pair. */
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
