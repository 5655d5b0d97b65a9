/** Inputs that we once read differently from the reference. Expected values come from the Rust library in Python. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError } from 'search-r3/run';
import { Tokenizer } from 'search-r3/tokenizer';
import { describe, expect, test } from 'vitest';
import {
  added,
  BYTE_LEVEL_SIZE,
  byteLevel,
  type Files,
  folderOf,
  llama2,
  sequence,
  split,
  token,
  unigram,
} from './pipelines.js';

const load = async (files: Files) => Tokenizer.load(await folderOf(files));
const bytesOnly = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
const tokensOf = async (tokenizer: Tokenizer, text: string) =>
  (await tokenizer.encode(text)).map((id) => tokenizer.tokenOf(id));

test('Unigram with byte fallback: a character that no piece has becomes its bytes', async () => {
  const pieces = unigram(true, { normalizer: null });
  const tokenizer = await load({ 'tokenizer.json': pieces });
  expect(await tokensOf(tokenizer, 'é~')).toEqual(['▁', '<0xC3>', '<0xA9>', '<0x7E>']);
  const without = await load({ 'tokenizer.json': unigram(false, { normalizer: null }) });
  // Consecutive unknown characters become one <unk>.
  expect(await tokensOf(without, 'é~')).toEqual(['▁', '<unk>']);
});

// python: Tokenizer.from_str(json).encode(text).tokens
test.each([
  [
    'Contiguous',
    split('\\s', 'Contiguous'),
    [
      ['a', 'ĠĠ', 'b'],
      ['Ġ', 'a'],
      ['a', ',', 'Ġ', 'b'],
    ],
  ],
  ['MergedWithNext', split('\\s', 'MergedWithNext'), [['a', 'Ġ', 'Ġb'], ['Ġa'], ['a', ',', 'Ġb']]],
  [
    'inverted',
    split('\\p{L}+', 'Isolated', true),
    [
      ['a', 'ĠĠ', 'b'],
      ['Ġ', 'a'],
      ['a', ',Ġ', 'b'],
    ],
  ],
  ['Removed', split('\\s', 'Removed'), [['a', 'b'], ['a'], ['a', ',', 'b']]],
  ['Punctuation', { type: 'Punctuation', behavior: 'Removed' }, [['aĠĠb'], ['Ġa'], ['a', 'Ġb']]],
])('splitting of text: %s', async (_, part, words) => {
  // Every word of these texts is a separate token, so the tokens show where the text was split.
  const whole = [...new Set(words.flat())].filter((word) => [...word].length > 1);
  const json = byteLevel({ pre_tokenizer: sequence(part, bytesOnly) }, { ignore_merges: true, merges: [] });
  const { vocab } = json.model as unknown as { vocab: Record<string, number> };
  const bytes = Object.fromEntries(Object.entries(vocab).slice(0, 256));
  const model = {
    ...json.model,
    vocab: { ...bytes, ...Object.fromEntries(whole.map((word, i) => [word, 256 + i])) },
  };
  const tokenizer = await load({ 'tokenizer.json': { ...json, model } });
  for (const [i, text] of ['a  b', ' a', 'a, b'].entries()) {
    expect(await tokensOf(tokenizer, text)).toEqual(words[i]);
  }
});

test('BPE with a prefix for continued words', async () => {
  const vocab = { '<unk>': 0, c: 1, '##a': 2, '##t': 3, ca: 4 };
  const model = {
    type: 'BPE',
    vocab,
    merges: ['c ##a'],
    unk_token: '<unk>',
    continuing_subword_prefix: '##',
  };
  const json = byteLevel({ pre_tokenizer: { type: 'Whitespace' }, decoder: null }, model);
  expect(await tokensOf(await load({ 'tokenizer.json': json }), 'cat ca')).toEqual(['ca', '##t', 'ca']);
});

test('half of a surrogate pair is read as U+FFFD', async () => {
  const tokenizer = await load({ 'tokenizer.json': llama2() });
  const expected = ['▁a', '\ufffd', 'b'];
  for (const text of ['a\ud800b', 'a\udfffb', 'a\ufffdb'])
    expect(await tokensOf(tokenizer, text)).toEqual(expected);
});

test('no characters and the character 0 are read like others', async () => {
  const tokenizer = await load({ 'tokenizer.json': byteLevel() });
  expect(await tokenizer.encodeBatch(['', '\0', 'a\0b'])).toEqual([
    [],
    [tokenizer.idOf('Ā')],
    ['a', 'Ā', 'b'].map((one) => tokenizer.idOf(one)),
  ]);
  expect(tokenizer.decode(await tokenizer.encode('a\0b'))).toBe('a\0b');
});

describe('a token that only added_tokens_decoder has', async () => {
  const folder = await folderOf({
    'tokenizer.json': byteLevel(),
    'tokenizer_config.json': {
      eos_token: '<|im_end|>',
      added_tokens_decoder: { [BYTE_LEVEL_SIZE]: token('<|im_end|>') },
    },
  });

  test('has its id, is never cut, and is kept when saved', async () => {
    const tokenizer = await Tokenizer.load(folder);
    const id = BYTE_LEVEL_SIZE;
    expect(await tokenizer.encode('<|im_end|>')).toEqual([id]);
    expect([tokenizer.eosId, tokenizer.vocabSize, [...tokenizer.specialIds]]).toEqual([id, id + 1, [id]]);
    expect(tokenizer.escapeSpecialTokens('a<|im_end|>')).toBe('a< |im_end|>');
    expect(tokenizer.addToken('<new>')).toBe(id + 1);
    const saved = await folderOf({});
    await tokenizer.save(saved);
    const again = await Tokenizer.load(saved);
    expect(await again.encode('<new><|im_end|>')).toEqual([id + 1, id]);
    expect(again.fingerprint()).toBe(tokenizer.fingerprint());
  });

  test('decides the fingerprint', async () => {
    const bare = await load({ 'tokenizer.json': byteLevel() });
    expect((await Tokenizer.load(folder)).fingerprint()).not.toBe(bare.fingerprint());
    const stripped = await load({
      'tokenizer.json': byteLevel(),
      'tokenizer_config.json': {
        added_tokens_decoder: { [BYTE_LEVEL_SIZE]: token('<|im_end|>', { rstrip: true }) },
      },
    });
    expect(stripped.fingerprint()).not.toBe((await Tokenizer.load(folder)).fingerprint());
  });
});

describe('files that contradict each other', () => {
  const END = BYTE_LEVEL_SIZE;
  const own = byteLevel({ added_tokens: [added(END, '<a>'), added(END + 1, '<b>')] });
  const decoder = (id: number, content: string) => ({
    'tokenizer.json': own,
    'tokenizer_config.json': { added_tokens_decoder: { [id]: token(content) } },
  });
  test.each<[string, Files, RegExp]>([
    [
      'two tokens for one id',
      decoder(END, '<c>'),
      /tokenizer_config.json: added_tokens_decoder\["\d+"\]: expected "<a>", which gets the id \d+ based on .*\/tokenizer.json, found "<c>"/,
    ],
    [
      'a token with two ids',
      decoder(END + 5, '<a>'),
      /added_tokens_decoder\["\d+"\]: expected the id \d+, which "<a>" gets based on .*\/tokenizer.json, found \d+/,
    ],
    [
      'an id that the library cannot give',
      decoder(END + 7, '<c>'),
      /expected the id \d+, which "<c>" gets based on .*\/tokenizer.json, found \d+\. Take both files from the same model/,
    ],
    [
      'added_tokens.json: two tokens for one id',
      { 'tokenizer.json': own, 'added_tokens.json': { '<c>': END } },
      /added_tokens.json: <c>: expected "<a>", which gets the id \d+ based on .*\/tokenizer.json, found "<c>"/,
    ],
    [
      'added_tokens.json: a token with two ids',
      { 'tokenizer.json': own, 'added_tokens.json': { '<a>': END + 4 } },
      /added_tokens.json: <a>: expected the id \d+, which "<a>" gets based on .*\/tokenizer.json/,
    ],
    [
      'tokenizer.json: an id that the library does not give',
      { 'tokenizer.json': byteLevel({ added_tokens: [added(END + 3, '<a>')] }) },
      /tokenizer.json: added_tokens: expected the id \d+/,
    ],
    [
      'a class whose pipeline is not implemented',
      { 'tokenizer.json': own, 'tokenizer_config.json': { tokenizer_class: 'T5TokenizerFast' } },
      /tokenizer_config.json: tokenizer_class: expected one of LlamaTokenizer, .* found T5Tokenizer\. .*set tokenizer_class to PreTrainedTokenizerFast/,
    ],
    [
      'a class for another model',
      { 'tokenizer.json': unigram(false), 'tokenizer_config.json': { tokenizer_class: 'LlamaTokenizer' } },
      /tokenizer.json: model: expected a BPE model, because transformers reads the folder with LlamaTokenizer, found Unigram/,
    ],
    [
      'special tokens that should be split',
      { 'tokenizer.json': own, 'tokenizer_config.json': { split_special_tokens: true } },
      /tokenizer_config.json: split_special_tokens: expected false/,
    ],
    [
      'a key of added_tokens_decoder that is no id',
      { 'tokenizer.json': own, 'tokenizer_config.json': { added_tokens_decoder: { x: token('<c>') } } },
      /tokenizer_config.json: added_tokens_decoder/,
    ],
  ])('%s', async (_, files, message) => {
    await expect(load(files)).rejects.toThrow(
      expect.objectContaining({ name: 'InputError', message: expect.stringMatching(message) }),
    );
  });
});

describe('the pipeline of a folder', () => {
  const metaspace = {
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'never', split: false },
  };
  const files = {
    'tokenizer.json': llama2(metaspace),
    'tokenizer_config.json': { tokenizer_class: 'LlamaTokenizer' },
  };

  test('the pipeline of its class, with a note; that of the file on request', async () => {
    const folder = await folderOf(files);
    const byClass = await Tokenizer.load(folder);
    const asWritten = await Tokenizer.load(folder, { asWritten: true });
    expect(await tokensOf(byClass, 'a')).toEqual(['▁a']);
    expect(await tokensOf(asWritten, 'a')).toEqual(['a']);
    expect(byClass.notes).toEqual([
      'tokenizer.json: AutoTokenizer reads this folder with LlamaTokenizer, which has its own pre_tokenizer. Those in the file are not used.',
    ]);
    expect(asWritten.notes).toEqual([]);
    expect(byClass.fingerprint()).not.toBe(asWritten.fingerprint());
  });

  test('a saved tokenizer keeps its pipeline', async () => {
    for (const options of [{}, { asWritten: true }]) {
      const tokenizer = await Tokenizer.load(await folderOf(files), options);
      const saved = await folderOf({});
      await tokenizer.save(saved);
      await writeFile(join(saved, 'config.json'), '{"model_type": "qwen2"}');
      const again = await Tokenizer.load(saved);
      expect(again.fingerprint()).toBe(tokenizer.fingerprint());
      expect(again.notes).toEqual([]);
    }
  });
});

describe('parts on which the library would abort the process', () => {
  const end = { SpecialToken: { id: '<a>', type_id: 0 } };
  const [a, b] = ['A', 'B'].map((id) => ({ Sequence: { id, type_id: 0 } }));
  const template = (changes: object) => ({
    post_processor: {
      type: 'Sequence',
      processors: [{ type: 'TemplateProcessing', single: [a], pair: [a, b], special_tokens: {}, ...changes }],
    },
  });
  const charsmap = (precompiled_charsmap: unknown) => ({
    normalizer: { type: 'Sequence', normalizers: [{ type: 'Precompiled', precompiled_charsmap }] },
  });
  test.each<[string, object, RegExp]>([
    [
      'an invalid character map',
      charsmap('AAAA'),
      /normalizer.normalizers\[0\].precompiled_charsmap: expected a SentencePiece character map in base64/,
    ],
    ['a character map cut short', charsmap('EAAAAAAA'), /precompiled_charsmap/],
    ['a character map of another type', charsmap(7), /precompiled_charsmap/],
    [
      'pieces of no length',
      { pre_tokenizer: { type: 'FixedLength', length: 0 } },
      /pre_tokenizer.length: expected at least 1, found 0/,
    ],
    [
      'stripping at the end',
      { decoder: { type: 'Strip', content: ' ', start: 0, stop: 1 } },
      /decoder.stop: expected 0/,
    ],
    [
      'a template with a token that it does not have',
      template({ single: [end, a] }),
      /post_processor.processors\[0\].single\[0\]: expected one of the special_tokens .*found "<a>"/,
    ],
    [
      'a template for one text with two',
      template({ single: [a, b] }),
      /single\[1\]: expected sequence A, found "B"/,
    ],
    [
      'a template token with another number of ids',
      template({ special_tokens: { '<a>': { id: '<a>', ids: [1, 2], tokens: ['<a>'] } } }),
      /special_tokens\["<a>"\]: expected as many ids as tokens/,
    ],
  ])('%s', async (_, changes, message) => {
    const error = await load({ 'tokenizer.json': byteLevel(changes) }).catch((problem: unknown) => problem);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
  });

  test('merges whose result is not in the vocabulary', async () => {
    for (const [merge, prefix] of [
      ['e Ġcat', null],
      ['a b', '##############'],
    ] as const) {
      const model = { merges: [merge], continuing_subword_prefix: prefix };
      await expect(load({ 'tokenizer.json': byteLevel({}, model) })).rejects.toThrow(/model.merges\[0\]/);
    }
  });
});

test('BPE dropout, which makes ids random, does not apply', async () => {
  const whole = await load({ 'tokenizer.json': byteLevel() });
  const random = await load({ 'tokenizer.json': byteLevel({}, { dropout: 0.9 }) });
  const text = 'the cat and the cat '.repeat(20);
  expect(await random.encode(text)).toEqual(await whole.encode(text));
});
