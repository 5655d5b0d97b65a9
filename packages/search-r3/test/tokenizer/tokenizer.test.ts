import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import {
  CHATML_TEMPLATE,
  type ChatMessage,
  type TemplateVariables,
  Tokenizer,
  trainByteLevelBpe,
} from 'search-r3/tokenizer';
import { beforeAll, describe, expect, test } from 'vitest';

/** Writes files (objects as JSON) to a new folder. */
async function folderOf(files: Record<string, unknown>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tokenizer-'));
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return folder;
}

/** The flags that the format requires of an added token, in the order in which transformers writes them. */
const FLAGS = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
const BYTES = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };

/** A tokenizer small enough to encode by hand: merges a+b, then ab+c. */
const TINY = {
  version: '1.0',
  added_tokens: [
    { id: 6, content: '<s>', ...FLAGS },
    { id: 7, content: '</s>', ...FLAGS },
    { id: 8, content: '<tool>', ...FLAGS, special: false },
  ],
  normalizer: null,
  pre_tokenizer: BYTES,
  post_processor: {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: { '<s>': { id: '<s>', ids: [6], tokens: ['<s>'] } },
  },
  decoder: BYTES,
  model: {
    type: 'BPE',
    vocab: { a: 0, b: 1, c: 2, ab: 3, abc: 4, Ġ: 5 },
    merges: ['a b', 'ab c'],
  },
};
const CONFIG = { bos_token: '<s>', eos_token: { content: '</s>', lstrip: false }, chat_template: 'T' };

describe('encoding', () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await Tokenizer.load(
      await folderOf({ 'tokenizer.json': TINY, 'tokenizer_config.json': CONFIG }),
    );
  });

  test('hand-worked ids', async () => {
    expect(await tokenizer.encode('abcab b')).toEqual([4, 3, 5, 1]);
    expect(await tokenizer.encode('abc', { addSpecialTokens: true })).toEqual([6, 4]);
    expect(await tokenizer.encode('a<s>b</s>')).toEqual([0, 6, 1, 7]);
    expect(await tokenizer.encode('')).toEqual([]);
  });

  test('merges may be written as pairs', async () => {
    const pairs = {
      ...TINY,
      model: { ...TINY.model, merges: TINY.model.merges.map((merge) => merge.split(' ')) },
    };
    const loaded = await Tokenizer.load(await folderOf({ 'tokenizer.json': pairs }));
    expect(await loaded.encode('abcab b')).toEqual([4, 3, 5, 1]);
  });

  test('hand-worked text; ids without a token are left out', () => {
    expect(tokenizer.decode([6, 4, 5, 1, 8, 7])).toBe('<s>abc b<tool></s>');
    expect(tokenizer.decode([6, 4, 5, 1, 8, 7], { skipSpecialTokens: true })).toBe('abc b<tool>');
    expect(tokenizer.decode([0, 9, 500])).toBe('a');
    expect(tokenizer.decode([])).toBe('');
  });

  test('roles and sizes', () => {
    const { bosId, eosId, padId, unkId, vocabSize, specialIds } = tokenizer;
    expect([bosId, eosId, padId, unkId, vocabSize]).toEqual([6, 7, undefined, undefined, 9]);
    expect([...specialIds]).toEqual([6, 7]);
    expect([tokenizer.idOf('ab'), tokenizer.tokenOf(3), tokenizer.idOf('zz')]).toEqual([3, 'ab', undefined]);
  });

  test('special tokens written in a text can be taken apart', async () => {
    const escaped = tokenizer.escapeSpecialTokens('ab</s><s>a <tool>');
    expect(escaped).toBe('ab< /s>< s>a <tool>');
    expect(await tokenizer.encode(tokenizer.escapeSpecialTokens('a<s>b'))).not.toContain(6);
  });

  test('a part of the text that no token covers is an error where nothing stands for the unknown', async () => {
    const model = { type: 'WordLevel', vocab: { sea: 0, shore: 1 }, unk_token: '<unk>' };
    const words = { ...TINY, added_tokens: [], post_processor: null, decoder: null, model };
    const files = { 'tokenizer.json': { ...words, pre_tokenizer: { type: 'Whitespace' } } };
    const loaded = await Tokenizer.load(await folderOf(files));
    expect(await loaded.encode('shore sea')).toEqual([1, 0]);
    await expect(loaded.encode('sea lion')).rejects.toThrow(
      /expected a token for every part of the text, or an unknown token, found .*Missing \[UNK\] token/,
    );
  });

  test('SentencePiece style, as in the first Llamas: prefix space, byte fallback', async () => {
    const vocab = Object.fromEntries(
      ['<unk>', '<s>', '</s>', '<0xC3>', '<0xA9>', '▁', 'a', 'b', '▁a', '▁ab'].map((token, id) => [
        token,
        id,
      ]),
    );
    const llama = {
      added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({ id, content, ...FLAGS })),
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'Prepend', prepend: '▁' },
          { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        ],
      },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          { type: 'Strip', content: ' ', start: 1, stop: 0 },
        ],
      },
      model: {
        type: 'BPE',
        vocab,
        merges: ['▁ a', '▁a b'],
        unk_token: '<unk>',
        fuse_unk: true,
        byte_fallback: true,
      },
    };
    const loaded = await Tokenizer.load(await folderOf({ 'tokenizer.json': llama }));
    expect(await loaded.encode('ab aé')).toEqual([9, 8, 3, 4]);
    expect(loaded.decode([9, 8, 3, 4])).toBe('ab aé');
  });
});

describe('addToken', () => {
  test('one id, never split, kept by save and load', async () => {
    const config = { ...CONFIG, added_tokens_decoder: { 6: { content: '<s>', special: true } } };
    const folder = await folderOf({ 'tokenizer.json': TINY, 'tokenizer_config.json': config });
    const tokenizer = await Tokenizer.load(folder);
    const before = await tokenizer.encode('abc<s> ab');
    expect(tokenizer.addToken('<|embed_token|>')).toBe(9);
    expect(tokenizer.addToken('<|embed_token|>')).toBe(9);
    expect(tokenizer.vocabSize).toBe(10);
    await tokenizer.save(folder);
    const reloaded = await Tokenizer.load(folder);
    for (const one of [tokenizer, reloaded]) {
      expect(await one.encode('ab<|embed_token|>c<|embed_token|>')).toEqual([3, 9, 2, 9]);
      expect(await one.encode('abc<s> ab')).toEqual(before);
      expect(one.decode([9, 0], { skipSpecialTokens: true })).toBe('a');
    }
    const written = JSON.parse(await readFile(join(folder, 'tokenizer_config.json'), 'utf8'));
    expect(written.added_tokens_decoder['9']).toMatchObject({ content: '<|embed_token|>', special: true });
  });

  test('an ordinary token of the vocabulary becomes special under its own id', async () => {
    const tokenizer = await Tokenizer.load(await folderOf({ 'tokenizer.json': TINY }));
    expect([tokenizer.addToken('<tool>'), tokenizer.addToken('ab'), tokenizer.vocabSize]).toEqual([8, 3, 9]);
    expect([...tokenizer.specialIds]).toEqual([3, 6, 7, 8]);
    expect(await tokenizer.encode('abc')).toEqual([3, 2]);
  });
});

describe('chat templates', () => {
  const MESSAGES: ChatMessage[] = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hi' },
  ];
  const load = async (files: Record<string, unknown>) =>
    Tokenizer.load(await folderOf({ 'tokenizer.json': TINY, ...files }));

  test('ChatML, to the letter', async () => {
    const tokenizer = await trainByteLevelBpe(['Be brief. Hi user assistant system'], { vocabSize: 280 });
    const { text, ids } = await tokenizer.applyChatTemplate(MESSAGES, { addGenerationPrompt: true });
    expect(text).toBe(
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
    );
    expect(tokenizer.decode(ids)).toBe(text);
    const start = tokenizer.idOf('<|im_start|>');
    expect(ids.filter((id) => id === start)).toHaveLength(3);
    expect((await tokenizer.applyChatTemplate(MESSAGES)).text).toBe(
      text.replace('<|im_start|>assistant\n', ''),
    );
  });

  test('a template may use the special tokens', async () => {
    const chat_template =
      "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}";
    const tokenizer = await load({ 'tokenizer_config.json': { ...CONFIG, chat_template } });
    expect(tokenizer.renderChat(MESSAGES)).toBe('<s>Be brief.</s>Hi</s>');
  });

  test('where it is looked for: its own file, then the configuration, among several the default', async () => {
    const named = [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: 'default' },
    ];
    const config = { 'tokenizer_config.json': { ...CONFIG, chat_template: named } };
    expect((await load(config)).renderChat(MESSAGES)).toBe('default');
    const both = await load({ ...config, 'chat_template.jinja': 'file' });
    expect(both.renderChat(MESSAGES)).toBe('file');
    const folder = await folderOf({});
    await both.save(folder);
    expect((await Tokenizer.load(folder)).renderChat(MESSAGES)).toBe('file');
    expect((await readdir(folder)).sort()).toEqual([
      'chat_template.jinja',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
  });

  test('none is an error, unless one is given, which is then saved', async () => {
    const files = { 'tokenizer.json': TINY };
    const bare = await Tokenizer.load(await folderOf(files));
    expect(bare.hasChatTemplate).toBe(false);
    await expect(bare.applyChatTemplate(MESSAGES)).rejects.toThrow(
      /found none\. Base models .* defaultChatTemplate/,
    );
    const options = { defaultChatTemplate: CHATML_TEMPLATE };
    const given = await Tokenizer.load(await folderOf(files), options);
    const folder = await folderOf({});
    await given.save(folder);
    const text = '<|im_start|>user\nHi<|im_end|>\n';
    expect((await Tokenizer.load(folder)).renderChat(MESSAGES.slice(1))).toBe(text);
    const own = await Tokenizer.load(await folderOf({ ...files, 'chat_template.jinja': 'own' }), options);
    expect(own.renderChat(MESSAGES)).toBe('own');
    await expect(Tokenizer.load(folder, { chatTemplate: 'x' } as never)).rejects.toThrow(/"chatTemplate"/);
  });

  test('the date is always the same', async () => {
    const tokenizer = await load({ 'chat_template.jinja': '{{ strftime_now("%d %B %Y") }}' });
    expect(tokenizer.renderChat(MESSAGES)).toBe('26 July 2024');
  });

  test('switches of a template, which cannot replace what every template is given', async () => {
    const template =
      '{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}' +
      '{% if add_generation_prompt %}[assistant]' +
      '{% if thinking is defined and thinking is false %}<nothing>{% endif %}{{ date }}{% endif %}';
    const tokenizer = await load({ 'tokenizer_config.json': CONFIG, 'chat_template.jinja': template });
    const render = (variables?: TemplateVariables) =>
      tokenizer.renderChat(MESSAGES, { addGenerationPrompt: true, ...(variables && { variables }) });
    const start = '<s>[system]Be brief.[user]Hi[assistant]';
    expect(render()).toBe(start);
    expect(render({ thinking: true })).toBe(start);
    expect(render({ thinking: false, date: 7 })).toBe(`${start}<nothing>7`);
    const given = { messages: '', bos_token: '', add_generation_prompt: false, thinking: false };
    expect(render(given)).toBe(`${start}<nothing>`);
    // The ids of a text that the tiny vocabulary covers.
    const short = await load({ 'chat_template.jinja': '{% if more %}abc{% endif %}ab' });
    expect(await short.applyChatTemplate(MESSAGES, { variables: { more: true } })).toEqual({
      text: 'abcab',
      ids: [4, 3],
    });
  });

  test('a template that refuses the messages', async () => {
    const tokenizer = await load({ 'chat_template.jinja': "{{ raise_exception('no system role') }}" });
    expect(() => tokenizer.renderChat(MESSAGES)).toThrow(
      /chat_template.jinja: line 1: expected a chat template that takes these messages, found no system role/,
    );
  });
});

describe('files that are wrong', () => {
  const withModel = (model: object) => ({
    'tokenizer.json': { ...TINY, model: { ...TINY.model, ...model } },
  });
  const withAdded = (...added_tokens: object[]) => ({ 'tokenizer.json': { ...TINY, added_tokens } });
  test.each<[string, Record<string, unknown>, RegExp]>([
    ['no tokenizer.json', {}, /tokenizer.json: expected a readable file, found nothing there/],
    ['an empty file', { 'tokenizer.json': '' }, /tokenizer.json: expected valid JSON, found an empty file/],
    ['an HTML page', { 'tokenizer.json': '<html>' }, /tokenizer.json: expected valid JSON/],
    [
      'no model',
      { 'tokenizer.json': { version: '1.0' } },
      /tokenizer.json: model: expected object, found nothing/,
    ],
    [
      'no vocabulary',
      { 'tokenizer.json': { model: { type: 'BPE' } } },
      /model.vocab: expected an object that maps tokens to ids/,
    ],
    [
      'an id that is no number',
      withModel({ vocab: { a: 'x' } }),
      /model.vocab\["a"\]: expected an id from 0/,
    ],
    ['an id out of all bounds', withModel({ vocab: { a: 4e9 } }), /found 4000000000/],
    [
      'an id given twice',
      withModel({ vocab: { a: 0, b: 0 }, merges: [] }),
      /one token with the id 0, found "a" and "b"/,
    ],
    ['a merge of unknown tokens', withModel({ merges: ['a b', 'b z'] }), /model.merges\[1\]: .*found "b z"/],
    ['a merge into an unknown token', withModel({ merges: ['b c'] }), /model.merges\[0\]: .*found "b c"/],
    ['no merges', withModel({ merges: undefined }), /expected a tokenizer that the tokenizers library can/],
    [
      'an added token on a taken id',
      withAdded({ id: 3, content: '<x>', ...FLAGS }),
      /added_tokens: expected one token with the id 3/,
    ],
    [
      'an added token with two ids',
      withAdded({ id: 9, content: 'ab', ...FLAGS }),
      /expected one id for "ab", found 3 and 9/,
    ],
    [
      'an added token without id',
      withAdded({ content: '<x>', ...FLAGS }),
      /added_tokens.0.id: expected (number|int), found nothing/,
    ],
    [
      'an unknown kind of part',
      { 'tokenizer.json': { ...TINY, pre_tokenizer: { type: 'Magic' } } },
      /tokenizer.json: expected a tokenizer that the tokenizers library can read, found .*PreTokenizerUntagged\.$/,
    ],
    [
      'a wrong configuration',
      { 'tokenizer.json': TINY, 'tokenizer_config.json': { eos_token: 7 } },
      /tokenizer_config.json: eos_token/,
    ],
    [
      'a template that does not parse',
      { 'tokenizer.json': TINY, 'chat_template.jinja': '{% if %}' },
      /chat_template.jinja: line 1: expected a Jinja template/,
    ],
  ])('%s', async (_, files, message) => {
    const folder = await folderOf(files);
    await expect(Tokenizer.load(folder)).rejects.toThrow(
      expect.objectContaining({ name: 'InputError', message: expect.stringMatching(message) }),
    );
  });
});

test('the fingerprint follows what decides ids, and nothing else', async () => {
  const load = async (files: Record<string, unknown>) => Tokenizer.load(await folderOf(files));
  const one = await load({ 'tokenizer.json': TINY, 'tokenizer_config.json': CONFIG });
  const two = await load({
    'tokenizer.json': TINY,
    'tokenizer_config.json': { ...CONFIG, eos_token: '<s>' },
  });
  const other = await load({ 'tokenizer.json': TINY, 'tokenizer_config.json': { chat_template: 'U' } });
  expect(two.fingerprint()).toBe(one.fingerprint());
  expect(other.fingerprint()).not.toBe(one.fingerprint());
  one.addToken('<x>');
  expect(one.fingerprint()).not.toBe(two.fingerprint());
});

test('the fingerprint of a tokenizer in memory is that of its files', async () => {
  const load = async (tokenizer: object) => Tokenizer.load(await folderOf({ 'tokenizer.json': tokenizer }));
  const { added_tokens: _, ...bare } = TINY;
  const [spare] = TINY.added_tokens;
  // transformers writes `special` last.
  const published = { ...TINY, added_tokens: [{ id: 6, content: '<s>', ...FLAGS }] };
  for (const files of [TINY, bare, { ...TINY, added_tokens: [{ special: false, ...spare }] }, published]) {
    const tokenizer = await load(files);
    const before = tokenizer.fingerprint();
    tokenizer.addToken('<x>');
    tokenizer.addToken('<s>');
    const folder = await mkdtemp(join(tmpdir(), 'tokenizer-'));
    await tokenizer.save(folder);
    expect((await Tokenizer.load(folder)).fingerprint()).toBe(tokenizer.fingerprint());
    expect(tokenizer.fingerprint()).not.toBe(before);
  }
  // Saved indexes contain the fingerprint of a loaded tokenizer, so it must never change.
  expect((await load(published)).fingerprint()).toBe(
    '42862b9cf44136083ac69beaa9af6dded677f1b23e90578be5719e52565d07ab',
  );
});

const scifact = resolve(import.meta.dirname, '../../../../../shared/data/scifact/corpus.jsonl');
const lines = await readFile(scifact, 'utf8').then(
  (text) => text.split('\n').slice(0, 200),
  () => undefined,
);

test.skipIf(lines === undefined)(
  '200 abstracts come back from their ids (skipped without ../shared/data/scifact)',
  async () => {
    const texts = (lines ?? []).map((line) => (JSON.parse(line) as { text: string }).text);
    const tokenizer = await trainByteLevelBpe(texts, { vocabSize: 1500 });
    expect(tokenizer.vocabSize).toBe(1500);
    let [tokens, characters] = [0, 0];
    for (const text of texts) {
      const ids = await tokenizer.encode(text);
      expect(tokenizer.decode(ids)).toBe(text.normalize('NFC'));
      tokens += ids.length;
      characters += text.length;
    }
    // Bytes alone would give 1. With 1,244 merges, English has about three characters per token.
    expect(characters / tokens).toBeGreaterThan(2.7);
    expect(characters / tokens).toBeLessThan(4);
  },
);
