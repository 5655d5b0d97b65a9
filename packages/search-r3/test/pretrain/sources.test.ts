/** What base models read: how a collection is shared out (its text is in `collection.test.ts`), and the built-in world. */
import { resolvePrompts } from 'search-r3/checkpoint';
import { atlasFacts, documentText, generateAtlas } from 'search-r3/dataset';
import type { Completion, Generator } from 'search-r3/generate';
import {
  atlasSequences,
  atlasTokenizer,
  COLLECTION_PROMPTS,
  collectionSequences,
  collectionTokenizer,
  factRecall,
} from 'search-r3/pretrain';
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
const tokenizer = await collectionTokenizer(CORPUS, prompts, 400);
const OPTIONS = { batchSize: 3, maxLength: 200, chatShare: 0.5, seed: 1 };
const sequences = (changes: Partial<typeof OPTIONS> = {}) =>
  collectionSequences(CORPUS, tokenizer, prompts, { ...OPTIONS, ...changes });
const boundary = tokenizer.padId!;

describe('collectionSequences', async () => {
  const whole = await Promise.all(
    CORPUS.map(async (document) => [boundary, ...(await tokenizer.encode(documentText(document))), boundary]),
  );

  test('batchSize, and no document twice in an epoch', async () => {
    const source = await sequences({ chatShare: 0 });
    const first = [
      await source(0),
      await source(1),
      await source(2),
      await source(3),
      await source(4),
    ].flat();
    expect((await source(0)).length).toBe(3);
    // Five steps of three are three epochs of five.
    for (const epoch of [0, 5, 10]) {
      const read = first.slice(epoch, epoch + 5).map((ids) => ids.join());
      expect(read.sort()).toEqual(whole.map((ids) => ids.join()).sort());
    }
  });

  test('maxLength: documents are cut into pieces of like length, all of which are read', async () => {
    for (const maxLength of [4, 7, 11, 16]) {
      const source = await sequences({ chatShare: 0, batchSize: 5, maxLength });
      const read = new Set<string>();
      for (let step = 0; step < 60; step++) for (const ids of await source(step)) read.add(ids.join());
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

  test('chatShare: conversations in the form of the reasoning prompt', async () => {
    const opening = tokenizer.renderChat([{ role: 'system', content: prompts.reasoning.system }]);
    const chats = async (chatShare: number) => {
      const source = await sequences({ chatShare, batchSize: 5 });
      const steps = Array.from({ length: 40 }, (_, step) => source(step));
      const texts = (await Promise.all(steps)).flat().map((ids) => tokenizer.decode(ids));
      return texts.filter((text) => text.startsWith(opening)).length / texts.length;
    };
    expect(await chats(0)).toBe(0);
    // "Silence" has nothing to say.
    expect(await chats(1)).toBeCloseTo(0.8, 12);
    // 200 draws of 0.4: three standard deviations are 0.1.
    expect(Math.abs((await chats(0.5)) - 0.4)).toBeLessThan(0.1);
  });
});

describe('the built-in world', () => {
  const world = generateAtlas({ countries: 3, cities: 6, people: 20, companies: 6 });
  const words = atlasTokenizer(world);

  test('its stream can be read from any step, and starts over where it must', async () => {
    const source = atlasSequences(world, words, 4, { seed: 3 });
    const steps = await Promise.all(Array.from({ length: 5 }, (_, step) => source(step)));
    expect(steps.map((batch) => batch.length)).toEqual([4, 4, 4, 4, 4]);
    expect(await source(2)).toEqual(steps[2]);
    const resumed = atlasSequences(world, words, 4, { seed: 3 });
    expect(await resumed(3)).toEqual(steps[3]);
    expect(await resumed(4)).toEqual(steps[4]);
    // The same stream in larger batches, another stream by another seed.
    expect(await atlasSequences(world, words, 8, { seed: 3 })(1)).toEqual([...steps[2]!, ...steps[3]!]);
    expect(await atlasSequences(world, words, 4, { seed: 4 })(0)).not.toEqual(steps[0]);
  });

  test('its tokenizer knows every word of it', async () => {
    const source = atlasSequences(world, words, 50, { seed: 1 });
    for (const step of [0, 1, 2])
      for (const ids of await source(step)) expect(ids).not.toContain(words.unkId);
  });

  test('who is held out is read in texts alone, never in a conversation', async () => {
    const source = atlasSequences(world, words, 50, { seed: 2 });
    const read = (await Promise.all(Array.from({ length: 40 }, (_, step) => source(step)))).flat();
    const names = (['dev', 'test'] as const).flatMap((group) => [
      ...world.people[group],
      ...world.companies[group],
    ]);
    const ids = new Set(names.map((name) => words.idOf(name)!));
    expect([ids.size, ids.has(words.unkId!)]).toEqual([names.length, false]);
    const about = read.filter((sequence) => sequence.some((id) => ids.has(id)));
    expect(about.length).toBeGreaterThan(200);
    // A conversation opens a turn; a text is parted from the next by the end token alone.
    const turns = ['<|system|>', '<|user|>', '<|assistant|>'].map((token) => words.idOf(token)!);
    const chats = read.filter((sequence) => turns.every((turn) => sequence.includes(turn)));
    expect(chats.length).toBeGreaterThan(200);
    for (const sequence of about) expect(sequence.filter((id) => turns.includes(id))).toEqual([]);
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
