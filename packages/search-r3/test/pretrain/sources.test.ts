/** What base models read: the text of a collection and the stream of the built-in world. */
import { resolvePrompts } from 'search-r3/checkpoint';
import { atlasFacts, documentText, generateAtlas } from 'search-r3/dataset';
import type { Completion, Generator } from 'search-r3/generate';
import {
  atlasSequences,
  atlasTokenizer,
  COLLECTION_PROMPTS,
  collectionSequences,
  collectionTokenizer,
  conversation,
  factRecall,
  keyTerms,
} from 'search-r3/pretrain';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';

const CORPUS = [
  {
    id: 'd1',
    title: 'Rivers',
    text: 'The Aare is a river. It flows through Bern. Bern lies in a loop of the Aare.',
  },
  { id: 'd2', title: 'Bridges', text: 'The Nydegg bridge in Bern crosses the river Aare. It is old.' },
  { id: 'd3', title: '', text: 'Cork has a harbour. Ships leave the harbour for the islands.' },
  { id: 'd4', title: 'Potatoes', text: 'Boil them.' },
  { id: 'd5', title: '', text: 'Silence' },
];
const prompts = resolvePrompts(COLLECTION_PROMPTS);
const tokenizer = collectionTokenizer(CORPUS, prompts, 400);
const OPTIONS = { batchSize: 3, maxLength: 200, chatShare: 0.5, seed: 1 };
const sequences = (changes: Partial<typeof OPTIONS> = {}) =>
  collectionSequences(CORPUS, tokenizer, prompts, { ...OPTIONS, ...changes });
const boundary = tokenizer.padId!;

describe('collectionSequences', () => {
  const whole = CORPUS.map((document) => [boundary, ...tokenizer.encode(documentText(document)), boundary]);

  test('batchSize, and no document twice in an epoch', () => {
    const source = sequences({ chatShare: 0 });
    const first = [source(0), source(1), source(2), source(3), source(4)].flat();
    expect(source(0).length).toBe(3);
    // Five steps of three are three epochs of five.
    for (const epoch of [0, 5, 10]) {
      const read = first.slice(epoch, epoch + 5).map((ids) => ids.join());
      expect(read.sort()).toEqual(whole.map((ids) => ids.join()).sort());
    }
    expect(() => sequences({ batchSize: 6 })).toThrow(/batchSize: expected at most the 5/);
  });

  test('maxLength: documents are cut into pieces of like length, all of which are read', () => {
    for (const maxLength of [4, 7, 11, 16]) {
      const source = sequences({ chatShare: 0, batchSize: 5, maxLength });
      const read = new Set<string>();
      for (let step = 0; step < 60; step++) for (const ids of source(step)) read.add(ids.join());
      const expected = whole.map((ids) => Math.ceil(ids.length / maxLength));
      // As many as there are pieces; equal pieces of two documents would be one.
      expect(read.size).toBe(expected.reduce((a, b) => a + b));
      for (const piece of read) {
        const { length } = piece.split(',');
        expect(length).toBeLessThanOrEqual(maxLength);
        // A single token predicts nothing.
        expect(length).toBeGreaterThanOrEqual(2);
      }
    }
  });

  test('chatShare: conversations in the form of the reasoning prompt', () => {
    const opening = tokenizer.renderChat([{ role: 'system', content: prompts.reasoning.system }]);
    const chats = (chatShare: number) => {
      const source = sequences({ chatShare, batchSize: 5 });
      const texts = Array.from({ length: 40 }, (_, step) => source(step))
        .flat()
        .map((ids) => tokenizer.decode(ids));
      return texts.filter((text) => text.startsWith(opening)).length / texts.length;
    };
    expect(chats(0)).toBe(0);
    // "Silence" has nothing to say.
    expect(chats(1)).toBeCloseTo(0.8, 12);
    // 200 draws of 0.4: three standard deviations are 0.1.
    expect(Math.abs(chats(0.5) - 0.4)).toBeLessThan(0.1);
  });

  test('seed decides, and any step can be read at once', () => {
    const straight = sequences();
    const steps = Array.from({ length: 6 }, (_, step) => straight(step));
    expect(sequences()(4)).toEqual(steps[4]);
    expect(straight(1)).toEqual(steps[1]);
    expect(sequences({ seed: 2 })(4)).not.toEqual(steps[4]);
  });
});

describe('keyTerms', () => {
  test('are the words that tell a document from others, most telling first', () => {
    const terms = keyTerms(CORPUS);
    // d2 by tf ln(5 / df), without "bridges": four words are its own, 1 x ln 5; "the" is there twice and in three of five
    // documents, 2 x ln(5 / 3); the river, Aare and Bern once and in two, 1 x ln(5 / 2).
    const found = terms(CORPUS[1]!, 'Bridges');
    expect(found.slice(0, 4).sort()).toEqual(['bridge', 'crosses', 'nydegg', 'old']);
    expect(found[4]).toBe('the');
    expect(found.slice(5).sort()).toEqual(['aare', 'bern', 'river']);
    expect(found.length).toBe(8);
    expect(found).not.toContain('bridges');
  });

  test('a word of every document weighs nothing', () => {
    const corpus = ['one bird', 'one stone', 'one tree'].map((text, i) => ({ id: `${i}`, title: '', text }));
    expect(keyTerms(corpus)(corpus[0]!, '')).toEqual(['bird']);
  });
});

describe('conversation', () => {
  const terms = keyTerms(CORPUS);
  const draw = (i: number) =>
    Array.from({ length: 60 }, (_, seed) => conversation(CORPUS[i]!, terms, randomStream(seed, 'talk')));

  test('goes from the title or a sentence to key terms or another sentence', () => {
    const sentences = ['The Nydegg bridge in Bern crosses the river Aare.', 'It is old.'];
    const seen = new Set<string>();
    for (const talk of draw(1)) {
      const { user, assistant } = talk!;
      expect(['Bridges', ...sentences]).toContain(user);
      const listed = terms(CORPUS[1]!, user).join(', ');
      expect([listed, ...sentences]).toContain(assistant);
      expect(assistant).not.toBe(user);
      seen.add(`${user === 'Bridges' ? 'title' : 'sentence'} ${assistant === listed ? 'terms' : 'sentence'}`);
    }
    expect([...seen].sort()).toEqual([
      'sentence sentence',
      'sentence terms',
      'title sentence',
      'title terms',
    ]);
  });

  test('there is none where there is nothing to answer', () => {
    expect(draw(4)).toEqual(draw(4).map(() => undefined));
  });
});

describe('the built-in world', () => {
  const world = generateAtlas({ countries: 3, cities: 6, people: 20, companies: 6 });
  const words = atlasTokenizer(world);

  test('its stream can be read from any step, and starts over where it must', () => {
    const source = atlasSequences(world, words, 4, { seed: 3 });
    const steps = Array.from({ length: 5 }, (_, step) => source(step));
    expect(steps.map((batch) => batch.length)).toEqual([4, 4, 4, 4, 4]);
    expect(source(2)).toEqual(steps[2]);
    const resumed = atlasSequences(world, words, 4, { seed: 3 });
    expect(resumed(3)).toEqual(steps[3]);
    expect(resumed(4)).toEqual(steps[4]);
    // The same stream in larger batches, another stream by another seed.
    expect(atlasSequences(world, words, 8, { seed: 3 })(1)).toEqual([...steps[2]!, ...steps[3]!]);
    expect(atlasSequences(world, words, 4, { seed: 4 })(0)).not.toEqual(steps[0]);
  });

  test('its tokenizer knows every word of it', () => {
    const source = atlasSequences(world, words, 50, { seed: 1 });
    for (const step of [0, 1, 2]) for (const ids of source(step)) expect(ids).not.toContain(words.unkId);
  });

  test('fact recall is the share of facts whose object is named, by group', async () => {
    const facts = atlasFacts(world);
    // A model that knows every third fact.
    const generate = async (asked: readonly (readonly number[])[]): Promise<Completion[][]> =>
      asked.map((_, i) => [
        {
          tokens: [i % 3 === 0 ? words.idOf(facts[i]!.object)! : words.unkId!],
          logProbabilities: [0],
          finish: 'length',
        },
      ]);
    const found = await factRecall(world, words, { generate } as unknown as Generator);
    expect(Object.keys(found).sort()).toEqual(['dev', 'places', 'test', 'train']);
    const group = (name: string) =>
      (['train', 'dev', 'test'] as const).find(
        (key) => world.people[key].includes(name) || world.companies[key].includes(name),
      ) ?? 'places';
    for (const [name, share] of Object.entries(found)) {
      const own = facts
        .map(({ subject }, i) => ({ subject, i }))
        .filter(({ subject }) => group(subject) === name);
      expect(share).toBeCloseTo(own.filter(({ i }) => i % 3 === 0).length / own.length, 12);
    }
  });
});
