/** The decoder's graph against the float64 reference, and embeddings under every padding and batch size. */
import { emit, type Feeds, floats, Graph, i64, Session } from 'onnx-grad';
import { newConfig } from 'search-r3/checkpoint';
import {
  attendSequences,
  decoder,
  EMBEDDING_TOLERANCE,
  embeddingProgram,
  fedWeights,
  floatWeights,
  inverseFrequencies,
  lookupIn,
  parameterInputs,
  ropeInputs,
  ropeTables,
} from 'search-r3/decoder';
import { randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { asParameters, type DecoderConfig, randomWeights } from '../reference/decoder.js';
import { relativeError } from '../reference/finite-differences.js';
import { TINY_CONFIGS, tinyWeights } from '../reference/fixtures.js';
import { referenceModel } from '../reference/objectives.js';
import { feedsOf, type TinyModel, tinyModel } from './tiny.js';

const random = randomStream(21, 'sequences');
const LENGTHS = [9, 3, 14, 1, 6];
const SEQUENCES = LENGTHS.map((length) => Array.from({ length }, () => random.integer(23)));

/** Hidden states and logits of one unpadded sequence. */
async function forward(model: TinyModel, ids: readonly number[]) {
  const graph = new Graph();
  const input = graph.input('ids', 'int64', ['batch', 'length']);
  const weights = floatWeights(model.config, lookupIn(parameterInputs(graph, model.config)), {
    trained: true,
  });
  const attend = attendSequences(model.config, input, ropeInputs(graph, model.config));
  const hidden = decoder({ config: model.config, weights, ids: input, attend });
  graph.output('hidden', hidden);
  graph.output('logits', weights.logits(hidden));
  const session = await Session.create(emit(graph));
  session.bind(model.feeds);
  const results = await session.run({
    ids: i64(ids, [1, ids.length]),
    ...ropeTables(model.config, ids.length),
  });
  await session.dispose();
  return { hidden: floats(results.hidden), logits: floats(results.logits) };
}

describe.each(TINY_CONFIGS)('$architecture', (config) => {
  test('the parsed configuration is that of the reference', () => {
    expect(tinyModel(config).config).toMatchObject(config);
  });

  test('hidden states and logits are those of the reference', async () => {
    const expected = referenceModel(
      config,
      asParameters(tinyWeights(config), () => false),
    );
    // Beyond the 48 positions at which the Llama's slow frequencies have turned once.
    const long = Array.from({ length: 70 }, () => random.integer(23));
    for (const ids of [SEQUENCES[0]!, long]) {
      const found = await forward(tinyModel(config), ids);
      const { hidden, logits: scores } = expected.forward(ids);
      expect(relativeError(found.hidden, hidden.data)).toBeLessThan(1e-5);
      expect(relativeError(found.logits, scores.data)).toBeLessThan(1e-5);
    }
  });
});

describe('rotary embeddings for long contexts', () => {
  const base = TINY_CONFIGS[1]!;
  const yarn = { type: 'yarn', factor: 4, betaFast: 4, betaSlow: 0.5, originalMaxPosition: 40 } as const;
  const factors = Array.from({ length: base.headDim / 2 }, (_, i) => 1 + 0.7 * i);
  test.each<NonNullable<DecoderConfig['ropeScaling']>>([
    { type: 'linear', factor: 2.5 },
    { ...yarn, truncate: true, attentionFactor: 1.14 },
    { ...yarn, truncate: false, attentionFactor: 1 },
    { type: 'longrope', factors, attentionFactor: 1.2 },
  ])('$type: hidden states and logits are those of the reference', async (ropeScaling) => {
    const config = { ...base, ropeScaling };
    expect(tinyModel(config).config).toMatchObject(config);
    const weights = tinyWeights(config);
    const ids = Array.from({ length: 70 }, () => random.integer(23));
    const expected = referenceModel(
      config,
      asParameters(weights, () => false),
    ).forward(ids);
    const found = await forward(tinyModel(config), ids);
    expect(relativeError(found.hidden, expected.hidden.data)).toBeLessThan(1e-5);
    expect(relativeError(found.logits, expected.logits.data)).toBeLessThan(1e-5);
    // The scaling is felt.
    const plain = await forward(tinyModel(base), ids);
    expect(relativeError(found.hidden, plain.hidden)).toBeGreaterThan(1e-3);
  });
});

test('rope scaling of llama3 keeps the fast, stretches the slow and blends between', () => {
  const config = tinyModel(TINY_CONFIGS[0]!).config;
  const plain = inverseFrequencies({ ...config, ropeScaling: null });
  const scaled = inverseFrequencies(config);
  // theta^(-2i/8) with theta 500: wavelengths 6.3, 29.7, 140.5 and 664.4; kept below 48 / 4, stretched beyond 48 / 1.
  expect(plain.map((frequency) => (2 * Math.PI) / frequency)).toEqual(
    [6.28, 29.71, 140.5, 664.4].map((wave) => expect.closeTo(wave, 1)),
  );
  const blend = (48 / 29.711 - 1) / (4 - 1);
  expect(scaled.map((frequency, i) => frequency / plain[i]!)).toEqual([
    1,
    expect.closeTo((1 - blend) / 4 + blend, 4),
    0.25,
    0.25,
  ]);
});

/** A larger model than the tiny ones: what the built-in world's base has. */
const LARGER = newConfig({
  vocabSize: 23,
  hiddenSize: 192,
  intermediateSize: 512,
  layers: 4,
  heads: 6,
  maxPositions: 256,
});
const largerWeights = () => {
  const normal = randomStream(2, 'larger');
  return randomWeights(LARGER, () => normal.normal());
};
const larger = (): TinyModel => {
  const weights = new Map(
    Array.from(largerWeights(), ([name, { data, shape }]) => [
      name,
      { data: Float32Array.from(data), shape: [...shape] },
    ]),
  );
  return { config: LARGER, weights, feeds: feedsOf(weights) };
};

const MODELS: [string, TinyModel][] = [
  ...TINY_CONFIGS.map((config): [string, TinyModel] => [config.architecture, tinyModel(config)]),
  ['of width 192', larger()],
];

describe.each(MODELS)('embeddings of the model %s', (_, model) => {
  let session: Session;
  const width = model.config.hiddenSize;
  beforeAll(async () => {
    session = await Session.create(embeddingProgram(model.config, fedWeights(model.config)));
    session.bind(model.feeds);
  });
  afterAll(() => session.dispose());

  /** The states at column `at(length)` of sequences padded on the right to `length` columns with `pad`. */
  const embed = async (
    sequences: readonly number[][],
    length: number,
    pad: number,
    at: (own: number) => number = (own) => own - 1,
  ) => {
    const count = sequences.length;
    const feeds: Feeds = {
      ids: i64(
        sequences.flatMap((ids) => [...ids, ...new Array<number>(length - ids.length).fill(pad)]),
        [count, length],
      ),
      ...(session.program.inputs.has('last_index') && {
        last_index: {
          dtype: 'int32',
          shape: [count],
          data: Int32Array.from(sequences, (ids) => ids.length - 1),
        },
        total: { dtype: 'int32', shape: [], data: Int32Array.of(length) },
      }),
      embed_rows: i64(
        sequences.map((ids, row) => row * length + at(ids.length)),
        [count],
      ),
      ...ropeTables(model.config, length),
    };
    const found = floats((await session.run(feeds)).embeddings);
    return sequences.map((__, i) => found.slice(i * width, (i + 1) * width));
  };

  /** Each sequence by itself. */
  const alone = async () => (await Promise.all(SEQUENCES.map((ids) => embed([ids], ids.length, 0)))).flat();

  test('are the last hidden states, scaled to length 1, whatever the padding and the batch', async () => {
    const expected = await alone();
    for (const [i, embedding] of expected.entries()) {
      const { hidden } = await forward(model, SEQUENCES[i] as number[]);
      const last = hidden.slice(-width);
      const norm = Math.hypot(...last);
      expect(
        relativeError(
          embedding,
          last.map((value) => value / norm),
        ),
      ).toBeLessThan(1e-5);
      // Without this the comparison below could not fail.
      if (i > 0) expect(relativeError(embedding, expected[0]!)).toBeGreaterThan(0.1);
    }
    for (const [length, pad] of [
      [14, 0],
      [17, 22],
    ] as const) {
      for (const [i, embedding] of (await embed(SEQUENCES, length, pad)).entries()) {
        expect(relativeError(embedding, expected[i]!)).toBeLessThan(EMBEDDING_TOLERANCE);
      }
    }
  });

  test('the last column, taken for the last token, is wrong under right padding', async () => {
    const expected = await alone();
    const found = await embed(SEQUENCES, 14, 0, () => 13);
    const errors = found.map((embedding, i) => relativeError(embedding, expected[i]!));
    // Only the longest sequence has a token there.
    expect(errors.map((error) => error < EMBEDDING_TOLERANCE)).toEqual([false, false, true, false, false]);
  });
});
