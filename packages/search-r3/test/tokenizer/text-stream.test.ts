/** Streamed text: joined, the pieces equal `decode` of all ids, for every decoder of the Rust library. */
import { rm } from 'node:fs/promises';
import fc from 'fast-check';
import { randomStream } from 'search-r3/run';
import { Tokenizer } from 'search-r3/tokenizer';
import { afterAll, describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { FOLDERS } from './folders.js';
import { added, byteLevel, folderOf } from './pipelines.js';

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

/** Random ids, some of them without a token, some repeated, and ids of real text. */
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
});

const TOKENS = [
  ...[
    'a',
    'b',
    'word',
    '▁',
    '▁the',
    '▁▁',
    '##ing',
    ' ',
    ' .',
    '.',
    ' n',
    "'t",
    'x</w>',
    '</w>',
    '|',
    '<pad>',
    'Ġ',
    'Ċ',
  ],
  // Parts of € and of an emoji, and stray bytes, both as byte tokens and as byte-level characters.
  ...[
    '<0xE2>',
    '<0x82>',
    '<0xAC>',
    '<0xF0>',
    '<0x9F>',
    '<0x98>',
    '<0x80>',
    '<0x41>',
    '<0xFF>',
    '<0xé>',
    '<0x>',
  ],
  ...['â', 'Ĥ', '¬', 'ð', 'Ł', 'ĺ', 'Ģ', 'ÿ', '\ufffd', 'é', 'ï¿½', '€'],
];

const replace = (pattern: object, content: string) => ({ type: 'Replace', pattern, content });
const strip = (content: string, start: number) => ({ type: 'Strip', content, start, stop: 0 });
const [fuse, byteFallback] = [{ type: 'Fuse' }, { type: 'ByteFallback' }];
const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
const metaspace = (prepend_scheme: string) => ({
  type: 'Metaspace',
  replacement: '▁',
  prepend_scheme,
  split: true,
});
const wordPiece = (cleanup: boolean) => ({ type: 'WordPiece', prefix: '##', cleanup });
const ctc = { type: 'CTC', pad_token: '<pad>', word_delimiter_token: '|', cleanup: true };
const sequence = (...decoders: object[]) => ({ type: 'Sequence', decoders });
const spaces = replace({ String: '▁' }, ' ');

/** `streams`: whether text is emitted before the end. */
const DECODERS: [string, object | null, { streams: boolean }][] = [
  ['none', null, { streams: true }],
  ['ByteLevel', bytes, { streams: true }],
  ['Llama', sequence(spaces, byteFallback, fuse, strip(' ', 1)), { streams: true }],
  ['Llama without prefix', sequence(spaces, byteFallback, fuse), { streams: true }],
  ['two spaces stripped', sequence(spaces, byteFallback, fuse, strip(' ', 2)), { streams: true }],
  ['Gemma', sequence(replace({ String: '▁' }, ' '), byteFallback, fuse), { streams: true }],
  ['every token stripped', sequence(spaces, strip(' ', 1), byteFallback), { streams: true }],
  ['ByteFallback', byteFallback, { streams: true }],
  ['Metaspace always', metaspace('always'), { streams: true }],
  ['Metaspace first', metaspace('first'), { streams: true }],
  ['Metaspace never', metaspace('never'), { streams: true }],
  ['Metaspace of one text', sequence(fuse, metaspace('always')), { streams: true }],
  ['WordPiece', wordPiece(false), { streams: true }],
  ['WordPiece that cleans up', wordPiece(true), { streams: true }],
  ['WordPiece of one text', sequence(fuse, wordPiece(true)), { streams: false }],
  ['CTC', ctc, { streams: true }],
  ['CTC, Metaspace', sequence(ctc, metaspace('always')), { streams: true }],
  ['BPEDecoder', { type: 'BPEDecoder', suffix: '</w>' }, { streams: false }],
  ['a pattern over several tokens', sequence(fuse, replace({ String: ' .' }, '.')), { streams: false }],
  ['an expression over several tokens', sequence(fuse, replace({ Regex: '\\s+$' }, '')), { streams: false }],
  [
    'byte tokens made by a replacement',
    sequence(replace({ String: 'b' }, '<0x80>'), byteFallback),
    { streams: false },
  ],
  ['bytes in bytes', sequence(byteFallback, bytes), { streams: false }],
  ['replacement characters stripped', sequence(bytes, strip('\ufffd', 1)), { streams: false }],
];

const withDecoder = async (decoder: object | null): Promise<Tokenizer> => {
  const vocab = Object.fromEntries(['<unk>', ...TOKENS].map((token, id) => [token, id]));
  return Tokenizer.load(
    await folderOf({
      'tokenizer.json': {
        version: '1.0',
        added_tokens: [added(0, '<unk>'), added(TOKENS.length + 1, '<end>')],
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder,
        model: { type: 'WordLevel', vocab, unk_token: '<unk>' },
      },
      'tokenizer_config.json': { clean_up_tokenization_spaces: true },
    }),
  );
};

describe.each(DECODERS)('%s', async (_, decoder, { streams }) => {
  const tokenizer = await withDecoder(decoder);

  test('pieces put together are the text', () => {
    // One id has no token.
    const id = fc.integer({ min: 0, max: TOKENS.length + 2 });
    const ids = fc.oneof(
      fc.array(id, { maxLength: 30 }),
      fc.array(id, { minLength: 100, maxLength: 300 }),
      fc.array(fc.constantFrom(...['▁', ' ', '<0x80>', 'Ģ', '|'].map((one) => tokenizer.idOf(one)!)), {
        maxLength: 200,
      }),
    );
    fc.assert(
      fc.property(ids, (value) => {
        const stream = tokenizer.stream();
        const pieces = value.map((one) => stream.add(one));
        expect([...pieces, stream.end()].join('')).toBe(tokenizer.decode(value));
      }),
      { numRuns: scaled(60, 3000), seed: 1 },
    );
  });

  test('text comes with its token where it can', () => {
    const words = ['word', 'a', 'b'].map((one) => tokenizer.idOf(one)!);
    const stream = tokenizer.stream();
    const held = Array.from({ length: 200 }, (_, i) => stream.add(words[i % 3]!)).filter((one) => one === '');
    expect(held.length).toBe(streams ? 0 : 200);
  });
});

test('a token is decoded with a bounded number of those before it, whatever they are', async () => {
  for (const [decoder, token] of [
    [bytes, 'word'],
    [bytes, 'Ģ'],
    [sequence(spaces, byteFallback, fuse, strip(' ', 1)), '▁the'],
  ] as const) {
    const tokenizer = await withDecoder(decoder);
    const { library } = (tokenizer as unknown as { built: { library: { decode(tokens: string[]): string } } })
      .built;
    const lengths: number[] = [];
    const decode = library.decode.bind(library);
    library.decode = (tokens) => {
      lengths.push(tokens.length);
      return decode(tokens);
    };
    const stream = tokenizer.stream();
    for (let i = 0; i < 500; i++) stream.add(tokenizer.idOf(token)!);
    stream.end();
    expect(Math.max(...lengths)).toBeLessThanOrEqual(48);
  }
});

test('text is emitted as soon as it is final, a character of several tokens once it is complete', async () => {
  const tokenizer = await load({ 'tokenizer.json': byteLevel(), 'tokenizer_config.json': {} });
  const ids = await tokenizer.encode('é😀!');
  // There are no merges, so each byte is a token: two for é and four for the emoji.
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
