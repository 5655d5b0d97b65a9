/** The cache gives what the functions give, asks the tokenizer once, and forgets what was used longest ago. */
import {
  directPrompt,
  directPrompts,
  PromptCache,
  reasoningPrompts,
  resolvePrompts,
} from 'search-r3/checkpoint';
import { trainWordLevel } from 'search-r3/tokenizer';
import { afterEach, expect, test, vi } from 'vitest';

const tokenizer = trainWordLevel(['the quick brown fox jumps over a lazy dog', 'S1 S2 S3 A'], {
  vocabSize: 60,
});
tokenizer.addToken('<|embed_token|>');
const prompts = resolvePrompts({
  query: { system: 'S1', assistant: 'A' },
  document: { system: 'S2 S1', assistant: 'A' },
  reasoning: { system: 'S3' },
});
const TEXT = 'the quick brown fox jumps over a lazy dog';

afterEach(() => {
  vi.restoreAllMocks();
});

test('every prompt is its own: by kind, role, limits and text', async () => {
  const cache = new PromptCache(tokenizer, prompts);
  const cut = { maxTokens: 16 };
  // One text twice, and all of them twice: the second round comes from the cache.
  const texts = [TEXT, 'a lazy fox', '', TEXT];
  for (let round = 0; round < 2; round++) {
    for (const options of [{}, cut]) {
      for (const role of ['query', 'document'] as const) {
        expect(await cache.direct(texts, role, options)).toEqual(
          await directPrompts(tokenizer, prompts, texts, role, options),
        );
      }
      expect(await cache.reasoning(texts, options)).toEqual(
        await reasoningPrompts(tokenizer, prompts, texts, options),
      );
    }
  }
  const truncated = async () => (await cache.direct(texts, 'query', cut)).map((prompt) => prompt.truncated);
  expect(await truncated()).toEqual([true, false, false, true]);
  await expect(cache.direct([TEXT], 'query', { ...cut, strict: true })).rejects.toThrow(/at most 16 tokens/);
  expect(await truncated()).toEqual([true, false, false, true]);
});

test('an error names the text by its place among those asked for', async () => {
  const cache = new PromptCache(tokenizer, prompts);
  const strict = { maxTokens: 16, strict: true };
  await cache.direct(['the', 'fox'], 'query', strict);
  const asked = ['the', 'fox', 'fox', TEXT];
  await expect(cache.direct(asked, 'query', strict, (index) => `line ${index + 1}`)).rejects.toThrow(
    /^line 4: prompt: expected at most 16 tokens, found \d+ tokens/,
  );
});

test('a text is tokenized once, and the ids are the same ones', async () => {
  const cache = new PromptCache(tokenizer, prompts);
  const cut = { maxTokens: 16 };
  const [first] = await cache.direct([TEXT], 'document', cut);
  const encode = vi.spyOn(tokenizer, 'encodeBatch');
  const [again] = await cache.direct([TEXT], 'document', cut);
  expect(again).toBe(first);
  const texts = () => encode.mock.calls.flatMap(([asked]) => asked);
  expect(texts()).toEqual([]);
  await cache.direct([TEXT, TEXT], 'query');
  expect(texts()).toHaveLength(1);
});

test('within the capacity nothing is forgotten, beyond it what was used longest ago', async () => {
  const texts = ['the', 'quick', 'brown'] as const;
  const size = (await directPrompt(tokenizer, prompts, 'the', 'query')).ids.length;
  const cache = new PromptCache(tokenizer, prompts, { capacity: 2 * size });
  const encode = vi.spyOn(tokenizer, 'encodeBatch');
  const made = async (...asked: number[]) => {
    const each: boolean[] = [];
    for (const i of asked) {
      encode.mockClear();
      await cache.direct([texts[i] as string], 'query');
      each.push(encode.mock.calls.length > 0);
    }
    return each;
  };
  expect(await made(0, 1)).toEqual([true, true]);
  expect(await made(0, 1, 0)).toEqual([false, false, false]);
  // `quick` was used before `the`: it makes room.
  expect(await made(2)).toEqual([true]);
  expect(await made(0, 2, 1)).toEqual([false, false, true]);
});
