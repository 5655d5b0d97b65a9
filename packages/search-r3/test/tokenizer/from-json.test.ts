/** A tokenizer built from JSON in memory. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer } from 'search-r3/tokenizer';
import { expect, test } from 'vitest';

const FLAGS = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
const BYTES = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };

/** Merges a+b, then ab+c. */
const TOKENIZER = {
  version: '1.0',
  added_tokens: [
    { id: 6, content: '<s>', ...FLAGS },
    { id: 7, content: '</s>', ...FLAGS },
  ],
  normalizer: null,
  pre_tokenizer: BYTES,
  post_processor: null,
  decoder: BYTES,
  model: {
    type: 'BPE',
    vocab: { a: 0, b: 1, c: 2, ab: 3, abc: 4, Ġ: 5 },
    merges: ['a b', 'ab c'],
  },
};
const CONFIG = { bos_token: '<s>', eos_token: '</s>' };
const JSONS = { tokenizer: TOKENIZER, config: CONFIG };

test('it is the tokenizer of a folder with these files', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tokenizer-'));
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(TOKENIZER));
  await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(CONFIG));
  const tokenizer = Tokenizer.fromJson(JSONS, 'memory');
  expect(tokenizer.fingerprint()).toBe((await Tokenizer.load(folder)).fingerprint());
  expect(await tokenizer.encode('<s>abcab b')).toEqual([6, 4, 3, 5, 1]);
  expect([tokenizer.bosId, tokenizer.eosId, tokenizer.hasChatTemplate]).toEqual([6, 7, false]);
  expect(Tokenizer.fromJson(JSONS, 'memory', { defaultChatTemplate: 'T' }).hasChatTemplate).toBe(true);
});

test('the pipeline is the one given, whatever class the configuration names', async () => {
  const config = { ...CONFIG, tokenizer_class: 'LlamaTokenizer' };
  const tokenizer = Tokenizer.fromJson({ tokenizer: TOKENIZER, config }, 'memory');
  expect(await tokenizer.encode('abc ab')).toEqual([4, 5, 3]);
  expect(tokenizer.notes).toEqual([]);
});

test('errors name the file that the JSON stands for', () => {
  const refused = (over: Partial<Record<keyof typeof JSONS, unknown>>) => () =>
    Tokenizer.fromJson({ ...JSONS, ...over }, 'memory');
  expect(refused({ tokenizer: { ...TOKENIZER, model: 1 } })).toThrow(
    'memory/tokenizer.json: model: expected',
  );
  expect(refused({ config: { bos_token: 1 } })).toThrow('memory/tokenizer_config.json: bos_token: expected');
});
