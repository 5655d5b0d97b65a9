/** An escaped text never encodes to a special token, with any flags or pipeline. A text without one does not change. */
import fc from 'fast-check';
import { Tokenizer } from 'search-r3/tokenizer';
import { describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { randomTexts } from './folder-texts.js';
import { FOLDERS } from './folders.js';
import { added, BYTE_LEVEL_SIZE, byteLevel, folderOf, LLAMA2_SIZE, llama2, wordLevel } from './pipelines.js';

const load = async (tokenizer: object) => Tokenizer.load(await folderOf({ 'tokenizer.json': tokenizer }));

/** The texts that still encode to special ids after escaping, with those ids. The unknown token does not count. */
async function left(tokenizer: Tokenizer, texts: readonly string[]): Promise<[string, number[]][]> {
  const unknown = ['<unk>', '[UNK]'].map((one) => tokenizer.idOf(one));
  const escaped = texts.map((text) => tokenizer.escapeSpecialTokens(text));
  const ids = await tokenizer.encodeBatch(escaped);
  return texts.flatMap((text, i) => {
    const special = ids[i]!.filter((id) => tokenizer.specialIds.has(id) && !unknown.includes(id));
    return special.length > 0 ? [[text, special] as [string, number[]]] : [];
  });
}

test.each(Object.keys(FOLDERS))('%s: none is left', async (name) => {
  const tokenizer = await Tokenizer.load(await folderOf(FOLDERS[name]!));
  const special = [...tokenizer.specialIds].map((id) => tokenizer.tokenOf(id)!);
  expect(await left(tokenizer, randomTexts(scaled(60, 4000), 2, special))).toEqual([]);
});

describe('tokens that appear after normalization', () => {
  const lower = byteLevel({
    normalizer: { type: 'Lowercase' },
    added_tokens: [added(BYTE_LEVEL_SIZE, '<END>', { normalized: true })],
  });

  test('from other letters', async () => {
    const tokenizer = await load(lower);
    expect(await tokenizer.encode('a<eNd>')).toContain(BYTE_LEVEL_SIZE);
    expect(tokenizer.escapeSpecialTokens('a<eNd>b <end>')).toBe('a< eNd>b < end>');
    expect(await left(tokenizer, ['a<eNd>b', '<END><end>', '<<end>'])).toEqual([]);
  });

  test('a token is removed if the normalizer removes spaces', async () => {
    const normalizer = { type: 'Replace', pattern: { String: ' ' }, content: '' };
    const tokenizer = await load({ ...lower, normalizer });
    expect(await tokenizer.encode('a< E ND>')).toContain(BYTE_LEVEL_SIZE);
    expect(tokenizer.escapeSpecialTokens('a<E ND>b')).toBe('ab');
    expect(await left(tokenizer, ['a< E ND>b', '<<END>END>', ' <END> '])).toEqual([]);
  });

  test('with the space before it, as SentencePiece writes it', async () => {
    const tokenizer = await load(
      llama2({ added_tokens: [added(0, '<unk>'), added(LLAMA2_SIZE, '<x>', { normalized: true })] }),
    );
    expect(await tokenizer.encode('<x>')).toEqual([LLAMA2_SIZE]);
    expect(await left(tokenizer, ['<x>', 'a <x>', ' <x> <x>'])).toEqual([]);
    // The library does not match it inside a word.
    expect(tokenizer.escapeSpecialTokens('a <x>')).toBe('a < x>');
  });

  test('a token that the model itself has', async () => {
    const tokenizer = await load({ ...wordLevel, added_tokens: [added(0, '<unk>'), added(3, 'cat')] });
    expect(await tokenizer.encode('the CAT')).toEqual([2, 3]);
    expect(tokenizer.escapeSpecialTokens('the CAT')).toBe('the C AT');
    expect(await left(tokenizer, ['the CAT cat', 'Cat'])).toEqual([]);
  });
});

test('tokens that overlap, hold each other, or are made of white space', async () => {
  const contents = ['<<', '<<>', '< <', 'aa', 'a a', ' ', '\n', '🙂', '🙂🙂', 'ab', 'ba', '\ufffd'];
  const tokenizer = await load(
    byteLevel({ added_tokens: contents.map((content, i) => added(BYTE_LEVEL_SIZE + i, content)) }),
  );
  const text = fc.array(fc.constantFrom(...'<<> ab\n', '🙂', '\ud83d', '\ude42', '\ufffd'), {
    maxLength: 14,
  });
  const texts = fc.sample(text, { numRuns: scaled(300, 20_000), seed: 3 }).map((parts) => parts.join(''));
  expect(await left(tokenizer, texts)).toEqual([]);
});

test('a text without special tokens does not change; it may contain added tokens that are not special', async () => {
  const tokenizer = await load(
    byteLevel({
      added_tokens: [added(BYTE_LEVEL_SIZE, '<s>'), added(BYTE_LEVEL_SIZE + 1, '<tool>', { special: false })],
    }),
  );
  for (const text of ['', 'a < s>', '<S>', '<tool>', 'é \n'])
    expect(tokenizer.escapeSpecialTokens(text)).toBe(text);
  expect(tokenizer.escapeSpecialTokens('<s><s> x<s>')).toBe('< s>< s> x< s>');
});
