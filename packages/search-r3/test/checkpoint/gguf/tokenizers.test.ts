/**
 * Tokenizers of GGUF files give the ids that llama.cpp and SentencePiece give. Their answers are recorded;
 * `RECORD=1 npx vitest run gguf/tokenizers` records them anew where `tools/oracles` (and for llama.cpp `LLAMA_CPP`, the
 * folder of node-llama-cpp) are there.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openModel } from 'search-r3/checkpoint';
import type { Tokenizer } from 'search-r3/tokenizer';
import { beforeAll, describe, expect, test } from 'vitest';
import { ORACLES, pythonWith } from '../../support/python.js';
import { modelMetadata, modelTensors, tinyCheckpoint, tinyModel } from './models.js';
import { crossingMetadata, TEXTS } from './vocabularies.js';
import { array, type FileToWrite, flag, text, u32, type Value, writeGguf } from './writer.js';

const fixture = (name: string) => join(import.meta.dirname, 'fixtures', name);
const read = <T>(name: string): T => JSON.parse(readFileSync(fixture(name), 'utf8')) as T;
const record = (name: string, value: unknown) => writeFileSync(fixture(name), `${JSON.stringify(value)}\n`);

/** The model of the tests with other metadata; undefined removes a key. */
async function fileWith(over: Readonly<Record<string, Value | undefined>>): Promise<FileToWrite> {
  const file = await tinyModel('llama');
  const entries = Object.entries({ ...file.metadata, ...over });
  const metadata = entries.filter((entry): entry is [string, Value] => entry[1] !== undefined);
  return { ...file, metadata: Object.fromEntries(metadata) };
}

async function open(file: FileToWrite): Promise<{ tokenizer: Tokenizer; notes: string[] }> {
  const model = await openModel(await writeGguf(file));
  await model.close();
  return model;
}

const PRE = ['gpt-2', 'smollm', 'starcoder', 'qwen2', 'deepseek-r1-qwen', 'llama-bpe', 'llama3', 'default'];

describe('byte-level BPE', () => {
  const asked = TEXTS.map((one) => one.normalize('NFC'));

  const file = async (pre: string): Promise<FileToWrite> => {
    const metadata = crossingMetadata(pre);
    const vocab_size = (metadata['tokenizer.ggml.tokens']!.value as Value[]).length;
    const model = await tinyCheckpoint('llama', { vocab_size });
    return { metadata: { ...modelMetadata(model), ...metadata }, tensors: modelTensors(model) };
  };

  beforeAll(async () => {
    const { RECORD, LLAMA_CPP } = process.env;
    if (RECORD === undefined || LLAMA_CPP === undefined) return;
    const lines: string[] = [];
    for (const pre of PRE) {
      const path = await writeGguf(await file(pre));
      for (const one of asked) lines.push(JSON.stringify({ path, text: one }));
    }
    const args = [join(ORACLES, 'llama_cpp_tokens.mjs'), LLAMA_CPP];
    const { stdout, stderr } = spawnSync('node', args, { input: lines.join('\n'), encoding: 'utf8' });
    const ids = stdout.trim().split('\n');
    if (ids.length !== lines.length) throw new Error(stderr);
    const answers = PRE.map((pre, i) => [
      pre,
      ids.slice(i * asked.length, (i + 1) * asked.length).map((line) => JSON.parse(line) as number[]),
    ]);
    record('llama-cpp.json', Object.fromEntries(answers));
  }, 120_000);

  test.each(PRE)('ids with the pre-tokenizer %s are those of llama.cpp', async (pre) => {
    const expected = read<Record<string, number[][]>>('llama-cpp.json')[pre];
    const { tokenizer, notes } = await open(await file(pre));
    expect(await tokenizer.encodeBatch(asked)).toEqual(expected);
    expect(notes).toEqual([]);
    for (const [i, ids] of expected!.entries()) expect(tokenizer.decode(ids)).toBe(asked[i]);
  });

  test('the texts tell the pre-tokenizers apart', () => {
    const { starcoder: _, llama3: __, ...recorded } = read<Record<string, number[][]>>('llama-cpp.json');
    const answers = new Set(Object.values(recorded).map((ids) => JSON.stringify(ids)));
    // To llama.cpp, both of Qwen are the same.
    expect(answers.size).toBe(Object.keys(recorded).length - 1);
  });

  test('Qwen2 composes letters and accents', async () => {
    const texts = ['cafe\u0301', 'caf\u00e9'];
    const qwen2 = await open(await fileWith({ 'tokenizer.ggml.pre': text('qwen2') }));
    const [apart, together] = await qwen2.tokenizer.encodeBatch(texts);
    expect(apart).toEqual(together);
    const distilled = await open(await fileWith({ 'tokenizer.ggml.pre': text('deepseek-r1-qwen') }));
    const ids = await distilled.tokenizer.encodeBatch(texts);
    expect(ids[1]).toEqual(together);
    expect(ids[0]).not.toEqual(together);
  });

  test('Llama 3 takes a whole word of the vocabulary before any merge', async () => {
    const file = await tinyModel('llama');
    const tokens = (file.metadata['tokenizer.ggml.tokens']!.value as Value[]).map(({ value }) =>
      String(value),
    );
    const types = [...tokens.slice(0, -1).map(() => 1), 1];
    // No merge gives this word.
    const word = 'zqzq';
    tokens[tokens.length - 1] = word;
    const over = {
      'tokenizer.ggml.tokens': array('string', tokens),
      'tokenizer.ggml.token_type': array('i32', types),
      'tokenizer.ggml.eos_token_id': u32(0),
    };
    const ids = async (pre: string) =>
      (await open(await fileWith({ ...over, 'tokenizer.ggml.pre': text(pre) }))).tokenizer.encode(word);
    expect(await ids('llama-bpe')).toEqual([tokens.length - 1]);
    expect(await ids('gpt-2')).toHaveLength(4);
  });

  test('a file that does not name one gets the default, with a note', async () => {
    const { 'tokenizer.ggml.pre': _, ...metadata } = (await file('default')).metadata;
    const { tokenizer, notes } = await open({ ...(await file('default')), metadata });
    expect(await tokenizer.encodeBatch(asked)).toEqual(
      read<Record<string, number[][]>>('llama-cpp.json').default,
    );
    expect(notes).toEqual([
      expect.stringMatching(/does not name its pre-tokenizer \(tokenizer\.ggml\.pre\)/),
    ]);
  });
});

describe('SentencePiece', () => {
  interface Recorded {
    tokens: string[];
    scores: number[];
    types: number[];
    texts: string[];
    sentencepiece: number[][];
    transformers: number[][];
  }
  const texts = [...TEXTS, 'the the  the', ' ', 'ω', 'x\n\n  y', '7,890'];

  beforeAll(() => {
    const python = process.env.RECORD === undefined ? undefined : pythonWith('sentencepiece', 'transformers');
    if (python === undefined) return;
    const train = Array.from({ length: 30 }, () => TEXTS).flat();
    const input = JSON.stringify({ train, size: 520, texts });
    const program = join(ORACLES, 'gguf_sentencepiece.py');
    const { status, stdout, stderr } = spawnSync(python, [program], { input, encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    record('sentencepiece.json', { ...(JSON.parse(stdout) as object), texts });
  }, 120_000);

  const metadata = ({ tokens, scores, types }: Recorded): Record<string, Value> => ({
    'tokenizer.ggml.model': text('llama'),
    'tokenizer.ggml.tokens': array('string', tokens),
    'tokenizer.ggml.scores': array('f32', scores),
    'tokenizer.ggml.token_type': array('i32', types),
  });
  const file = async (over: Readonly<Record<string, Value>> = {}): Promise<FileToWrite> => {
    const recorded = read<Recorded>('sentencepiece.json');
    const model = await tinyCheckpoint('llama', { vocab_size: recorded.tokens.length });
    return {
      metadata: { ...modelMetadata(model), ...metadata(recorded), ...over },
      tensors: modelTensors(model),
    };
  };

  test('ids are those of SentencePiece, and of transformers where these differ', async () => {
    const { texts: asked, sentencepiece, transformers, tokens } = read<Recorded>('sentencepiece.json');
    const { tokenizer, notes } = await open(await file());
    expect(asked).toEqual(texts);
    const found = await tokenizer.encodeBatch(asked);
    for (const [i, one] of asked.entries()) {
      expect([one, found[i]]).toEqual([one, transformers[i]]);
      // SentencePiece puts a space before every text, transformers only where there is none.
      if (!one.startsWith(' ')) expect([one, found[i]]).toEqual([one, sentencepiece[i]]);
      expect(tokenizer.decode(sentencepiece[i]!)).toBe(one);
    }
    expect(tokenizer.vocabSize).toBe(tokens.length);
    expect([tokenizer.unkId, tokenizer.bosId, tokenizer.eosId, notes]).toEqual([0, 1, 2, []]);
  });

  test('texts begin with <s> where special tokens are asked for, unless the file says otherwise', async () => {
    const ids = async (over: Readonly<Record<string, Value>>) =>
      (await open(await file(over))).tokenizer.encode('the', { addSpecialTokens: true });
    const plain = await ids({ 'tokenizer.ggml.add_bos_token': flag(false) });
    expect(await ids({})).toEqual([1, ...plain]);
    expect(await ids({ 'tokenizer.ggml.add_eos_token': flag(true) })).toEqual([1, ...plain, 2]);
  });

  test('no space before the text, if the file says so', async () => {
    const { tokens } = read<Recorded>('sentencepiece.json');
    const { tokenizer } = await open(await file({ 'tokenizer.ggml.add_space_prefix': flag(false) }));
    const shown = (ids: number[]) => ids.map((id) => tokens[id]).join('');
    expect(shown(await tokenizer.encode('the fox'))).toBe('the▁fox');
    expect(tokenizer.decode(await tokenizer.encode(' fox'))).toBe(' fox');
  });

  test('control tokens are special, user-defined ones are only kept whole', async () => {
    const { tokens } = read<Recorded>('sentencepiece.json');
    const { tokenizer } = await open(await file());
    const think = tokens.indexOf('<think>');
    const ids = await tokenizer.encode('the<think></s>');
    expect(ids.slice(-2)).toEqual([think, 2]);
    expect([...tokenizer.specialIds].sort()).toEqual([0, 1, 2]);
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe('the<think>');
    expect(tokenizer.escapeSpecialTokens('a </s> <think>')).not.toContain('</s>');
  });
});

describe('special tokens', () => {
  test('rows without a token are not tokens', async () => {
    const plain = await tinyModel('llama');
    const size = (plain.metadata['tokenizer.ggml.tokens']!.value as Value[]).length;
    const listed = (key: string) =>
      (plain.metadata[key]!.value as Value[]).map(({ value }) => value as string | number);
    const padded = await fileWith({
      'tokenizer.ggml.tokens': array('string', [
        ...listed('tokenizer.ggml.tokens'),
        `[PAD${size}]`,
        `[PAD${size + 1}]`,
      ]),
      'tokenizer.ggml.token_type': array('i32', [...listed('tokenizer.ggml.token_type'), 5, 5]),
    });
    const { tokenizer } = await open(padded);
    expect(tokenizer.vocabSize).toBe(size);
    expect(tokenizer.tokenOf(size)).toBeUndefined();
    // As in a folder, a new token takes the first row that is free.
    expect(tokenizer.addToken('<|embed_token|>')).toBe(size);
  });

  test('ends of turns end a generation too', async () => {
    const file = await fileWith({
      'tokenizer.ggml.eot_token_id': u32(3),
      'tokenizer.ggml.eom_token_id': u32(3),
    });
    const model = await openModel(await writeGguf(file));
    await model.close();
    expect(model.generationConfig).toEqual({ eos_token_id: [model.tokenizer.eosId, 3] });
  });

  test('an id beyond the tokens is ignored with a note', async () => {
    const { tokenizer, notes } = await open(await fileWith({ 'tokenizer.ggml.bos_token_id': u32(9_999) }));
    expect(tokenizer.bosId).toBeUndefined();
    expect(notes).toEqual([
      `tokenizer.ggml.bos_token_id 9999 is not one of the ${tokenizer.vocabSize} tokens, and ignored.`,
    ]);
  });

  test('the chat template', async () => {
    const { tokenizer } = await open(await fileWith({}));
    const rendered = tokenizer.renderChat([{ role: 'user', content: 'x' }], { addGenerationPrompt: true });
    expect(rendered).toBe('<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n');
    const without = await open(await fileWith({ 'tokenizer.chat_template': undefined }));
    expect(without.tokenizer.hasChatTemplate).toBe(false);
    const path = await writeGguf(await fileWith({ 'tokenizer.chat_template': undefined }));
    const model = await openModel(path, { defaultChatTemplate: '{{ messages[0].content }}!' });
    await model.close();
    expect(model.tokenizer.renderChat([{ role: 'user', content: 'x' }])).toBe('x!');
  });
});
