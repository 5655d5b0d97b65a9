/** The decoder's graph against the float64 reference, and embeddings under every padding and batch size. */
import { emit, floats, Graph, i64, Session } from 'onnx-grad';
import { newConfig } from 'search-r3/checkpoint';
import {
  attendSequences,
  decoder,
  EMBEDDING_TOLERANCE,
  embeddingProgram,
  inverseFrequencies,
  logits,
  parameterInputs,
  ropeInputs,
  ropeTables,
} from 'search-r3/model';
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
  const parameters = parameterInputs(graph, model.config);
  const attend = attendSequences(model.config, { ids: input }, ropeInputs(graph, model.config));
  const hidden = decoder({ config: model.config, parameters, ids: input, attend });
  graph.output('hidden', hidden);
  graph.output('logits', logits(model.config, parameters, hidden));
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
  let masked: Session;
  let plain: Session;
  const width = model.config.hiddenSize;
  beforeAll(async () => {
    masked = await Session.create(embeddingProgram(model.config, { masked: true }));
    plain = await Session.create(embeddingProgram(model.config));
    for (const session of [masked, plain]) session.bind(model.feeds);
  });
  afterAll(async () => {
    await masked.dispose();
    await plain.dispose();
  });

  const rows = (embeddings: Float32Array) =>
    Array.from({ length: embeddings.length / width }, (_, i) =>
      embeddings.subarray(i * width, (i + 1) * width),
    );

  /** Each sequence by itself. */
  const alone = async () => {
    const found: Float32Array[] = [];
    for (const ids of SEQUENCES) {
      const { embeddings } = await plain.run({
        ids: i64(ids, [1, ids.length]),
        embed_rows: i64([ids.length - 1], [1]),
        ...ropeTables(model.config, ids.length),
      });
      found.push(floats(embeddings));
    }
    return found;
  };

  /** All in one batch of 17 columns, `before(length)` padded ones before each. */
  const padded = async (before: (length: number) => number, pad: number) => {
    const length = 17;
    const cells = SEQUENCES.flatMap((ids) => {
      const offset = before(ids.length);
      return Array.from({ length }, (_, column) => {
        const id = ids[column - offset];
        // Padding gets a position too: whatever it is, nothing may come of it.
        return { id: id ?? pad, mask: id === undefined ? 0 : 1, position: Math.max(0, column - offset) };
      });
    });
    const shape = [SEQUENCES.length, length];
    const { embeddings } = await masked.run({
      ids: i64(
        cells.map(({ id }) => id),
        shape,
      ),
      mask: i64(
        cells.map(({ mask }) => mask),
        shape,
      ),
      positions: i64(
        cells.map(({ position }) => position),
        shape,
      ),
      embed_rows: i64(
        SEQUENCES.map((ids, row) => row * length + before(ids.length) + ids.length - 1),
        [SEQUENCES.length],
      ),
      ...ropeTables(model.config, length),
    });
    return rows(floats(embeddings));
  };

  test('no padding, padding on the left, on the right and on both sides give the same', async () => {
    const expected = await alone();
    for (const [i, embedding] of expected.entries()) {
      expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
      // Without this the comparison below could not fail.
      if (i > 0) expect(relativeError(embedding, expected[0]!)).toBeGreaterThan(0.1);
    }
    for (const pad of [0, 22]) {
      for (const before of [
        () => 0,
        (length: number) => 17 - length,
        (length: number) => (17 - length) >> 1,
      ]) {
        for (const [i, embedding] of (await padded(before, pad)).entries()) {
          expect(relativeError(embedding, expected[i]!)).toBeLessThan(EMBEDDING_TOLERANCE);
        }
      }
    }
  });

  test('the last column, taken for the last token, is wrong under right padding', async () => {
    const expected = await alone();
    const { embeddings } = await plain.run({
      ids: i64(
        SEQUENCES.flatMap((ids) => [...ids, ...new Array<number>(14 - ids.length).fill(0)]),
        [SEQUENCES.length, 14],
      ),
      embed_rows: i64(
        SEQUENCES.map((_, row) => row * 14 + 13),
        [SEQUENCES.length],
      ),
      ...ropeTables(model.config, 14),
    });
    const errors = rows(floats(embeddings)).map((embedding, i) => relativeError(embedding, expected[i]!));
    // Only the longest sequence has a token there.
    expect(errors.map((error) => error < EMBEDDING_TOLERANCE)).toEqual([false, false, true, false, false]);
  });
});
