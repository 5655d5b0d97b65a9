/**
 * How a folder's model embeds: the order of who says so, and refusals that come before the weights. The files of
 * sentence-transformers are those of Qwen/Qwen3-Embedding-0.6B and BAAI/bge-en-icl as published, and of its version 5.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  directPrompt,
  type EmbeddingUse,
  loadCheckpoint,
  openModel,
  PRESETS,
  type Prompts,
  presetFormat,
  resolvePrompts,
  saveRetrieverFile,
} from 'search-r3/checkpoint';
import { Tokenizer, trainByteLevelBpe } from 'search-r3/tokenizer';
import { describe, expect, test } from 'vitest';
import { freshFolder } from './files.js';
import { type Change, edit, folderOf, json } from './folders.js';

/** Nothing that reads the weights gets past this. */
const noWeights: Change = (folder) => writeFile(join(folder, 'model.safetensors'), 'not even a header');

const write =
  (name: string, content: unknown): Change =>
  async (folder) => {
    await mkdir(join(folder, name, '..'), { recursive: true });
    await writeFile(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
  };

const pooling = (mode: string) =>
  write('1_Pooling/config.json', {
    word_embedding_dimension: 12,
    pooling_mode_cls_token: mode === 'cls',
    pooling_mode_mean_tokens: mode === 'mean',
    pooling_mode_lasttoken: mode === 'last',
    include_prompt: true,
  });
const INSTRUCT =
  'Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:';
const promptsOfQwen = write('config_sentence_transformers.json', {
  prompts: { query: INSTRUCT, document: '' },
  default_prompt_name: null,
  similarity_fn_name: 'cosine',
});

/** A tokenizer with the tokens of the presets, and no chat template unless it is told otherwise. */
const tokens =
  (...names: string[]): Change =>
  async (folder) => {
    const tokenizer = await trainByteLevelBpe(['a city by the sea'], { vocabSize: 300 });
    for (const name of names) tokenizer.addToken(name);
    for (const file of ['tokenizer.json', 'tokenizer_config.json']) await rm(join(folder, file));
    await tokenizer.save(folder);
  };

const recorded: Change = (folder) =>
  saveRetrieverFile(folder, {
    prompts: { query: { text: 'recorded {text}' }, document: { text: '{text}' } },
    limits: { maxLength: 33 },
  });

async function chosen(folder: string, embedding: EmbeddingUse = {}) {
  const { retriever, notes, close } = await openModel(folder, { embedding });
  await close();
  return { ...retriever, notes };
}

const topics = {
  text: 'Text: {text}\nThe main topics of this text, as keywords:',
  specialTokens: true,
};

describe('who says how', () => {
  test('nobody: topics, and one sentence about it', async () => {
    const { preset, prompts, notes } = await chosen(await folderOf('llama'));
    expect({ preset, prompts }).toEqual({ preset: 'topics', prompts: { query: topics, document: topics } });
    expect(notes).toEqual([
      'Prompts: the preset topics, because no file of the folder says how the model embeds.',
    ]);
  });

  test('a base that is not opened to embed has no prompts and nothing to note', async () => {
    const { prompts, notes } = await loadCheckpoint(await folderOf('llama'));
    expect([prompts, notes]).toEqual([undefined, undefined]);
  });

  test('the tokenizer, by the embed token', async () => {
    const folder = await folderOf(
      'qwen2',
      tokens('<|embed_token|>'),
      edit('config.json', { vocab_size: 400 }),
    );
    await reweighed(folder);
    const { preset, prompts, notes } = await chosen(folder);
    expect({ preset, prompts }).toEqual({ preset: 'search-r3', prompts: resolvePrompts() });
    expect(notes).toEqual(['Prompts: the preset search-r3, because the tokenizer has <|embed_token|>.']);
  });

  test('sentence-transformers: prompts of its own around the text', async () => {
    const folder = await folderOf(
      'llama',
      pooling('last'),
      write('config_sentence_transformers.json', { prompts: { query: 'find: ', passage: 'text: ' } }),
      write('modules.json', [
        { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Transformer' },
        { idx: 1, name: '1', path: '1_Pooling', type: 'sentence_transformers.models.Pooling' },
        { idx: 2, name: '2', path: '2_Normalize', type: 'sentence_transformers.models.Normalize' },
      ]),
    );
    const { preset, prompts, notes } = await chosen(folder);
    expect(preset).toBeUndefined();
    expect(prompts).toEqual({
      query: { text: 'find: {text}', specialTokens: true },
      document: { text: 'text: {text}', specialTokens: true },
    });
    expect(notes).toEqual([
      'Prompts: those of config_sentence_transformers.json, read at the last token, as 1_Pooling/config.json says.',
    ]);
  });

  test('sentence-transformers 5 writes the mode as a word; without prompts, texts are bare', async () => {
    const folder = await folderOf('llama', write('1_Pooling/config.json', { pooling_mode: 'lasttoken' }));
    const bare = { text: '{text}', specialTokens: true };
    expect((await chosen(folder)).prompts).toEqual({ query: bare, document: bare });
  });

  test('Qwen3-Embedding is known by its prompts, and ends with its token', async () => {
    const folder = await folderOf('qwen3', tokens(), edit('config.json', { vocab_size: 400 }));
    await reweighed(folder);
    await pooling('last')(folder);
    await promptsOfQwen(folder);
    const { preset, prompts, notes } = await chosen(folder);
    expect({ preset, prompts }).toEqual({
      preset: 'qwen3-embedding',
      prompts: {
        query: { text: `${INSTRUCT}{text}<|endoftext|>` },
        document: { text: '{text}<|endoftext|>' },
      },
    });
    expect(notes).toEqual([
      'Prompts: the preset qwen3-embedding, as config_sentence_transformers.json and 1_Pooling/config.json show.',
    ]);
  });

  test('search_r3.json before all of that, and nothing to note', async () => {
    const folder = await folderOf('llama', recorded, pooling('mean'));
    const { prompts, limits, notes } = await chosen(folder);
    expect(prompts?.query).toEqual({ text: 'recorded {text}' });
    expect({ limits, notes }).toEqual({ limits: { maxLength: 33 }, notes: [] });
  });

  test('the caller before everyone: a preset, a file of JSON or YAML, or the fields', async () => {
    const folder = await folderOf('llama', recorded, pooling('mean'));
    const asked = await chosen(folder, { prompts: 'topics' });
    expect(asked).toMatchObject({ preset: 'topics', limits: { maxLength: 33 } });
    expect(asked.notes).toEqual(['Prompts: topics, as asked, not those of search_r3.json.']);
    const own: Prompts = { query: { text: 'Q: {text}' }, document: { text: '{text}' } };
    const fields = { prompts: own, pooling: 'last-token' as const, dimensions: 5 };
    const yaml =
      'pooling: last-token\ndimensions: 5\nprompts:\n  query: { text: "Q: {text}" }\n  document: { text: "{text}" }\n';
    await write('own.json', fields)(folder);
    await write('own.yaml', yaml)(folder);
    for (const prompts of [join(folder, 'own.json'), join(folder, 'own.yaml'), fields]) {
      expect(await chosen(folder, { prompts })).toMatchObject({ prompts: own, dimensions: 5 });
    }
  });

  test('the example of the guide is such a file', async () => {
    const guide = await readFile(join(import.meta.dirname, '../../../../docs/guides/training.md'), 'utf8');
    const example = /```json\n(\{\n {2}"pooling".*?)```/s.exec(guide)?.[1] ?? '';
    const folder = await folderOf('llama', write('own.json', example));
    const refused = chosen(folder, { prompts: join(folder, 'own.json') });
    // All there is to say against it: the tiny model is no longer than 12.
    await expect(refused).rejects.toThrow(/: dimensions: expected at most the 12 of .*, found 256/);
  });

  test('an embed token that the tokenizer lacks is announced', async () => {
    const folder = await folderOf('llama', withTemplate);
    const { notes } = await chosen(folder, { prompts: 'search-r3' });
    expect(notes).toEqual([
      'Prompts: search-r3, as asked.',
      'The tokenizer has no <|embed_token|>: it is added, with an untrained row that is the mean of the others.',
    ]);
  });
});

/** Weights for 400 rows: the tokenizers above have more ids than the saved models. */
async function reweighed(folder: string): Promise<void> {
  const { initialiseWeights, parseConfig, writeSafetensors } = await import('search-r3/checkpoint');
  const config = parseConfig(await json(join(folder, 'config.json')));
  await writeSafetensors(join(folder, 'model.safetensors'), initialiseWeights(config, 1));
}

const withTemplate: Change = write(
  'chat_template.jinja',
  '{% for m in messages %}{{ m.role + m.content }}{% endfor %}',
);

describe('is refused before the weights are read', () => {
  test.each<[string, Change[], EmbeddingUse, RegExp]>([
    [
      'mean pooling',
      [pooling('mean')],
      {},
      /1_Pooling\/config\.json: pooling_mode_\*: expected lasttoken, found mean\./,
    ],
    ['the first token', [pooling('cls')], {}, /pooling_mode_\*: expected lasttoken, found cls\./],
    [
      'two at once, in the words of version 5',
      [write('1_Pooling/config.json', { pooling_mode: ['mean', 'lasttoken'] })],
      {},
      /pooling_mode: expected lasttoken, found mean, lasttoken\./,
    ],
    [
      'a module behind the pooling',
      [
        pooling('last'),
        write('modules.json', [{ path: '2_Dense', type: 'sentence_transformers.models.Dense' }]),
      ],
      {},
      /modules\.json: expected only the modules Transformer, Pooling, Normalize, found Dense\./,
    ],
    [
      'another architecture',
      [edit('config.json', { model_type: 'bert', architectures: ['BertModel'] })],
      {},
      /config\.json: model_type: expected one of the architectures llama, qwen2, qwen3, found "bert"/,
    ],
    [
      'reasoning without a prompt for it',
      [],
      { reasoning: true },
      /: prompts\.reasoning: expected a prompt for reasoning, found none in the preset topics\. .*The preset search-r3 has one\.$/,
    ],
    [
      'no such preset or file',
      [],
      { prompts: 'qwen' },
      /^prompts: expected the preset search-r3, qwen3-embedding, topics or a file with prompts, found "qwen"\.$/,
    ],
    [
      'fields of another kind',
      [],
      { prompts: { pooling: 'last-token', prompts: {} } as never },
      /^prompts: prompts\.query: expected object, found nothing/,
    ],
    [
      'a conversation without a chat template',
      [withoutTemplate],
      { prompts: 'search-r3' },
      /expected a chat template .*found none/,
    ],
    [
      'more dimensions than there are',
      [],
      { prompts: { ...wire('topics'), dimensions: 13 } },
      /: dimensions: expected at most the 12 of the model's hidden states, found 13/,
    ],
    [
      'a token that the tokenizer lacks',
      [],
      {
        prompts: {
          pooling: 'last-token',
          prompts: { query: { text: '{text}' }, document: { text: '{text}<|nowhere|>' } },
        },
      },
      /: prompts\.document\.text: expected special tokens of the tokenizer, found <\|nowhere\|>/,
    ],
    [
      'vectors trained to be shorter that are longer',
      [write('search_r3.json', { version: 2, ...wire('topics'), matryoshka: [4, 13] })],
      {},
      /: matryoshka: expected at most the 12 of the model's hidden states, found 13/,
    ],
    [
      'a version to come',
      [write('search_r3.json', { version: 9 })],
      {},
      /search_r3\.json: version: expected 1 or 2, found 9/,
    ],
  ])('%s', async (_, changes, embedding, message) => {
    const folder = await folderOf('llama', ...changes, noWeights);
    await expect(openModel(folder, { embedding })).rejects.toThrow(message);
    await expect(loadCheckpoint(folder, { embedding })).rejects.toThrow(message);
  });

  test('a file that is no YAML', async () => {
    const folder = await folderOf('llama', write('own.yaml', 'a: [1'), noWeights);
    const prompts = join(folder, 'own.yaml');
    await expect(openModel(folder, { embedding: { prompts } })).rejects.toThrow(
      /own\.yaml: expected valid JSON or YAML, found /,
    );
  });
});

async function withoutTemplate(folder: string): Promise<void> {
  await rm(join(folder, 'chat_template.jinja'), { force: true });
  await edit('tokenizer_config.json', { chat_template: null })(folder);
}

/** A preset in the form of a file. */
function wire(name: 'topics') {
  return { pooling: 'last-token' as const, prompts: { ...PRESETS[name].prompts } };
}

describe('presets, to the letter', () => {
  test('qwen3-embedding: the task and the query, then the end of the text', async () => {
    const tokenizer = await trainByteLevelBpe(['a city by the sea'], { vocabSize: 300 });
    tokenizer.addToken('<|endoftext|>');
    const { prompts } = presetFormat('qwen3-embedding');
    const end = tokenizer.idOf('<|endoftext|>');
    const query = await directPrompt(tokenizer, prompts, 'a city', 'query');
    expect(query.ids).toEqual([...(await tokenizer.encode(`${INSTRUCT}a city`)), end]);
    const document = await directPrompt(tokenizer, prompts, 'a city', 'document');
    expect(document.ids).toEqual([...(await tokenizer.encode('a city')), end]);
  });

  test('topics: text alone, in both roles, behind the first token of models that have one', async () => {
    const tokenizer = await trainByteLevelBpe(['a city by the sea'], { vocabSize: 300 });
    const { prompts } = presetFormat('topics');
    for (const role of ['query', 'document'] as const) {
      const { ids } = await directPrompt(tokenizer, prompts, 'a city', role);
      expect(tokenizer.decode(ids)).toBe('Text: a city\nThe main topics of this text, as keywords:');
    }
    const folder = await freshFolder();
    const begin = tokenizer.addToken('<s>');
    await tokenizer.save(folder);
    // As Llama's.
    await edit('tokenizer.json', {
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [],
        special_tokens: { '<s>': { id: '<s>', ids: [begin], tokens: ['<s>'] } },
      },
    })(folder);
    const llama = await Tokenizer.load(folder, { asWritten: true });
    const { ids } = await directPrompt(llama, prompts, 'a city', 'query');
    expect([ids[0], ids.filter((id) => id === begin)]).toEqual([begin, [begin]]);
  });
});
