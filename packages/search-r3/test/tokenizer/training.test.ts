import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { type Tokenizer, trainByteLevelBpe, trainWordLevel } from 'search-r3/tokenizer';
import { describe, expect, test } from 'vitest';

/** The tokenizer.json that a tokenizer writes. */
async function saved(tokenizer: Tokenizer): Promise<{
  model: { vocab: Record<string, number>; merges: string[] };
  added_tokens: { id: number; content: string; special: boolean }[];
}> {
  const folder = await mkdtemp(join(tmpdir(), 'tokenizer-'));
  await tokenizer.save(folder);
  return JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8'));
}

const merges = async (texts: string[], count: number) =>
  (await saved(await trainByteLevelBpe(texts, { vocabSize: 259 + count }))).model.merges;

/** Varied text with accents (some decomposed), CJK, digits, contractions and runs of spaces. */
const TEXTS = [
  "She sells sea-shells by the sea shore; the shells she sells are sea-shells, I'm sure.\n",
  'Naïve café: 12 cafés, 345 naïveté!  Über 日本語 日本\n',
  "the cat's hat, THE CAT'S HAT\n",
];

describe('byte-level BPE', () => {
  test('the worked example of Sennrich et al. 2016 (algorithm 1, end-of-word symbols aside)', async () => {
    const words = { low: 5, lower: 2, newest: 6, widest: 3 };
    const texts = Object.entries(words).flatMap(([word, count]) => Array<string>(count).fill(word));
    // es 9, est 9, lo 7, low 7; ties by lower ids: (e, s) before (s, t), (l, o) before (o, w).
    expect(await merges(texts, 4)).toEqual(['e s', 'es t', 'l o', 'lo w']);
  });

  test('learns what the reference implementation learns', async () => {
    // The first 30 of 71 merges of Hugging Face tokenizers 0.23.2, trained on the same lines with the same splitting.
    const reference =
      'Ġ s,h e,l l,Ġs e,ll s,c a,r e,t he,Ã ©,Ġ ca,he lls,Ġse a,- s,A T,a Ã,f Ã©,v e,¥ æ,¯ ve,æ Ĺ,Ġ the,Ġ æĹ,' +
      "ľ ¬,Ġse lls,Ġca fÃ©,-s hells,aÃ ¯ve,¥æ ľ¬,ĠæĹ ¥æľ¬,' S";
    const learned = await merges(TEXTS, 1000);
    expect(learned.slice(0, 30)).toEqual(reference.split(','));
    expect(learned).toHaveLength(71); // then no pair is left
  });

  test('incremental counts give what counting anew in every round gives', async () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 9 });
    const property = fc.asyncProperty(fc.array(word, { minLength: 1, maxLength: 12 }), async (words) => {
      expect(await merges(words, 25)).toEqual(naiveMerges(words, 25));
    });
    await fc.assert(property, { numRuns: 60 });
  });

  test('ids: 256 bytes, merged tokens in order, special tokens', async () => {
    const options = { vocabSize: 300, specialTokens: ['<|a|>', '<|bb|>'], eosToken: '<|bb|>' };
    const tokenizer = await trainByteLevelBpe(TEXTS, options);
    const { model, added_tokens } = await saved(tokenizer);
    expect(tokenizer.vocabSize).toBe(300);
    expect(Object.keys(model.vocab)).toHaveLength(298);
    // GPT-2 writes byte 0 as U+0100 and a space as U+0120.
    expect([model.vocab['!'], model.vocab.ÿ, model.vocab['\u0100'], model.vocab['\u0120']]).toEqual([
      0, 187, 188, 220,
    ]);
    expect(model.merges.map((merge) => model.vocab[merge.replace(' ', '')])).toEqual(
      Array.from({ length: 42 }, (_, i) => 256 + i),
    );
    expect(added_tokens.map(({ id, content, special }) => [id, content, special])).toEqual([
      [298, '<|a|>', true],
      [299, '<|bb|>', true],
    ]);
    expect([tokenizer.eosId, tokenizer.padId, tokenizer.bosId]).toEqual([299, undefined, undefined]);
  });

  test('special tokens in the texts are not learned', async () => {
    const plain = await merges(['ab ab', 'cd'], 9);
    expect(await merges(['ab ab<|im_end|>', '<|im_start|>cd<|im_end|>'], 9)).toEqual(plain);
  });

  test('any text comes back from its ids, up to NFC', async () => {
    const tokenizer = await trainByteLevelBpe(TEXTS, { vocabSize: 320 });
    const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }));
    await fc.assert(
      fc.asyncProperty(text, async (value) => {
        expect(tokenizer.decode(await tokenizer.encode(value))).toBe(value.normalize('NFC'));
      }),
    );
  });
});

/** Byte-pair encoding by definition: count all pairs, merge the most frequent one everywhere, repeat. */
function naiveMerges(texts: string[], limit: number): string[] {
  const rank = new Map<string, number>(['a', 'b', 'c'].map((letter, i) => [letter, i]));
  let words = texts.map((text) => [...text]);
  const learned: string[] = [];
  let made = 0;
  while (made < limit) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 1; i < word.length; i++) {
        const pair = `${word[i - 1]} ${word[i]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const ranks = (pair: string) => pair.split(' ').map((token) => rank.get(token) ?? -1) as [number, number];
    const best = [...counts].sort(([p, m], [q, n]) => {
      const [a, b] = [ranks(p), ranks(q)];
      return n - m || a[0] - b[0] || a[1] - b[1];
    })[0]?.[0];
    if (best === undefined) break;
    const [left, right] = best.split(' ') as [string, string];
    if (!learned.includes(best)) learned.push(best);
    if (!rank.has(left + right)) {
      rank.set(left + right, rank.size);
      made++;
    }
    words = words.map((word) => {
      const merged: string[] = [];
      for (let i = 0; i < word.length; i++) {
        const hit = word[i] === left && word[i + 1] === right;
        merged.push(hit ? left + right : (word[i] as string));
        if (hit) i++;
      }
      return merged;
    });
  }
  return learned;
}

test('byte-level BPE in lower case: capitals make no difference, and special tokens stay', async () => {
  const tokenizer = await trainByteLevelBpe(['Iron feeds the BLOOD', 'iron'], {
    vocabSize: 300,
    lowercase: true,
  });
  expect(await tokenizer.encode('IRON Feeds the blood')).toEqual(
    await tokenizer.encode('iron feeds the blood'),
  );
  expect(tokenizer.decode(await tokenizer.encode('Iron<|im_end|>'))).toBe('iron<|im_end|>');
  const cased = await trainByteLevelBpe(['Iron feeds the BLOOD', 'iron'], { vocabSize: 300 });
  expect(await cased.encode('IRON')).not.toEqual(await cased.encode('iron'));
});

describe('word level', () => {
  test('the most frequent words, ties in code unit order, after what the chat template writes', async () => {
    const texts = ['b b, a!', 'c a b', 'd'];
    const { model } = await saved(trainWordLevel(texts, { vocabSize: 12 }));
    // Counts: b 3, a 2, and 1 each for "!", ",", "c" and "d". 12 ids minus 3 special ones leave room for 9 words.
    const words = Object.entries(model.vocab).sort(([, i], [, j]) => i - j);
    expect(words.map(([token]) => token)).toEqual('<unk> system user assistant b a ! , c'.split(' '));
  });

  test('orders words like the reference implementation', async () => {
    // The vocabulary that Hugging Face tokenizers 0.23.2 learns from the same lines (lower case, BertPreTokenizer).
    const reference =
      "the ' , sea shells - cat hat s sells she ! . 12 345 : ; are by café cafés i m naïve naïveté shore sure über 日本 日本語";
    const tokenizer = trainWordLevel(TEXTS, { vocabSize: 99, lowercase: true, chatTemplate: 'x' });
    const { model } = await saved(tokenizer);
    const words = Object.keys(model.vocab).filter((word) => word !== '<unk>' && word !== 'x');
    const byId = words.sort((a, b) => (model.vocab[a] ?? 0) - (model.vocab[b] ?? 0));
    expect(byId).toEqual(reference.split(' '));
  });

  test('unknown words become <unk>, known ones come back with single spaces', async () => {
    const tokenizer = trainWordLevel(['the food of Bavelo , the sea'], { vocabSize: 40 });
    const ids = await tokenizer.encode('  the sea of   milk, Bavelo');
    expect(tokenizer.decode(ids)).toBe('the sea of <unk> , Bavelo');
    expect(ids[3]).toBe(tokenizer.unkId);
    expect(tokenizer.unkId).toBe(0);
  });

  test('what was decoded encodes to the same ids', async () => {
    const tokenizer = trainWordLevel(TEXTS, { vocabSize: 60 });
    const id = fc.integer({ min: 0, max: tokenizer.vocabSize - 1 });
    await fc.assert(
      fc.asyncProperty(fc.array(id, { minLength: 1 }), async (ids) => {
        expect(await tokenizer.encode(tokenizer.decode(ids))).toEqual(ids);
      }),
    );
  });

  test('names that JavaScript objects have already are words like others', async () => {
    const tokenizer = trainWordLevel(['constructor hasOwnProperty toString'], { vocabSize: 20 });
    expect(tokenizer.decode(await tokenizer.encode('toString constructor'))).toBe('toString constructor');
    expect(await tokenizer.encode('valueOf')).toEqual([tokenizer.unkId]);
  });
});

test.each([
  [
    'BPE without room for the bytes',
    () => trainByteLevelBpe([], { vocabSize: 258 }),
    /vocabSize: expected at least 259/,
  ],
  [
    'words without room for the roles',
    () => trainWordLevel([], { vocabSize: 6 }),
    /vocabSize: expected at least 7/,
  ],
  [
    'an eos token that is not special',
    () => trainWordLevel(['a'], { vocabSize: 20, eosToken: '</s>' }),
    /eosToken: expected one of the special tokens <\|endoftext\|>.*found "<\/s>"/,
  ],
  [
    'an unknown option',
    () => trainByteLevelBpe([], { vocabSize: 300, vocabsize: 1 } as never),
    /Did you mean "vocabSize"/,
  ],
  [
    'a template that is none',
    () => trainWordLevel(['a'], { vocabSize: 20, chatTemplate: '{% for %}' }),
    /chatTemplate: line 1: expected a Jinja template/,
  ],
  [
    'a special token given twice',
    () => trainWordLevel(['a'], { vocabSize: 20, specialTokens: ['<s>', '<s>'] }),
    /expected one id for "<s>"/,
  ],
])('refuses %s', async (_, train, message) => {
  const refused = (async () => train())();
  await expect(refused).rejects.toThrow(
    expect.objectContaining({ name: 'InputError', message: expect.stringMatching(message) }),
  );
});
