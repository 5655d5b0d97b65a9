/**
 * Adapters on a frozen base. The oracle is the merged model, whose weights W + scale B A are computed in float64: it must
 * compute the same, and the chain rule gives the gradients of A and B from those of its weights.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Adapter,
  LINEAR_KINDS,
  type LoraShape,
  loraA,
  loraB,
  loraScale,
  mergeAdapter,
  type NewConfigOptions,
  saveCheckpoint,
} from 'search-r3/checkpoint';
import { fullTraining } from 'search-r3/decoder';
import { Embedder } from 'search-r3/embed';
import { CACHE_VARIABLE, Model, type Policy } from 'search-r3/model';
import { InputError, randomStream } from 'search-r3/run';
import { type EngineOptions, GradientEngine, type StepRequest } from 'search-r3/train';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { tinyPolicy, WORDS } from '../decoder/tiny-policy.js';

const TEXTS = ['food in bern', WORDS.join(' '), 'tower', 'the old river of the new ada'];
const SHAPE: LoraShape = { rank: 3, alpha: 5, rsLora: false, targets: LINEAR_KINDS };
const OBJECTIVE: EngineOptions = {
  objective: { crossEntropy: {}, infoNce: { temperature: 0.5 }, triplet: { margin: 0.2 } },
};

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'adapter-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(() => vi.stubEnv(CACHE_VARIABLE, join(root, 'cache')));
afterEach(() => vi.unstubAllEnvs());

/** Gives an adapter's B and token rows values that matter. */
function trained({ weights }: Pick<Adapter, 'weights'>, seed: number, size = 0.3): void {
  for (const [name, { data }] of weights) {
    if (name.includes('lora_A')) continue;
    const random = randomStream(seed, name);
    for (let i = 0; i < data.length; i++) data[i] = data[i]! + size * random.normal();
  }
}

const vectorsOf = async (model: Model, reasoning = false) =>
  (await new Embedder(model).embed(TEXTS, reasoning ? { reasoning, maxNewTokens: 6 } : {})).map(
    ({ vector }) => [...vector],
  );

const largestDifference = (a: readonly number[][], b: readonly number[][]) =>
  Math.max(...a.flatMap((row, i) => row.map((value, j) => Math.abs(value - b[i]![j]!))));

const cosine = (a: readonly number[], b: readonly number[]) => {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

const minus = (a: readonly number[][], b: readonly number[][]) =>
  a.flatMap((row, i) => row.map((value, j) => value - b[i]![j]!));

const FORMS: readonly (readonly [string, Partial<NewConfigOptions>])[] = [
  [
    'llama, heads of 16, tied',
    { architecture: 'llama', hiddenSize: 32, headDim: 16, tieWordEmbeddings: true },
  ],
  ['qwen2, heads of 8, untied, biases', { architecture: 'qwen2', hiddenSize: 24 }],
  ['qwen3, norms of heads', { architecture: 'qwen3', hiddenSize: 32, headDim: 16 }],
];

describe.each(FORMS)('%s', (label, form) => {
  const base = tinyPolicy(label, { intermediateSize: 36, ...form });
  let folder: string;
  beforeAll(async () => {
    folder = join(root, label.replaceAll(/\W/g, '-'));
    await saveCheckpoint(folder, base);
  });
  const load = async (precision: 'f32' | 'int8', shape = SHAPE) => {
    const model = await Model.loadTrainable(folder, { precision, adapter: { ...shape, seed: 4 } });
    return { model, adapter: model.adapter! };
  };
  const merged = (adapter: Adapter): Policy => ({ ...base, weights: mergeAdapter(base.weights, adapter) });

  test('a new adapter changes nothing; a trained one computes what the merged model does', async () => {
    const { model, adapter } = await load('f32');
    await using _ = model;
    await using plain = Model.of(base);
    expect(await vectorsOf(model)).toEqual(await vectorsOf(plain));
    trained(adapter, 1);
    model.updated();
    await using whole = Model.of(merged(adapter));
    const found = await vectorsOf(model);
    expect(largestDifference(found, await vectorsOf(whole))).toBeLessThan(1e-5);
    expect(largestDifference(found, await vectorsOf(plain))).toBeGreaterThan(0.05);
    // Reasoning is generated with it too, and read at the token whose row it has.
    expect(largestDifference(await vectorsOf(model, true), await vectorsOf(whole, true))).toBeLessThan(1e-5);
  });

  test.each([
    ['attention alone', ['q_proj', 'v_proj'] as const],
    ['what smoothing moves', ['up_proj', 'down_proj'] as const],
    ['all', LINEAR_KINDS],
  ])('on an int8 base it changes vectors as it does in float32: %s', async (_, targets) => {
    const { model, adapter } = await load('int8', { ...SHAPE, targets });
    await using __ = model;
    expect(model.precision).toBe('int8');
    const before = await vectorsOf(model);
    trained(adapter, 2);
    model.updated();
    const change = minus(await vectorsOf(model), before);
    await using plain = Model.of(base);
    await using whole = Model.of(merged(adapter));
    const expected = minus(await vectorsOf(whole), await vectorsOf(plain));
    expect(cosine(change, expected)).toBeGreaterThan(0.98);
    expect(Math.hypot(...change) / Math.hypot(...expected)).toBeCloseTo(1, 1);
  });

  test('dropout is for training alone', async () => {
    const vectors = [];
    for (const dropout of [undefined, 0.5]) {
      const { model, adapter } = await load('f32', { ...SHAPE, dropout });
      await using _ = model;
      trained(adapter, 1);
      model.updated();
      vectors.push(await vectorsOf(model));
      if (dropout !== undefined)
        expect([...(model.trainable({ tokenEmbeddings: 'frozen' }).dropout ?? [])]).toHaveLength(
          7 * base.config.layers,
        );
    }
    expect(vectors[1]).toEqual(vectors[0]);
  });

  /** Two sequences that speak, and three that embed. */
  const request: StepRequest = {
    sequences: [
      {
        ids: [5, 3, 8, 1, base.embedId],
        embed: 4,
        labels: [0, 1, 3].map((position) => ({ position, weight: 0.4 })),
      },
      { ids: [2, 9, base.embedId], embed: 2, labels: [] },
      { ids: [7, 7, 4, base.embedId], embed: 3, labels: [{ position: 2, weight: 0.7 }] },
    ],
    contrastive: {
      anchors: [
        { sequence: 0, positive: 0, negative: 1, infoNceWeight: 1, tripletWeight: 0.5, falseNegatives: [] },
      ],
      documents: [1, 2],
    },
  };

  test('gradients follow from those of the merged weights by the chain rule', async () => {
    const { model, adapter } = await load('f32');
    await using _ = model;
    trained(adapter, 3);
    const engine = model.trainer(model.trainable({ tokenEmbeddings: 'frozen' }), OBJECTIVE);
    const { loss, gradients } = await engine.compute(request);
    const whole = merged(adapter);
    const full = new GradientEngine(whole.config, fullTraining(whole, whole.embedId), OBJECTIVE);
    const expected = await full.compute(request);
    expect(loss).toBeCloseTo(expected.loss, 5);
    const scale = loraScale(adapter);
    const checked = new Set<string>();
    const near = (name: string, found: Float32Array, wanted: readonly number[]) => {
      checked.add(name);
      const size = Math.hypot(...wanted);
      expect(size, name).toBeGreaterThan(0);
      expect(Math.hypot(...wanted.map((value, i) => value - found[i]!)) / size, name).toBeLessThan(2e-4);
    };
    for (const [name, { shape }] of whole.weights) {
      const linear = name.replace(/\.weight$/, '');
      const [a, b] = [adapter.weights.get(loraA(linear))?.data, adapter.weights.get(loraB(linear))?.data];
      if (a === undefined || b === undefined) continue;
      const [outputs, inputs] = shape as [number, number];
      const dw = expected.gradients.get(name)!;
      const { rank } = adapter;
      const sumOver = (count: number, term: (i: number) => number) =>
        Array.from({ length: count }, (_, i) => term(i)).reduce((x, y) => x + y, 0);
      near(
        loraA(linear),
        gradients.get(loraA(linear))!,
        Array.from({ length: rank * inputs }, (_, at) => {
          const [r, i] = [Math.floor(at / inputs), at % inputs];
          return scale * sumOver(outputs, (o) => b[o * rank + r]! * dw[o * inputs + i]!);
        }),
      );
      near(
        loraB(linear),
        gradients.get(loraB(linear))!,
        Array.from({ length: outputs * rank }, (_, at) => {
          const [o, r] = [Math.floor(at / rank), at % rank];
          return scale * sumOver(inputs, (i) => dw[o * inputs + i]! * a[r * inputs + i]!);
        }),
      );
    }
    for (const [name, gradient] of expected.gradients) {
      if (name.endsWith('[embed]')) near(name, gradients.get(name)!, [...gradient]);
    }
    expect([...checked].sort()).toEqual([...gradients.keys()].sort());
    await full.dispose();
    await engine.dispose();
  });

  test('the base of a KL term is the model without its adapter', async () => {
    const { model, adapter } = await load('f32');
    await using _ = model;
    trained(adapter, 9);
    const vocabulary = base.embedId;
    const sequences = request.sequences.map(({ ids }) => ({
      ids,
      labels: [{ position: 1, weight: 0, klWeight: 0.6 }],
    }));
    const own = model.trainer(model.trainable({ tokenEmbeddings: 'frozen' }), {
      objective: { kl: { vocabulary } },
    });
    const whole = merged(adapter);
    const other = new GradientEngine(whole.config, fullTraining(whole), {
      objective: { kl: { vocabulary, base } },
    });
    const [found, expected] = [await own.compute({ sequences }), await other.compute({ sequences })];
    expect(expected.loss).toBeGreaterThan(0.01);
    expect(found.loss).toBeCloseTo(expected.loss, 5);
    await own.dispose();
    await other.dispose();
  });

  test('gradients on an int8 base point where those in float32 do, in pieces too', async () => {
    const exact = await load('f32');
    const rounded = await load('int8');
    const all: number[][] = [];
    for (const [{ model, adapter }, maxTokens] of [
      [exact, 8192],
      [rounded, 8192],
      [rounded, 5],
    ] as const) {
      if (maxTokens === 8192) trained(adapter, 5);
      const engine = model.trainer(model.trainable({ tokenEmbeddings: 'frozen' }), {
        ...OBJECTIVE,
        maxTokens,
      });
      const { gradients } = await engine.compute(request);
      all.push([...gradients].flatMap(([, values]) => [...values]));
      await engine.dispose();
    }
    expect(cosine(all[0]!, all[1]!)).toBeGreaterThan(0.95);
    // The gradient cache gives the numbers of the whole batch.
    expect(Math.hypot(...minus([all[1]!], [all[2]!])) / Math.hypot(...all[1]!)).toBeLessThan(1e-4);
    await exact.model.dispose();
    await rounded.model.dispose();
  });

  test('saved, loaded and saved again it is the same; its files are told apart by the fingerprint', async () => {
    const { model, adapter } = await load('f32', { ...SHAPE, rsLora: true });
    await using _ = model;
    trained(adapter, 6);
    model.updated();
    model.remember({ limits: { maxLength: 40, maxNewTokens: 7 }, matryoshka: [4] });
    const saved = `${folder}-adapter`;
    await model.save(saved, { overwrite: true });
    await using loaded = await Model.load(saved, { precision: 'f32' });
    expect(loaded.limits).toEqual({ maxLength: 40, maxNewTokens: 7 });
    expect(loaded.matryoshka).toEqual([4]);
    expect(model.frozen().matryoshka).toEqual([4]);
    expect(loaded.adapter).toMatchObject({ rank: 3, alpha: 5, rsLora: true, tokenId: base.embedId });
    for (const [name, { data }] of adapter.weights) {
      expect(loaded.adapter?.weights.get(name)?.data, name).toEqual(data);
    }
    expect(await vectorsOf(loaded)).toEqual(await vectorsOf(model));
    expect(await loaded.fingerprint()).toEqual(await model.fingerprint());
    await using plain = await Model.load(folder, { precision: 'f32' });
    const { adapter: own, ...same } = await plain.fingerprint();
    expect(own).toBe('none');
    expect(await loaded.fingerprint()).toMatchObject(same);
    expect((await loaded.fingerprint()).adapter).not.toBe(own);
  });

  test('a frozen model stays as it was, on the same weights', async () => {
    const { model, adapter } = await load('f32');
    await using _ = model;
    trained(adapter, 7);
    model.updated();
    await using before = model.frozen();
    const expected = await vectorsOf(model);
    trained(adapter, 8);
    model.updated();
    expect(await vectorsOf(before)).toEqual(expected);
    expect(await vectorsOf(model)).not.toEqual(expected);
  });
});

test('without an adapter nothing in files can be trained', async () => {
  const folder = join(root, 'plain');
  await saveCheckpoint(folder, tinyPolicy('plain'));
  await expect(Model.loadTrainable(folder, {})).rejects.toThrow(InputError);
});
