/** The cache gives what the functions give, asks the tokenizer once, and forgets what was used longest ago. */
import { directPrompt, PromptCache, reasoningPrompt, resolvePrompts } from 'search-r3/checkpoint';
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

test('every prompt is its own: by kind, role, limits and text', () => {
  const cache = new PromptCache(tokenizer, prompts);
  const cut = { maxTokens: 16 };
  // Twice: the second round comes from the cache.
  for (let round = 0; round < 2; round++) {
    for (const text of [TEXT, 'a lazy fox', '']) {
      for (const options of [{}, cut]) {
        for (const role of ['query', 'document'] as const) {
          expect(cache.direct(text, role, options)).toEqual(
            directPrompt(tokenizer, prompts, text, role, options),
          );
        }
        expect(cache.reasoning(text, options)).toEqual(reasoningPrompt(tokenizer, prompts, text, options));
      }
    }
  }
  expect(cache.direct(TEXT, 'query', cut).truncated).toBe(true);
  expect(() => cache.direct(TEXT, 'query', { ...cut, strict: true })).toThrow(/at most 16 tokens/);
  expect(cache.direct(TEXT, 'query', cut).truncated).toBe(true);
});

test('a text is tokenized once, and the ids are the same ones', () => {
  const cache = new PromptCache(tokenizer, prompts);
  const cut = { maxTokens: 16 };
  const first = cache.direct(TEXT, 'document', cut);
  const encode = vi.spyOn(tokenizer, 'encode');
  expect(cache.direct(TEXT, 'document', cut)).toBe(first);
  expect(encode).not.toHaveBeenCalled();
  cache.direct(TEXT, 'query', cut);
  expect(encode).toHaveBeenCalled();
});

test('within the capacity nothing is forgotten, beyond it what was used longest ago', () => {
  const texts = ['the', 'quick', 'brown'] as const;
  const size = directPrompt(tokenizer, prompts, 'the', 'query').ids.length;
  const cache = new PromptCache(tokenizer, prompts, { capacity: 2 * size });
  const encode = vi.spyOn(tokenizer, 'encode');
  const made = (text: string) => {
    encode.mockClear();
    cache.direct(text, 'query');
    return encode.mock.calls.length > 0;
  };
  expect([made(texts[0]), made(texts[1])]).toEqual([true, true]);
  expect([made(texts[0]), made(texts[1])]).toEqual([false, false]);
  expect(made(texts[0])).toBe(false);
  // `quick` was used before `the`: it makes room.
  expect(made(texts[2])).toBe(true);
  expect([made(texts[0]), made(texts[2]), made(texts[1])]).toEqual([false, false, true]);
});
