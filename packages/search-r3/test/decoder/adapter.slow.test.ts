/**
 * Adapters on quantised bases, against a float64 decoder with what the file holds and pairs moved to where smoothing has
 * moved its weights: A diag(f) for inputs that were divided by f, diag(1 / f) B for outputs that were.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emit, type Feeds, floats, Graph, i64, Session } from 'onnx-grad';
import {
  type Adapter,
  EMBEDDING_NAME,
  HEAD_NAME,
  LINEAR_KINDS,
  type LinearKind,
  loraA,
  loraB,
  loraScale,
  openSafetensors,
} from 'search-r3/checkpoint';
import {
  adapterFeeds,
  adapterTraining,
  attendPrompts,
  attendSequences,
  type DecoderWeights,
  decoder,
  type FrozenWeights,
  inferenceWeights,
  int8IsExact,
  newAdapter,
  readTokenRows,
  ropeInputs,
  ropeTables,
  weightsInFiles,
  writeQuantized,
} from 'search-r3/decoder';
import { randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  asParameters,
  type DecoderConfig,
  decoder as referenceDecoder,
  type Weight,
} from '../reference/decoder.js';
import { relativeError } from '../reference/finite-differences.js';
import {
  dequantised,
  outlierModel,
  placesOf,
  QUANTIZED,
  QUANTIZED_CONFIGS,
  type Quantized,
  quantisedRows,
  sourceOf,
} from './quantized.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'adapters-'));
});
afterAll(() => rm(folder, { recursive: true }));

const TOKEN = 11;
const random = randomStream(51, 'adapters');
const TEXTS = [9, 4, 13, 1, 6].map((length) =>
  Array.from({ length }, (_, i) => (i === 2 ? TOKEN : 12 + random.integer(35))),
);

/** Kernels that saturate give other results. */
const exact = await int8IsExact();

const TARGETS: readonly (readonly [string, readonly LinearKind[]])[] = [
  ['all', LINEAR_KINDS],
  ['some of what is one product, and the outputs that were divided', ['k_proj', 'o_proj', 'up_proj']],
  ['only what reads divided inputs', ['q_proj', 'v_proj', 'gate_proj', 'down_proj']],
];

/** What smoothing divided by, in the order [inputs, outputs]; undefined: nothing. */
const FACTORS: Record<LinearKind, readonly [string | undefined, string | undefined]> = {
  q_proj: ['input_layernorm', undefined],
  k_proj: ['input_layernorm', undefined],
  v_proj: ['input_layernorm', undefined],
  o_proj: [undefined, undefined],
  gate_proj: ['post_attention_layernorm', undefined],
  up_proj: ['post_attention_layernorm', 'mlp.down_proj'],
  down_proj: ['mlp.down_proj', undefined],
};

/** Pairs and rows of a token that are large enough to matter. */
function someAdapter(base: FrozenWeights, targets: readonly LinearKind[], rows: Adapter['weights']): Adapter {
  const shape = { rank: 5, alpha: 7, rsLora: true, targets };
  const adapter = newAdapter(base.config, shape, { seed: 3, token: { id: TOKEN, rows } });
  for (const [name, { data }] of adapter.weights) {
    if (name.includes('lora_A')) continue;
    const normal = randomStream(52, name);
    for (let i = 0; i < data.length; i++) data[i] = data[i]! + 0.1 * normal.normal();
  }
  return adapter;
}

/** The weights of a quantised file in float64, with those of an adapter where the file's are. */
async function withAdapter(
  path: string,
  config: DecoderConfig,
  precision: Quantized,
  adapter: Adapter,
): Promise<Map<string, Weight>> {
  const weights = new Map(await dequantised(path, config, precision));
  const file = await openSafetensors(path);
  const factors = async (layer: string, of: string | undefined) =>
    of === undefined ? undefined : (await file.read(`${layer}.${of}.smoothing`)).data;
  for (const [name, { shape, data }] of adapter.weights) {
    const [, layer, kind, part] = /^(model\.layers\.\d+)\..*?\.?(\w+_proj)\.lora_([AB])/.exec(name) ?? [];
    if (layer === undefined) continue;
    const [inputs, outputs] = FACTORS[kind as LinearKind];
    const width = shape[1] as number;
    const by = await factors(layer, part === 'A' ? inputs : outputs);
    const moved = Float64Array.from(data, (value, i) => {
      if (by === undefined) return value;
      return part === 'A' ? value * by[i % width]! : value / by[Math.floor(i / width)]!;
    });
    weights.set(name, { shape, data: moved });
  }
  await file.close();
  const row = adapter.weights.get(`${EMBEDDING_NAME}[embed]`);
  const { shape, data } = weights.get(EMBEDDING_NAME)!;
  const table = Float64Array.from(data);
  if (row !== undefined) table.set(row.data, TOKEN * config.hiddenSize);
  weights.set(EMBEDDING_NAME, { shape, data: table });
  return weights;
}

type Attends = typeof attendPrompts;

/** Hidden states and logits of each text. */
async function outputsOf(
  declare: (graph: Graph) => DecoderWeights,
  bound: Feeds,
  { config }: Pick<FrozenWeights, 'config'>,
  attends: Attends,
): Promise<{ hidden: Float32Array; logits: Float32Array }[]> {
  const graph = new Graph();
  const ids = graph.input('ids', 'int64', ['batch', 'length']);
  const weights = declare(graph);
  const attend = attends(config, ids, ropeInputs(graph, config));
  const hidden = decoder({ config, weights, ids, attend });
  graph.output('hidden', hidden);
  graph.output('logits', weights.logits(hidden));
  const session = await Session.create(emit(graph));
  session.bind(bound);
  const found: { hidden: Float32Array; logits: Float32Array }[] = [];
  for (const text of TEXTS) {
    const { length } = text;
    const feeds: Feeds = {
      ids: i64(text, [1, length]),
      last_index: { dtype: 'int32', shape: [1], data: Int32Array.of(length - 1) },
      total: { dtype: 'int32', shape: [], data: Int32Array.of(length) },
      ...ropeTables(config, length),
    };
    const { inputs } = session.program;
    const run = await session.run(
      Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name))),
    );
    found.push({ hidden: floats(run.hidden), logits: floats(run.logits) });
  }
  await session.dispose();
  return found;
}

/**
 * Errors of rows [rows, width]. A value on the edge between two steps may fall to either side, which then changes a little
 * at the later tokens of its text: a third of the rows at least has nothing of that.
 */
function expectMostlyExact(
  found: readonly ArrayLike<number>[],
  expected: readonly ArrayLike<number>[],
  width: number,
) {
  const rowsOf = (parts: readonly ArrayLike<number>[]) =>
    parts.flatMap((part) =>
      Array.from({ length: part.length / width }, (_, row) =>
        Array.from({ length: width }, (_, i) => part[row * width + i] as number),
      ),
    );
  const wanted = rowsOf(expected);
  const errors = rowsOf(found).map((row, i) => relativeError(row, wanted[i]!));
  expect(errors.filter((error) => error < 5e-6).length / errors.length).toBeGreaterThan(1 / 3);
  expect(Math.max(...errors)).toBeLessThan(0.03);
}

describe.skipIf(!exact).each(QUANTIZED_CONFIGS)('$label', ({ label, ...config }) => {
  const model = outlierModel(config);
  const width = config.hiddenSize;
  const read = sourceOf(model).read;

  describe.each(QUANTIZED)('%s', (precision) => {
    const path = () => join(folder, `${label} ${precision}.safetensors`);
    let base: FrozenWeights;
    beforeAll(async () => {
      await writeQuantized(path(), sourceOf(model), { precision, texts: TEXTS });
      base = weightsInFiles(precision, model.config, await placesOf(path()));
    });

    test.each(TARGETS)('an adapter on %s adds what it does in float64', async (_, targets) => {
      const rows = await readTokenRows(model.config, TOKEN, read);
      const adapter = someAdapter(base, targets, rows);
      const parameters = asParameters(await withAdapter(path(), config, precision, adapter), () => false);
      const options = { activations: quantisedRows(precision), loraScale: loraScale(adapter) };
      const headed = { ...config, tieWordEmbeddings: false };
      const expected = TEXTS.map((ids) => referenceDecoder(headed, parameters, ids, options));
      const table = config.tieWordEmbeddings ? EMBEDDING_NAME : HEAD_NAME;
      const { data: row } = adapter.weights.get(`${table}[embed]`)!;
      const agrees = (found: Awaited<ReturnType<typeof outputsOf>>) => {
        const states = expected.map(({ hidden }) => hidden.data);
        expectMostlyExact(
          found.map(({ hidden }) => hidden),
          states,
          width,
        );
        const logits = expected.map((output) => {
          const values = Float64Array.from(output.logits.data);
          // The adapter's own row of the head is not rounded, nor is what it reads.
          for (let at = 0; at < output.hidden.data.length / width; at++) {
            const state = Array.from(output.hidden.data).slice(at * width, (at + 1) * width);
            values[at * config.vocabSize + TOKEN] = state.reduce((sum, x, i) => sum + x * row[i]!, 0);
          }
          return values;
        });
        expectMostlyExact(
          found.map((output) => output.logits),
          logits,
          config.vocabSize,
        );
      };
      const feeds = adapterFeeds(model.config, adapter, adapter);
      agrees(await outputsOf(inferenceWeights(base, adapter).weightsIn, feeds, base, attendPrompts));
      if (precision !== 'int8') return;
      const training = adapterTraining(base, adapter);
      const declare = (graph: Graph) => training.declare(graph).weights;
      agrees(await outputsOf(declare, training.feeds, base, attendSequences));
      // Beneath it is the base as it was.
      const beneath = (graph: Graph) => {
        const { base: frozen } = training.declare(graph);
        if (frozen === undefined) throw new Error('no base');
        return frozen;
      };
      const plain = asParameters(await dequantised(path(), config, precision), () => false);
      const found = await outputsOf(beneath, training.feeds, base, attendSequences);
      const { activations } = options;
      expectMostlyExact(
        found.map(({ hidden }) => hidden),
        TEXTS.map((ids) => referenceDecoder(headed, plain, ids, { activations }).hidden.data),
        width,
      );
      expect(relativeError(found[0]!.hidden, expected[0]!.hidden.data)).toBeGreaterThan(0.01);
    });
  });
});

test('of A and B, a fresh adapter has uniform numbers within 1 / sqrt(inputs), and zeros', () => {
  const [{ label: _, ...config }] = QUANTIZED_CONFIGS as [(typeof QUANTIZED_CONFIGS)[number]];
  const { config: parsed } = outlierModel(config);
  const shape = { rank: 8, alpha: 16, rsLora: false, targets: LINEAR_KINDS };
  const [one, again, other] = [4, 4, 5].map((seed) => newAdapter(parsed, shape, { seed }));
  expect(one).toEqual(again);
  for (let layer = 0; layer < config.layers; layer++) {
    for (const [name, inputs] of [
      [`model.layers.${layer}.self_attn.q_proj`, config.hiddenSize],
      [`model.layers.${layer}.mlp.down_proj`, config.intermediateSize],
    ] as const) {
      const { data: a, shape: sizes } = one!.weights.get(loraA(name))!;
      expect(sizes).toEqual([8, inputs]);
      const bound = 1 / Math.sqrt(inputs);
      expect(Math.max(...a.map(Math.abs))).toBeLessThanOrEqual(bound);
      // The variance of a uniform distribution is bound² / 3, and its mean 0: 576 draws and more come near.
      const variance = a.reduce((sum, value) => sum + value * value, 0) / a.length;
      expect(Math.abs(variance / (bound ** 2 / 3) - 1)).toBeLessThan(0.15);
      expect(Math.abs(a.reduce((sum, value) => sum + value, 0) / a.length)).toBeLessThan(0.1 * bound);
      expect(other!.weights.get(loraA(name))!.data).not.toEqual(a);
      expect(one!.weights.get(loraB(name))!.data.every((value) => value === 0)).toBe(true);
    }
  }
});
