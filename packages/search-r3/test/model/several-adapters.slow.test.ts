/** Several adapters on one base: switched without loading anything, each computing what it does by itself. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Adapter, LINEAR_KINDS, type LoraShape, saveCheckpoint } from 'search-r3/checkpoint';
import { Embedder } from 'search-r3/embed';
import { CACHE_VARIABLE, Model, type PrecisionChoice } from 'search-r3/model';
import { InputError, randomStream } from 'search-r3/run';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { tinyPolicy, WORDS } from '../decoder/tiny-policy.js';

const TEXTS = ['food in bern', WORDS.join(' '), 'tower'];
const base = tinyPolicy('several', {
  architecture: 'llama',
  hiddenSize: 32,
  headDim: 16,
  intermediateSize: 36,
});

let root: string;
const at = (name: string) => join(root, name);

function changed({ weights }: Pick<Adapter, 'weights'>, seed: number): void {
  for (const [name, { data }] of weights) {
    const random = randomStream(seed, name);
    for (let i = 0; i < data.length; i++) data[i] = data[i]! + 0.3 * random.normal();
  }
}

async function saved(name: string, shape: Omit<LoraShape, 'rsLora'>, seed: number): Promise<void> {
  const adapter = { ...shape, rsLora: seed % 2 === 0, seed };
  await using model = await Model.loadTrainable(at('base'), { precision: 'f32', adapter });
  changed(model.adapter!, seed);
  model.updated();
  await model.save(at(name));
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'several-'));
  await saveCheckpoint(at('base'), base);
  await saved('all', { rank: 3, alpha: 5, targets: LINEAR_KINDS }, 1);
  await saved('few', { rank: 2, alpha: 9, targets: ['q_proj', 'v_proj'] }, 2);
  await saved('others', { rank: 4, alpha: 4, targets: ['up_proj', 'down_proj'] }, 3);
});
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(() => vi.stubEnv(CACHE_VARIABLE, at('cache')));
afterEach(() => vi.unstubAllEnvs());

const vectorsOf = async (model: Model): Promise<number[][]> => {
  const embedder = new Embedder(model);
  const direct = await embedder.embed(TEXTS);
  const reasoned = await embedder.embed(TEXTS, { reasoning: true, maxNewTokens: 6 });
  return [...direct, ...reasoned].map(({ vector }) => [...vector]);
};

const largestDifference = (a: readonly number[][], b: readonly number[][]) =>
  Math.max(...a.flatMap((row, i) => row.map((value, j) => Math.abs(value - b[i]![j]!))));

/** A folder by itself. */
const alone = async (name: string, precision: PrecisionChoice = 'f32') => {
  await using model = await Model.load(at(name), { precision });
  return { vectors: await vectorsOf(model), fingerprint: await model.fingerprint() };
};

/** Another folder like `few`, with changes to one of its files. */
async function copied(name: string, file: string, change: (json: Record<string, unknown>) => object) {
  await cp(at('few'), at(name), { recursive: true });
  const path = join(at(name), file);
  const json = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  await writeFile(path, JSON.stringify(change(json)));
  return at(name);
}

test('each gives the vectors and the fingerprint of its folder, in the same sessions', async () => {
  await using model = await Model.load(at('all'), { precision: 'f32' });
  expect(model.adapterNames).toEqual(['default']);
  const first = await vectorsOf(model);
  expect(first).toEqual((await alone('all')).vectors);
  const sessions = [await model.encoder(), await model.generator()];
  await model.addAdapter('few', at('few'));
  await model.addAdapter('others', at('others'));
  expect(model.adapterNames).toEqual(['default', 'few', 'others']);
  // Adding alone changes nothing.
  expect(await vectorsOf(model)).toEqual(first);
  let { version } = model;
  for (const [name, folder] of [
    ['few', 'few'],
    [undefined, 'base'],
    ['others', 'others'],
    ['default', 'all'],
  ] as const) {
    await model.use(name);
    expect(model.version).toBeGreaterThan(version);
    version = model.version;
    const { vectors, fingerprint } = await alone(folder);
    expect(largestDifference(await vectorsOf(model), vectors), folder).toBeLessThan(1e-6);
    expect(await model.fingerprint()).toEqual(fingerprint);
  }
  expect(await vectorsOf(model)).toEqual(first);
  expect([await model.encoder(), await model.generator()]).toEqual(sessions);
  expect(largestDifference(first, (await alone('few')).vectors)).toBeGreaterThan(0.05);
});

test('a base alone takes adapters, whose layers its sessions did not have', async () => {
  await using model = await Model.load(at('base'), { precision: 'f32' });
  expect(await vectorsOf(model)).toEqual((await alone('base')).vectors);
  for (const name of ['few', 'others']) {
    await model.addAdapter(name, at(name));
    await model.use(name);
    expect(largestDifference(await vectorsOf(model), (await alone(name)).vectors), name).toBeLessThan(1e-6);
  }
  await model.use(undefined);
  expect(largestDifference(await vectorsOf(model), (await alone('base')).vectors)).toBeLessThan(1e-6);
});

test('the one in use is trained and saved', async () => {
  await using model = await Model.load(at('all'), { precision: 'f32' });
  await model.addAdapter('few', at('few'));
  await model.use('few');
  const before = await vectorsOf(model);
  const { trained } = model.trainable({ tokenEmbeddings: 'frozen' });
  expect([...trained.keys()].some((name) => name.includes('mlp'))).toBe(false);
  changed({ weights: trained }, 9);
  model.updated();
  const after = await vectorsOf(model);
  expect(largestDifference(after, before)).toBeGreaterThan(0.05);
  await model.save(at('trained'));
  expect(largestDifference((await alone('trained')).vectors, after)).toBeLessThan(1e-6);
  await model.use('default');
  expect(await vectorsOf(model)).toEqual((await alone('all')).vectors);
});

/** Cosine of two lists of vectors. */
const cosine = (a: readonly number[], b: readonly number[]) => {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

test.each(['int8', 'int8-block', 'int4'] as const)('so they do on a base in %s', async (precision) => {
  await using model = await Model.load(at('few'), { precision });
  await model.addAdapter('others', at('others'));
  const direct = (vectors: readonly number[][]) => vectors.slice(0, TEXTS.length);
  const found = new Map<string, readonly number[][]>();
  for (const [name, folder] of [
    ['others', 'others'],
    ['default', 'few'],
    [undefined, 'base'],
  ] as const) {
    await model.use(name);
    found.set(folder, direct(await vectorsOf(model)));
    const { vectors, fingerprint } = await alone(folder, precision);
    expect(await model.fingerprint()).toEqual(fingerprint);
    // Layers beside adapters are computed in another order, which moves values on the edge between two steps; and with
    // an adapter the token's row is not rounded.
    for (const [i, vector] of found.get(folder)!.entries()) {
      expect(cosine(vector, vectors[i]!), `${folder} ${i}`).toBeGreaterThan(0.9995);
    }
  }
  const [few, others, plain] = ['few', 'others', 'base'].map((folder) => found.get(folder)!.flat());
  expect(cosine(few!, others!)).toBeLessThan(0.97);
  expect(cosine(few!, plain!)).toBeLessThan(0.97);
});

test('what does not go together is refused', async () => {
  await using model = await Model.load(at('few'), { precision: 'f32' });
  await expect(model.use('missing')).rejects.toThrow(/expected default, found missing/);
  await expect(model.addAdapter('default', at('all'))).rejects.toThrow(/default, which is taken/);
  const prompts = await copied('prompts', 'search_r3.json', (json) => ({ ...json, dimensions: 7 }));
  await expect(model.addAdapter('prompts', prompts)).rejects.toThrow(/prompts: expected those of the model/);
  const token = await copied('token', 'adapter_config.json', (json) => ({
    ...json,
    trainable_token_indices: [3],
  }));
  await expect(model.addAdapter('token', token)).rejects.toThrow(
    `trainable_token_indices: expected ${base.embedId}, as in the others, found 3`,
  );
  const rank = await copied('rank', 'adapter_config.json', (json) => ({ ...json, r: 7 }));
  await expect(model.addAdapter('rank', rank)).rejects.toThrow(InputError);
  await using inMemory = Model.of(base);
  await expect(inMemory.addAdapter('few', at('few'))).rejects.toThrow(/a base in files, found one in memory/);
  await expect(inMemory.use('few')).rejects.toThrow(/an adapter, of which there is none, found few/);
  expect(model.adapterNames).toEqual(['default']);
});
