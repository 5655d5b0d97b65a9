/** Loading in a precision: what is chosen, what is kept in the cache, and what is refused. */
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { saveCheckpoint } from 'search-r3/checkpoint';
import type { Precision } from 'search-r3/decoder';
import { Embedder } from 'search-r3/embed';
import { CACHE_VARIABLE, Model } from 'search-r3/model';
import { InputError } from 'search-r3/run';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { tinyBase, tinyPolicy, WORDS } from '../decoder/tiny-policy.js';

const policy = tinyPolicy('loading', { hiddenSize: 64, headDim: 16, intermediateSize: 96 });
const TEXTS = ['food in bern', WORDS.join(' '), 'tower', 'the old river of the new ada'];

let root: string;
let folder: string;
let cache: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'loading-'));
  folder = join(root, 'model');
  cache = join(root, 'cache');
  vi.stubEnv(CACHE_VARIABLE, cache);
  await saveCheckpoint(folder, policy);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(root, { recursive: true, force: true });
});

const vectorsOf = async (model: Model) =>
  (await new Embedder(model).embed(TEXTS)).map(({ vector }) => Array.from(vector));

const cosine = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);

describe.each<[Precision, number]>([
  ['int8', 0.99],
  ['int8-block', 0.99],
  ['int4', 0.8],
])('%s', (precision, least) => {
  test('is quantised once, and embeds near f32', async () => {
    await using exact = Model.of(policy);
    const expected = await vectorsOf(exact);
    const layers: number[] = [];
    await using model = await Model.load(folder, { precision, onProgress: (done) => layers.push(done) });
    expect(model.precision).toBe(precision);
    // Two layers, and the head.
    expect(layers).toEqual([1, 2, 3]);
    const found = await vectorsOf(model);
    for (const [i, vector] of found.entries()) {
      const near = cosine(vector, expected[i] as number[]);
      expect(near).toBeGreaterThan(least);
      // Quantised indeed.
      expect(vector).not.toEqual(expected[i]);
    }
    const files = await readdir(cache);
    expect(files.sort()).toEqual([
      expect.stringMatching(new RegExp(`^${precision}-[0-9a-f]{16}\\.safetensors$`)),
      expect.stringMatching(/\.safetensors\.json$/),
    ]);
    const { mtimeMs } = await stat(join(cache, files[0] as string));
    await using again = await Model.load(folder, { precision, onProgress: () => layers.push(-1) });
    expect(await vectorsOf(again)).toEqual(found);
    expect(layers).not.toContain(-1);
    expect((await stat(join(cache, files[0] as string))).mtimeMs).toBe(mtimeMs);
    // The weights are the same, so the difference is worth a warning only.
    const [ours, theirs] = [await model.fingerprint(), await (await Model.load(folder)).fingerprint()];
    expect({ ...ours, precision: 'f32' }).toEqual(theirs);
    expect(ours.precision).toBe(precision);
  });
});

test('a small model computes in f32 unless it is told otherwise, with the bits of training', async () => {
  await using model = await Model.load(folder);
  await using exact = Model.of(policy);
  expect(model.precision).toBe('f32');
  expect(await vectorsOf(model)).toEqual(await vectorsOf(exact));
});

test('other weights in the same place are quantised anew', async () => {
  await using first = await Model.load(folder, { precision: 'int8' });
  const before = await vectorsOf(first);
  const other = tinyPolicy('other', { hiddenSize: 64, headDim: 16, intermediateSize: 96 });
  await saveCheckpoint(folder, other, { overwrite: true });
  await using second = await Model.load(folder, { precision: 'int8' });
  expect(await vectorsOf(second)).not.toEqual(before);
  expect((await readdir(cache)).length).toBe(4);
});

test('beside the model by default', async () => {
  vi.stubEnv(CACHE_VARIABLE, '');
  await using model = await Model.load(folder, { precision: 'int8' });
  expect(model.precision).toBe('int8');
  expect((await readdir(join(folder, '.search-r3'))).length).toBe(2);
});

test('a cache that is no folder is named, with what to do', async () => {
  await writeFile(cache, '');
  const loading = Model.load(folder, { precision: 'int8' });
  await expect(loading).rejects.toThrow(InputError);
  await expect(loading).rejects.toThrow(`Set ${CACHE_VARIABLE} to another folder`);
});

test.each([true, false])('a base gets rows for its new token, tied: %s', async (tieWordEmbeddings) => {
  const shape = { hiddenSize: 64, headDim: 16, intermediateSize: 96, tieWordEmbeddings };
  const base = tinyBase('base', shape);
  await saveCheckpoint(folder, base, { overwrite: true });
  const prompt = { system: 'represent', assistant: 'the embedding is' };
  const prompts = {
    pooling: 'embed-token',
    prompts: { query: prompt, document: prompt, embedToken: '<|new|>' },
  } as const;
  await using exact = await Model.load(folder, { precision: 'f32', prompts });
  await using model = await Model.load(folder, { precision: 'int8', prompts });
  expect(model.config.vocabSize).toBe(base.config.vocabSize + 1);
  const [expected, found] = [await vectorsOf(exact), await vectorsOf(model)];
  for (const [i, vector] of found.entries()) {
    expect(cosine(vector, expected[i] as number[])).toBeGreaterThan(0.99);
  }
});

test('a weight that is not finite is named, in every precision', async () => {
  const broken = tinyPolicy('broken', { hiddenSize: 64, headDim: 16, intermediateSize: 96 });
  (broken.weights.get('model.layers.1.mlp.up_proj.weight') as { data: Float32Array }).data[7] = Number.NaN;
  await saveCheckpoint(join(root, 'broken'), broken);
  for (const precision of ['f32', 'int8'] as const) {
    await expect(Model.load(join(root, 'broken'), { precision })).rejects.toThrow(
      /model\.layers\.1\.mlp\.up_proj\.weight: expected finite weights, found NaN/,
    );
  }
  expect(await readdir(cache).catch(() => [])).toEqual([]);
});
