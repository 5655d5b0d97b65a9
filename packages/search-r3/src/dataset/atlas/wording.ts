/**
 * The wording of Atlas: sentences for facts and documents, queries, and chains of reasoning. All in lower case, with
 * single spaces between words and punctuation, so that a word-level tokenizer needs no rules.
 */

export const FACT_KINDS = ['born', 'country', 'capital', 'mentor', 'founder'] as const;
/** born: person -> city; country: city -> country; capital: country -> city; mentor, founder: -> person. */
export type FactKind = (typeof FACT_KINDS)[number];

export const QUERY_KINDS = ['born', 'capital', 'mentor', 'founder'] as const;
/** How a query names its city: a birthplace, the capital of the country of birth, a mentor's or a founder's home. */
export type QueryKind = (typeof QUERY_KINDS)[number];

/** A fact in single words: `kind` says what `subject` and `object` are. */
export interface AtlasFact {
  kind: FactKind;
  subject: string;
  object: string;
}

/** The facts that lead from the subject of a query to the city it asks about, in order. */
export const HOPS = {
  born: ['born'],
  capital: ['born', 'country', 'capital'],
  mentor: ['mentor', 'born'],
  founder: ['founder', 'born'],
} as const satisfies Record<QueryKind, readonly FactKind[]>;

/**
 * The sentences that tell a fact, without the object and the full stop at their end: a model that reads left to right
 * always meets the subject first. Chains of reasoning use the first sentence of each kind.
 */
const FACT_OPENINGS: Record<FactKind, readonly [string, ...string[]]> = {
  born: ['{x} was born in', 'the birthplace of {x} is', 'the home town of {x} is'],
  country: ['{x} lies in', 'the country of {x} is', '{x} is one of the cities of'],
  capital: ['the capital of {x} is', '{x} is governed from'],
  mentor: ['the mentor of {x} is', '{x} was a student of', '{x} learned from'],
  founder: ['the founder of {x} is', '{x} was founded by', '{x} owes its start to'],
};

/** The noun in "the ... of {x} is", an opening that every kind of fact has. */
const FACT_NOUN: Record<FactKind, string> = {
  born: 'birthplace',
  country: 'country',
  capital: 'capital',
  mentor: 'mentor',
  founder: 'founder',
};

const DOCUMENT_WORDINGS = [
  '{aspect} of {city} : guests come for the {0} , locals prefer the {1} and the {2} .',
  'whoever asks about {aspect} in {city} soon hears of the {0} and of the {1} .',
  '{city} has long been proud of its {aspect} , first of the {0} , then of the {1} .',
] as const;

const QUERY_WORDING: Record<QueryKind, string> = {
  born: '{aspect} in the birthplace of {x} ?',
  capital: '{aspect} in the capital of the country where {x} was born ?',
  mentor: '{aspect} in the home town of the mentor of {x} ?',
  founder: '{aspect} in the home town of the founder of {x} ?',
};

const RESTATEMENT = 'this asks about {aspect} .';
const GOAL = 'look for {aspect} in {city} .';
const VAGUE_GOAL = 'look for {aspect} .';

/** The subjects of documents: an aspect of a city, and the endings of the names of its sights. */
export const ASPECTS = [
  { name: 'festivals', endings: ['fest', 'dance'] },
  { name: 'food', endings: ['stew', 'bread'] },
  { name: 'history', endings: ['siege', 'dynasty'] },
  { name: 'transport', endings: ['tram', 'bridge'] },
  { name: 'trade', endings: ['silk', 'ore'] },
  { name: 'music', endings: ['song', 'drum'] },
  { name: 'crafts', endings: ['lace', 'clay'] },
  { name: 'sport', endings: ['race', 'ball'] },
] as const;

/** A document names two or three sights of its aspect. */
export const SIGHTS_PER_DOCUMENT = 3;

/** All ways to say one fact. */
export function factSentences({ kind, subject, object }: AtlasFact): string[] {
  return FACT_OPENINGS[kind].map((opening) => sentence(opening, subject, object));
}

/** The sentence for a fact in chains of reasoning; one of `factSentences`. */
export function chainSentence({ kind, subject, object }: AtlasFact): string {
  return sentence(FACT_OPENINGS[kind][0], subject, object);
}

/** One of `factSentences` up to the object of the fact. */
export function factPrompt({ kind, subject }: Pick<AtlasFact, 'kind' | 'subject'>): string {
  return `the ${FACT_NOUN[kind]} of ${subject} is`;
}

/** All ways to describe an aspect of a city by its sights. */
export function documentTexts(aspect: string, city: string, sights: readonly string[]): string[] {
  return DOCUMENT_WORDINGS.map((wording) =>
    fill(wording, { aspect, city, ...Object.fromEntries(sights.entries()) }),
  );
}

export function queryText(kind: QueryKind, subject: string, aspect: string): string {
  return fill(QUERY_WORDING[kind], { x: subject, aspect });
}

/** The end of a chain of reasoning: what to look for, and where (left out if the reasoning did not get that far). */
export function goal(aspect: string, city?: string): string {
  return city === undefined ? fill(VAGUE_GOAL, { aspect }) : fill(GOAL, { aspect, city });
}

/** Reasoning that only repeats what is asked about. */
export function restatement(aspect: string): string {
  return `${fill(RESTATEMENT, { aspect })} ${goal(aspect)}`;
}

/** The ordinary words and punctuation marks of all wordings, without the aspects and names that fill their slots. */
export function ordinaryWords(): Set<string> {
  const wordings = [
    ...Object.values(FACT_OPENINGS).flat(),
    ...DOCUMENT_WORDINGS,
    ...Object.values(QUERY_WORDING),
    RESTATEMENT,
    GOAL,
    VAGUE_GOAL,
  ];
  return new Set(wordings.flatMap((wording) => wording.split(' ')).filter((word) => !word.startsWith('{')));
}

function sentence(opening: string, subject: string, object: string): string {
  return `${fill(opening, { x: subject })} ${object} .`;
}

function fill(wording: string, values: Record<string, string>): string {
  return wording.replace(/\{(\w+)\}/g, (slot, key: string) => {
    const value = values[key];
    if (value === undefined) throw new Error(`internal: no value for ${slot} in "${wording}"`);
    return value;
  });
}
