/** Streamed text: the pieces add up to `decode` of all ids, for every decoder of the Rust library. */
import { rm } from 'node:fs/promises';
import { randomStream } from 'search-r3/run';
import { Tokenizer } from 'search-r3/tokenizer';
import { afterAll, describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { FOLDERS } from './folders.js';
import { BYTE_LEVEL, byteLevel, folderOf, llama2 } from './pipelines.js';

const made: string[] = [];
afterAll(() => Promise.all(made.map((folder) => rm(folder, { recursive: true }))));

async function load(files: Parameters<typeof folderOf>[0]): Promise<Tokenizer> {
  const folder = await folderOf(files);
  made.push(folder);
  return Tokenizer.load(folder, { asWritten: true });
}

function streamed(tokenizer: Tokenizer, ids: readonly number[]): string[] {
  const stream = tokenizer.stream();
  return [...ids.map((id) => stream.add(id)), stream.end()];
}

/** Random ids, some without a token, with runs of one id, and ids of real text. */
async function sequences(tokenizer: Tokenizer, seed: number): Promise<number[][]> {
  const random = randomStream(seed, 'stream');
  const size = tokenizer.vocabSize + 3;
  const drawn = Array.from({ length: scaled(6, 200) }, () => {
    const ids: number[] = [];
    const length = random.integer(200);
    while (ids.length < length) {
      const id = random.integer(size);
      ids.push(...Array.from({ length: random.integer(5) === 0 ? 1 + random.integer(20) : 1 }, () => id));
    }
    return ids;
  });
  const texts = [
    'one cat, the 😀 and é 漢字\n\n  two!',
    '  12 \u0301 \ufffd\ufffd ing\u00a0on 👩‍👩‍👧 ',
    '<|im_end|> in',
  ];
  const long = texts.join(' ').repeat(12);
  const encoded = await Promise.all(
    [...texts, long].map((text) => tokenizer.encode(text).catch(() => [] as number[])),
  );
  return [...drawn, ...encoded];
}

describe('the pieces add up to the decoded text', () => {
  test.each(Object.keys(FOLDERS))('%s', async (name) => {
    const tokenizer = await load(FOLDERS[name]!);
    for (const ids of await sequences(tokenizer, name.length)) {
      expect(streamed(tokenizer, ids).join('')).toBe(tokenizer.decode(ids));
    }
  });

  const chain = (decoders: object[]) => ({ type: 'Sequence', decoders });
  const strip = (start: number) => ({ type: 'Strip', content: ' ', start, stop: 0 });
  const replace = (pattern: object, content: string) => ({ type: 'Replace', pattern, content });
  const FALLBACK = { type: 'ByteFallback' };
  const FUSE = { type: 'Fuse' };
  const DECODERS: Record<string, object | null> = {
    none: null,
    'byte level, then strip': chain([BYTE_LEVEL, strip(1)]),
    'byte level twice': chain([BYTE_LEVEL, BYTE_LEVEL]),
    'strip each token': chain([strip(2), FUSE]),
    'Llama 2': chain([replace({ String: '▁' }, ' '), FALLBACK, FUSE, strip(1)]),
    'byte fallback alone': FALLBACK,
    'replace makes bytes': chain([replace({ Regex: 'c' }, '<0xE2>'), FALLBACK, FUSE]),
    'replace across tokens': chain([FUSE, replace({ String: 'ab' }, 'x')]),
    'replace a pattern': chain([FUSE, replace({ Regex: ' +' }, ' ')]),
    'word pieces with clean-up': { type: 'WordPiece', prefix: '##', cleanup: true },
    'CTC with clean-up': { type: 'CTC', pad_token: 'a', word_delimiter_token: 'b', cleanup: true },
    'BPE suffix': { type: 'BPEDecoder', suffix: '</w>' },
    metaspace: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
  };
  test.each(Object.entries(DECODERS))('%s', async (name, decoder) => {
    for (const files of [byteLevel({ decoder }), llama2({ decoder })]) {
      const tokenizer = await load({ 'tokenizer.json': files, 'tokenizer_config.json': {} });
      for (const ids of await sequences(tokenizer, name.length)) {
        expect(streamed(tokenizer, ids).join('')).toBe(tokenizer.decode(ids));
      }
    }
  });
});

test('text is emitted as soon as it is final, a character of several tokens once it is complete', async () => {
  const tokenizer = await load({ 'tokenizer.json': byteLevel(), 'tokenizer_config.json': {} });
  const ids = await tokenizer.encode('é😀!');
  // No merges: one token for each byte, two for é and four for the face.
  expect(streamed(tokenizer, ids)).toEqual(['', 'é', '', '', '', '😀', '!', '']);
});

test('clean_up_tokenization_spaces changes nothing: transformers ignores it for generated text', async () => {
  const config = { clean_up_tokenization_spaces: true };
  const tokenizer = await load({ 'tokenizer.json': byteLevel(), 'tokenizer_config.json': config });
  const text = "the word 'social' is , do n't ? and I 'm";
  const ids = await tokenizer.encode(text);
  expect(tokenizer.decode(ids)).toBe(text);
  expect(streamed(tokenizer, ids).join('')).toBe(text);
});
