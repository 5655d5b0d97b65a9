import {
  ATLAS_GROUPS,
  type AtlasWorld,
  atlasFacts,
  atlasQueries,
  atlasWords,
  factRecallProbes,
  factSentences,
  generateAtlas,
  type PretrainingItem,
  type PretrainingOptions,
  pretrainingText,
} from 'search-r3/dataset';
import { describe, expect, test } from 'vitest';
import { type ReadFact, readFact, sentences } from './atlas-reader.js';

const world = generateAtlas();

function take(count: number, options: PretrainingOptions = {}, from = world): PretrainingItem[] {
  const stream = pretrainingText(from, options);
  return Array.from({ length: count }, () => stream.next().value);
}

const stream = take(30_000);
const chats = stream.filter((item) => item.kind === 'chat');
const facts = stream.flatMap((item) => (item.part === 'facts' ? sentences(item.text) : []));
const share = (items: readonly PretrainingItem[], of: (item: PretrainingItem) => boolean) =>
  items.filter(of).length / items.length;

/** Within five standard deviations of a binomial share. */
function expectShare(found: number, expected: number, of: number): void {
  expect(Math.abs(found - expected)).toBeLessThan(5 * Math.sqrt((expected * (1 - expected)) / of));
}

/** World and stream: the base model's among them, worlds of other sizes and shares, other mixtures. */
const STREAMS: [string, AtlasWorld, PretrainingOptions, number][] = [
  ...[1, 2, 3].map((seed): [string, AtlasWorld, PretrainingOptions, number] => [
    `the default world, seed ${seed}`,
    world,
    { seed },
    30_000,
  ]),
  [
    'a small world',
    generateAtlas({
      seed: 3,
      countries: 5,
      cities: 17,
      people: 23,
      companies: 7,
      aspects: 3,
      testShare: 1 / 3,
    }),
    {},
    4000,
  ],
  [
    'a world of which most is held out',
    generateAtlas({
      seed: 11,
      countries: 2,
      cities: 40,
      people: 150,
      companies: 60,
      testShare: 0.5,
      devShare: 0.2,
    }),
    { seed: 5, mixture: { facts: 0.5, documents: 0.05, reasoning: 1 }, reasoning: { wandering: 2 } },
    20_000,
  ],
];

const heldOutOf = ({ people, companies }: AtlasWorld) =>
  new Set((['dev', 'test'] as const).flatMap((group) => [...people[group], ...companies[group]]));

/** One of two facts goes on from the other: a chain of two. */
const follows = (a: ReadFact, b: ReadFact) => a.object === b.subject || b.object === a.subject;

describe.each(STREAMS)('what is held out: %s', (_, from, options, count) => {
  const heldOut = heldOutOf(from);
  const items = take(count, options, from);
  const saying = (texts: readonly string[]) => {
    const words = new Set(texts.flatMap((text) => text.split(' ')));
    return (names: Iterable<string>) => [...names].filter((name) => words.has(name));
  };

  test('no person or company of it is in any query or reasoning', () => {
    const said = items.flatMap((item) => (item.kind === 'chat' ? [item.user, item.assistant] : []));
    expect(said.length).toBeGreaterThan(1000);
    expect(heldOut.size).toBeGreaterThan(5);
    const found = saying(said);
    expect(found(heldOut)).toEqual([]);
    // And the check can fail: everybody of the training group does occur.
    const trained = [...from.people.train, ...from.companies.train];
    expect(found(trained)).toEqual(trained);
  });

  test('texts tell of it in sentences of one fact each, and documents not at all', () => {
    expect(saying(from.documents.map(({ text }) => text))(heldOut)).toEqual([]);
    const facts = new Set(atlasFacts(from).map((fact) => JSON.stringify(fact)));
    const others: string[] = [];
    let sentencesAbout = 0;
    for (const item of items) {
      if (item.kind === 'chat') continue;
      for (const sentence of sentences(item.text)) {
        const words = sentence.split(' ');
        if (!words.some((word) => heldOut.has(word))) continue;
        sentencesAbout++;
        // All of its words are those of one fact: nothing else is said with it.
        if (item.part !== 'facts' || !facts.has(JSON.stringify(readFact(sentence)))) others.push(sentence);
      }
    }
    expect(others).toEqual([]);
    expect(sentencesAbout).toBeGreaterThan(1000);
  });

  test('no text tells a fact and one that goes on from it', () => {
    const all = atlasFacts(from);
    let chains = 0;
    for (const [i, a] of all.entries()) for (const b of all.slice(0, i)) if (follows(a, b)) chains++;
    // Born and then the country, a mentor or founder and then a birthplace or mentor.
    expect(chains).toBeGreaterThan(heldOut.size);
    const chained = items.flatMap((item) => {
      if (item.part !== 'facts') return [];
      const told = new Map(
        sentences(item.text).map((said) => [JSON.stringify(readFact(said)), readFact(said)!]),
      );
      const [a, b] = [...told.values()];
      return told.size === 2 && !follows(a!, b!) ? [] : [item.text];
    });
    expect(chained).toEqual([]);
  });
});

test('facts about those held out are told as often as all others', () => {
  const counts = new Map<string, number>();
  for (const sentence of facts) {
    const key = JSON.stringify(readFact(sentence)) ?? sentence;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const told = atlasFacts(world).map((fact) => counts.get(JSON.stringify(fact)) ?? 0);
  expect(counts.size).toBe(1690);
  // Two tellings a time: 30,000 x 0.62 items of two facts go through all facts 22 times, give or take a half.
  const rounds = Math.floor(facts.length / 2 / 1690);
  expect(rounds).toBeGreaterThan(20);
  expect([Math.min(...told), Math.max(...told)]).toEqual([2 * rounds, 2 * (rounds + 1)]);
});

describe('mixture', () => {
  test('of texts and reasoning', () => {
    expectShare(
      share(stream, (item) => item.part === 'facts'),
      0.62,
      stream.length,
    );
    expectShare(
      share(stream, (item) => item.part === 'documents'),
      0.13,
      stream.length,
    );
    expectShare(
      share(stream, (item) => item.kind === 'chat'),
      0.25,
      stream.length,
    );
  });

  test('of right and wrong reasoning, by what it says', () => {
    const gold = new Map(atlasQueries(world, 'train').map((query) => [query.text, query]));
    const facts = new Set(atlasFacts(world).map((fact) => JSON.stringify(fact)));
    const seen = { right: 0, restating: 0, wandering: 0, broken: 0 };
    for (const { user, assistant, part } of chats) {
      const query = gold.get(user);
      if (query === undefined) throw new Error(`not a training query: ${user}`);
      const said = sentences(assistant);
      const last = said.at(-1) ?? '';
      const told = said.slice(0, -1).map(readFact);
      const [, aspect, city] = /^look for (\w+)(?: in (\w+))?$/.exec(last) ?? [];
      expect(aspect).toBe(query.aspect);
      if (city === query.city) {
        seen.right++;
        expect([part, told]).toEqual(['right', query.facts]);
      } else if (city !== undefined) {
        seen.wandering++;
        expect([part, told.length, world.cities.includes(city)]).toEqual(['wandering', 1, true]);
        expect(facts.has(JSON.stringify(told[0]))).toBe(true);
      } else if (said[0] === `this asks about ${query.aspect}`) {
        seen.restating++;
        expect([part, said.length]).toEqual(['restating', 2]);
      } else {
        seen.broken++;
        expect([part, told]).toEqual(['broken', query.facts.slice(0, told.length)]);
        expect(told.length).toBeGreaterThan(0);
      }
    }
    expectShare(seen.right / chats.length, 0.35, chats.length);
    expectShare(seen.restating / chats.length, 0.25, chats.length);
    expectShare(seen.wandering / chats.length, 0.2, chats.length);
    expectShare(seen.broken / chats.length, 0.2, chats.length);
  });

  test('of kinds of query: equal shares', () => {
    const kinds = new Map(atlasQueries(world, 'train').map(({ text, kind }) => [text, kind]));
    for (const kind of ['born', 'capital', 'mentor', 'founder'] as const) {
      expectShare(
        chats.filter(({ user }) => kinds.get(user) === kind).length / chats.length,
        0.25,
        chats.length,
      );
    }
  });

  test('as the options say; what is not given keeps its default weight', () => {
    const items = take(20_000, {
      mixture: { facts: 0, reasoning: 0.39 },
      reasoning: { right: 0, broken: 0.55 },
    });
    expectShare(
      share(items, (item) => item.part === 'documents'),
      0.13 / 0.52,
      items.length,
    );
    const reasoned = items.filter((item) => item.kind === 'chat');
    expect(reasoned).toHaveLength(items.length - items.filter((item) => item.part === 'documents').length);
    expect(reasoned.filter(({ part }) => part === 'right')).toEqual([]);
    expectShare(
      share(reasoned, (item) => item.part === 'restating'),
      0.25,
      reasoned.length,
    );
    expectShare(
      share(reasoned, (item) => item.part === 'wandering'),
      0.2,
      reasoned.length,
    );
    expectShare(
      share(reasoned, (item) => item.part === 'broken'),
      0.55,
      reasoned.length,
    );
  });

  test('impossible ones are refused', () => {
    expect(() => pretrainingText(world, { mixture: { facts: -1 } })).toThrow(
      /mixture\.facts: .*from 0, found -1/,
    );
    expect(() => pretrainingText(world, { mixture: { facts: 0, documents: 0, reasoning: 0 } })).toThrow(
      /mixture: expected at least one weight above 0/,
    );
    expect(() =>
      pretrainingText(world, { reasoning: { right: 0, restating: 0, wandering: 0, broken: 0 } }),
    ).toThrow(/reasoning: expected at least one weight above 0/);
    const misspelt = { reasoning: { wright: 1 } } as PretrainingOptions;
    expect(() => pretrainingText(world, misspelt)).toThrow(/reasoning\.wright: .*Did you mean "right"\?$/);
  });
});

test('the same seed gives the same stream, another one another', () => {
  expect(take(500, { seed: 1 })).toEqual(stream.slice(0, 500));
  expect(take(500, { seed: 2 })).not.toEqual(stream.slice(0, 500));
});

test('each item of facts tells two facts, each twice in different words, in any order', () => {
  const texts = stream.flatMap((item) => (item.part === 'facts' ? [item.text] : []));
  expect(texts.length).toBeGreaterThan(18_000);
  const others: string[] = [];
  const orders = { AABB: 0, ABAB: 0, ABBA: 0 };
  for (const text of texts) {
    const said = sentences(text);
    const told = said.map((sentence) => JSON.stringify(readFact(sentence)));
    // Two different facts, of which no sentence is said twice.
    if (new Set(told).size !== 2 || said.length !== 4 || new Set(said).size !== 4) others.push(text);
    // A fact told once or three times is none of the three.
    const order = told.map((fact) => (fact === told[0] ? 'A' : 'B')).join('');
    if (order in orders) orders[order as keyof typeof orders]++;
    else others.push(text);
  }
  expect(others).toEqual([]);
  for (const count of Object.values(orders)) expectShare(count / texts.length, 1 / 3, texts.length);
});

test('every document is read, as often as any other', () => {
  const counts = new Map<string, number>();
  for (const item of stream) {
    if (item.part === 'documents') counts.set(item.text, (counts.get(item.text) ?? 0) + 1);
  }
  expect(new Set(counts.keys())).toEqual(new Set(world.documents.map(({ text }) => text)));
  expect(Math.max(...counts.values()) - Math.min(...counts.values())).toBeLessThanOrEqual(1);
});

test('words: the stream says exactly the words listed, which are names, sights and these ordinary ones', () => {
  const said = new Set(
    stream.flatMap((item) =>
      (item.kind === 'text' ? item.text : `${item.user} ${item.assistant}`).split(' '),
    ),
  );
  expect([...said].sort()).toEqual(atlasWords(world));

  const names = new Set([
    ...world.countries,
    ...world.cities,
    ...ATLAS_GROUPS.flatMap((group) => [...world.people[group], ...world.companies[group]]),
  ]);
  // Were a name equal to an ordinary word, that word would be missing here.
  const sight = /.(fest|dance|stew|bread|siege|dynasty|tram|bridge|silk|ore)$/;
  const ordinary = [...said].filter((word) => !names.has(word) && !sight.test(word));
  expect(ordinary.sort().join(' ')).toBe(
    ', . : ? a about and asks been birthplace born by capital cities come country festivals first food for founded ' +
      'founder from governed guests has hears history home in is its learned lies locals long look mentor of one owes ' +
      'prefer proud soon start student the then this to town trade transport was where whoever',
  );
});

test('recall probes: one per fact, in a wording the facts are told in, by group', () => {
  const probes = factRecallProbes(world);
  expect(probes.map(({ fact }) => fact)).toEqual(atlasFacts(world));
  for (const { fact, prompt, answer } of probes) {
    expect(factSentences(fact)).toContain(`${prompt} ${answer} .`);
    expect(readFact(`${prompt} ${answer}`)).toEqual(fact);
  }
  const person = world.people.test[0] ?? '';
  expect(probes.find(({ fact }) => fact.kind === 'born' && fact.subject === person)).toMatchObject({
    group: 'test',
    prompt: `the birthplace of ${person} is`,
    answer: world.facts.born.get(person),
  });
  const groups = [...ATLAS_GROUPS, 'places'] as const;
  const counts = groups.map((group) => probes.filter((probe) => probe.group === group).length);
  // per person two facts, per company one; 120 cities and 30 countries
  expect(counts).toEqual([2 * 574 + 115, 2 * 21 + 4, 2 * 105 + 21, 150]);
});
