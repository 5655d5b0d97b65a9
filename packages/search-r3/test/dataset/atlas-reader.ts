/**
 * A reader of Atlas that knows nothing of its generator: it learns facts by matching sentences and answers queries by
 * matching their words, so that what it finds is an independent check of facts, documents and judgements.
 */

const FACT_PATTERNS: [string, RegExp][] = [
  ['born', /^(\w+) was born in (\w+)$/],
  ['born', /^the (?:birthplace|home town) of (\w+) is (\w+)$/],
  ['country', /^(\w+) lies in (\w+)$/],
  ['country', /^the country of (\w+) is (\w+)$/],
  ['country', /^(\w+) is one of the cities of (\w+)$/],
  ['capital', /^the capital of (\w+) is (\w+)$/],
  ['capital', /^(\w+) is governed from (\w+)$/],
  ['mentor', /^the mentor of (\w+) is (\w+)$/],
  ['mentor', /^(\w+) was a student of (\w+)$/],
  ['mentor', /^(\w+) learned from (\w+)$/],
  ['founder', /^the founder of (\w+) is (\w+)$/],
  ['founder', /^(\w+) was founded by (\w+)$/],
  ['founder', /^(\w+) owes its start to (\w+)$/],
];

export interface ReadFact {
  kind: string;
  subject: string;
  object: string;
}

/** The sentences of a text, without the full stops that end them. */
export function sentences(text: string): string[] {
  if (!text.endsWith(' .')) throw new Error(`does not end with a full stop: ${text}`);
  return text.slice(0, -2).split(' . ');
}

const read = new Map<string, ReadFact | undefined>();

/** The fact that a sentence tells, if it tells one. A stream says the same sentences again and again. */
export function readFact(sentence: string): ReadFact | undefined {
  if (!read.has(sentence)) read.set(sentence, match(sentence));
  return read.get(sentence);
}

function match(sentence: string): ReadFact | undefined {
  for (const [kind, pattern] of FACT_PATTERNS) {
    const [, subject, object] = pattern.exec(sentence) ?? [];
    if (subject !== undefined && object !== undefined) return { kind, subject, object };
  }
  return undefined;
}

export class AtlasReader {
  readonly #facts = new Map<string, string>();
  readonly #documents: { id: string; words: Set<string> }[];

  constructor(documents: readonly { id: string; text: string }[]) {
    this.#documents = documents.map(({ id, text }) => ({ id, words: new Set(text.split(' ')) }));
  }

  get facts(): number {
    return this.#facts.size;
  }

  /** Learns a fact. Throws where it was told otherwise before. */
  learn({ kind, subject, object }: ReadFact): void {
    const key = `${kind} ${subject}`;
    const known = this.#facts.get(key);
    if (known !== undefined && known !== object) throw new Error(`${key}: told ${known} and ${object}`);
    this.#facts.set(key, object);
  }

  /** The ids of all documents that name both the aspect and the city a query asks about. */
  answer(query: string): string[] {
    const [, aspect, rest] = /^(\w+) in (.+) \?$/.exec(query) ?? [];
    if (aspect === undefined || rest === undefined) throw new Error(`not a query: ${query}`);
    const city = this.#place(rest);
    return this.#documents.filter(({ words }) => words.has(aspect) && words.has(city)).map(({ id }) => id);
  }

  #place(phrase: string): string {
    const capital = /^the capital of the country where (\w+) was born$/.exec(phrase);
    if (capital?.[1]) return this.#look('capital', this.#look('country', this.#look('born', capital[1])));
    const birthplace = /^the birthplace of (\w+)$/.exec(phrase);
    if (birthplace?.[1]) return this.#look('born', birthplace[1]);
    const home = /^the home town of the (mentor|founder) of (\w+)$/.exec(phrase);
    if (home?.[1] && home[2]) return this.#look('born', this.#look(home[1], home[2]));
    throw new Error(`not a place: ${phrase}`);
  }

  #look(kind: string, subject: string): string {
    const object = this.#facts.get(`${kind} ${subject}`);
    if (object === undefined) throw new Error(`never told: ${kind} ${subject}`);
    return object;
  }
}
