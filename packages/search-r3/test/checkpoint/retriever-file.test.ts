/** `search_r3.json`: version 2 as it is written, version 1 as it was, and what is refused. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  loadCheckpoint,
  loadRetrieverFile,
  type Prompts,
  presetFormat,
  type RetrieverFile,
  resolvePrompts,
  saveCheckpoint,
  saveRetrieverFile,
} from 'search-r3/checkpoint';
import { describe, expect, test } from 'vitest';
import { freshFolder } from './files.js';
import { makeCheckpoint, shrunk } from './tiny.js';

const FILE = 'search_r3.json';
const limits = { maxLength: 96, maxNewTokens: 12 };
const split = { seed: 3, validation: 0.1, sft: 0.5 };
const plain: Prompts = { query: { text: 'Q {text}' }, document: { system: 'D', assistant: '' } };

async function loaded(content: object): Promise<RetrieverFile> {
  const folder = await freshFolder();
  await writeFile(join(folder, FILE), JSON.stringify(content));
  return loadRetrieverFile(folder);
}

describe('version 2', () => {
  test.each<[string, RetrieverFile, object]>([
    [
      'prompts for training',
      {
        prompts: resolvePrompts({ templateVariables: { year: 1970, thinking: false } }),
        limits,
        split,
        matryoshka: [64, 12],
      },
      { pooling: 'embed-token' },
    ],
    ['a preset', presetFormat('qwen3-embedding'), { pooling: 'last-token', preset: 'qwen3-embedding' }],
    [
      'plain text and a conversation, a shorter vector',
      { prompts: plain, dimensions: 7 },
      { pooling: 'last-token', dimensions: 7 },
    ],
    [
      'an embed token without reasoning',
      { prompts: { ...plain, embedToken: '<emb>' } },
      { pooling: 'embed-token' },
    ],
  ])('%s: what is read is what was saved', async (_, file, fields) => {
    const folder = await freshFolder();
    await saveRetrieverFile(folder, file);
    expect(await loadRetrieverFile(folder)).toEqual(file);
    const content = JSON.parse(await readFile(join(folder, FILE), 'utf8')) as object;
    expect(content).toEqual({ version: 2, ...file, ...fields });
  });

  test('a checkpoint keeps all of it', async () => {
    const folder = join(await freshFolder(), 'model');
    const file = { preset: 'own', prompts: plain, dimensions: 5, limits, split, matryoshka: [4, 2] };
    await saveCheckpoint(folder, makeCheckpoint(shrunk.qwen2, file));
    expect(await loadRetrieverFile(folder)).toEqual(file);
    expect(await loadCheckpoint(folder)).toMatchObject(file);
    // None is not written.
    const other = join(await freshFolder(), 'model');
    await saveCheckpoint(other, makeCheckpoint(shrunk.qwen2, { ...file, matryoshka: [] }));
    expect(await loadRetrieverFile(other)).not.toHaveProperty('matryoshka');
  });

  const good = { version: 2, prompts: plain, pooling: 'last-token' };
  test.each<[object, RegExp]>([
    [
      { ...good, pooling: 'mean' },
      /search_r3\.json: pooling: expected embed-token or last-token, found "mean"/,
    ],
    [{ ...good, pooling: undefined }, /pooling: expected embed-token or last-token, found nothing/],
    [{ ...good, poolign: 1 }, /poolign: .* Did you mean "pooling"\?/],
    [{ ...good, dimensions: 0 }, /dimensions: expected a whole number from 1, found 0/],
    [{ ...good, matryoshka: [4, 0] }, /matryoshka.*expected a whole number from 1, found 0/],
    [
      { ...good, prompts: { ...plain, embedToken: 'x' } },
      /prompts\.embedToken: .*the unknown key "embedToken"/,
    ],
    [{ ...good, prompts: { query: plain.query } }, /prompts\.document: expected object, found nothing/],
    [
      { ...good, prompts: { ...plain, query: { text: 'Q' } } },
      /prompts\.query\.text: expected text in which \{text\} occurs once, found "Q"/,
    ],
    [
      { ...good, prompts: { ...plain, query: { text: '{text} {text}' } } },
      /prompts\.query\.text: expected text in which \{text\} occurs once/,
    ],
    [
      { ...good, prompts: { ...plain, query: { sytem: 'Q', assistant: '' } } },
      /prompts\.query\.sytem: .*Did you mean "system"\?/,
    ],
    [
      { ...good, prompts: { ...plain, query: { system: 'Q' } } },
      /prompts\.query\.assistant: expected string, found nothing/,
    ],
    [
      { ...good, prompts: { ...plain, reasoning: { system: 'R' } } },
      /prompts\.reasoning: .*the unknown key "reasoning"/,
    ],
    [{ ...good, limits: { maxLenght: 5 } }, /limits\.maxLenght: .* Did you mean "maxLength"\?/],
    [{ ...good, limits: { maxLength: 0 } }, /limits\.maxLength: expected a whole number from 1, found 0/],
    [
      { ...good, version: 3 },
      /version: expected 1 or 2, found 3\. It was written by another version of search-r3/,
    ],
    [{ ...good, version: '2' }, /version: expected 1 or 2, found "2"/],
  ])('%j is refused', async (content, message) => {
    await expect(loaded(content)).rejects.toThrow(message);
  });
});

describe('version 1', () => {
  const prompts = resolvePrompts({ embedToken: '<emb>' });

  test('is read: prompts at the top, and an embed token always', async () => {
    expect(await loaded({ version: 1, ...prompts, limits, split })).toEqual({ prompts, limits, split });
  });

  test('the oldest have no version, and defaults for what is missing', async () => {
    const expected = resolvePrompts({ query: { system: 'Q' } });
    expect(await loaded({ query: { system: 'Q' } })).toEqual({ prompts: expected });
  });

  test('is written again as version 2', async () => {
    const folder = await freshFolder();
    await saveRetrieverFile(folder, await loaded({ version: 1, ...prompts, limits }));
    expect(JSON.parse(await readFile(join(folder, FILE), 'utf8'))).toEqual({
      version: 2,
      prompts,
      pooling: 'embed-token',
      limits,
    });
  });

  test.each([
    [{ query: 'x' }, /search_r3\.json: query: expected object, found "x"/],
    [{ pooling: 'last-token' }, /pooling: .*the unknown key "pooling"/],
    [{ limits: { maxNewTokens: 'all' } }, /limits\.maxNewTokens: expected number, found "all"/],
  ])('%j is refused', async (content, message) => {
    await expect(loaded({ version: 1, ...content })).rejects.toThrow(message);
  });
});
