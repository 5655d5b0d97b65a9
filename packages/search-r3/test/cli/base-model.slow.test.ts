/** A base model that was never trained here, through the commands that use models. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { directPrompt, saveCheckpoint } from 'search-r3/checkpoint';
import { Model, makeEmbeddingModel } from 'search-r3/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { relativeError } from '../reference/finite-differences.js';
import { cli, cliJson, tinyBase, tinyCollection, writeCollection } from './tiny.js';

const TEXT = 'which trade is there in cavel';
const OWN = `pooling: last-token
dimensions: 9
prompts:
  query: { text: "of {text}" }
  document: { text: "{text}" }
`;
let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-base-'));
  await writeCollection(join(cwd, 'data'));
  await saveCheckpoint(join(cwd, 'base'), tinyBase());
  await writeFile(join(cwd, 'own.yaml'), OWN);
});
afterAll(() => rm(cwd, { recursive: true }));

describe('embed', () => {
  const vectorOf = (stdout: string) => (JSON.parse(stdout) as { vector: number[] }).vector;

  test('the vector at the last token of the preset topics, and why', async () => {
    const { status, stdout, stderr } = await cli(['embed', '--model', 'base', TEXT], { cwd });
    expect(status).toBe(0);
    expect(stderr).toMatch(/^base: Prompts: the preset topics, because no file of the folder says/m);
    await using model = Model.of(makeEmbeddingModel(tinyBase()));
    const encoder = await model.encoder();
    const { ids } = await directPrompt(model.tokenizer, model.prompts, TEXT, 'query');
    expect(relativeError(vectorOf(stdout), await encoder.encode([ids]))).toBeLessThan(1e-5);
  });

  test('with a file of prompts, by its flag or as a setting', async () => {
    const flag = await cli(['embed', '--model', 'base', '--prompts', 'own.yaml', TEXT], { cwd });
    expect(vectorOf(flag.stdout)).toHaveLength(9);
    const set = await cli(['embed', '--model', 'base', '--set', 'embed.prompts=own.yaml', TEXT], { cwd });
    expect(set.stdout).toBe(flag.stdout);
  });

  test('at an embed token that it gets, with a note that its row is untrained; reasoning too', async () => {
    const argv = [
      'embed',
      '--model',
      'base',
      '--prompts',
      'search-r3',
      '--set',
      'embed.maxNewTokens=4',
      'wool',
    ];
    const { status, stdout, stderr } = await cli([...argv, '--set', 'embed.maxLength=60'], { cwd });
    expect({ status, length: vectorOf(stdout).length }).toEqual({ status: 0, length: 32 });
    expect(stderr).toMatch(
      /^base: The tokenizer has no <\|embed_token\|>: it is added, with an untrained row/m,
    );
  });
});

test('index and search: the document of the same words first, without reasoning', async () => {
  const index = await cli(['index', '--model', 'base', '--data', 'data', '--out', 'index'], { cwd });
  expect(index.status).toBe(0);
  const { title, text } = tinyCollection().corpus[7]!;
  const query = `${title} ${text}`;
  type Found = { reasoning: string | null; results: { id: string; score: number }[] };
  const [found] = await cliJson<Found[]>(['search', '-m', 'base', '-i', 'index', query, '-k', '1'], cwd);
  expect(found).toMatchObject({ reasoning: null, results: [{ id: 'd7' }] });
  expect(found?.results[0]?.score).toBeCloseTo(1, 5);
  const inspected = await cliJson<{ fingerprint: Record<string, string> }>(['inspect', 'index'], cwd);
  expect(inspected.fingerprint).toMatchObject({ pooling: 'last-token', dimensions: '32', precision: 'f32' });
  const other = await cli(['search', '-m', 'base', '-i', 'index', '--prompts', 'own.yaml', query], { cwd });
  expect(other).toMatchObject({ status: 2, stdout: '' });
  expect(other.stderr).toMatch(
    /^error: index: fingerprint\.dimensions: expected 9, as in the model .*found 32\./m,
  );
});

describe('evaluate', () => {
  type Summary = { systems: { system: string }[] };

  test('every system that needs no reasoning', async () => {
    const argv = ['evaluate', '--model', 'base', '--data', 'data'];
    const { systems } = await cliJson<Summary>(argv, cwd);
    expect(systems.map(({ system }) => system)).toEqual(['bm25', 'direct', 'hybrid']);
  });

  test('with a prompt for reasoning, reasoning too', async () => {
    const reasoning =
      'pooling: embed-token\nprompts:\n  query: { text: "{text}" }\n  document: { text: "{text}" }\n  reasoning: { text: "{text} of" }\n';
    await writeFile(join(cwd, 'reasoning.yaml'), reasoning);
    const argv = ['evaluate', '--model', 'base', '--data', 'data', '--prompts', 'reasoning.yaml'];
    const { systems } = await cliJson<Summary>([...argv, '--max-new-tokens', '3'], cwd);
    expect(systems.map(({ system }) => system)).toContain('reasoned');
  });
});

describe('before weights are read, which here are none', () => {
  beforeAll(async () => {
    const { cp } = await import('node:fs/promises');
    for (const name of ['mean', 'unreadable']) {
      await cp(join(cwd, 'base'), join(cwd, name), { recursive: true });
      await writeFile(join(cwd, name, 'model.safetensors'), 'not a header');
    }
    await mkdir(join(cwd, 'mean/1_Pooling'));
    await writeFile(join(cwd, 'mean/1_Pooling/config.json'), '{"pooling_mode_mean_tokens": true}');
    await cp(join(cwd, 'base'), join(cwd, 'indexed'), { recursive: true });
    await cli(['index', '--model', 'indexed', '--data', 'data', '--out', 'some'], { cwd });
  });

  const REASONING =
    /^error: unreadable: prompts\.reasoning: expected a prompt for reasoning, found none in the preset topics/;
  test.each<[string[], RegExp]>([
    [
      ['embed', '-m', 'mean', 'x'],
      /^error: mean\/1_Pooling\/config\.json: pooling_mode_\*: expected lasttoken, found mean/,
    ],
    [['index', '-m', 'mean', '--data', 'data', '--out', 'no'], /1_Pooling\/config\.json: /],
    [['evaluate', '-m', 'mean', '--data', 'data'], /1_Pooling\/config\.json: /],
    [['embed', '-m', 'unreadable', '--reasoning', 'x'], REASONING],
    [['search', '-m', 'unreadable', '-i', 'some', '--reasoning', 'x'], REASONING],
    [['evaluate', '-m', 'unreadable', '--data', 'data', '--systems', 'reasoned'], REASONING],
    [['rl', '-m', 'unreadable', '--data', 'data', '--out', 'no', '--set', 'rl.maxNewTokens=9'], REASONING],
  ])('%j', async (argv, message) => {
    const { status, stdout, stderr } = await cli(argv, { cwd });
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(message);
  });
});
