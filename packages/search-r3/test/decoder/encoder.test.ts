/** Encoding sequences: the reference's hidden states, in every order and batch. */

import { EMBEDDING_TOLERANCE, SequenceEncoder } from 'search-r3/decoder';
import { InterruptedError, randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { asParameters } from '../reference/decoder.js';
import { relativeError } from '../reference/finite-differences.js';
import { TINY_CONFIGS, tinyWeights } from '../reference/fixtures.js';
import { referenceModel } from '../reference/objectives.js';
import { inferenceOf, tinyModel } from './tiny.js';

const random = randomStream(8, 'sequences');
const SEQUENCES = Array.from({ length: 41 }, () =>
  Array.from({ length: 1 + random.integer(30) }, () => random.integer(23)),
);
const config = TINY_CONFIGS[2]!;
const width = config.hiddenSize;
const model = tinyModel(config);
let encoder: SequenceEncoder;
beforeAll(async () => {
  encoder = await SequenceEncoder.create(model.config, inferenceOf(model));
});
afterAll(() => encoder.dispose());

const row = (matrix: Float32Array, i: number) => matrix.subarray(i * width, (i + 1) * width);

test('the embedding is the unit hidden state at the last token', async () => {
  const reference = referenceModel(
    config,
    asParameters(tinyWeights(config), () => false),
  );
  const found = await encoder.encode(SEQUENCES);
  expect(found.length).toBe(SEQUENCES.length * encoder.dimension);
  for (const [i, sequence] of SEQUENCES.entries()) {
    const hidden = reference.forward(sequence).hidden.data.slice(-width);
    const norm = Math.hypot(...hidden);
    expect(
      relativeError(
        row(found, i),
        hidden.map((x) => x / norm),
      ),
    ).toBeLessThan(1e-5);
  }
});

test('batch size and order change nothing', async () => {
  const alone = await encoder.encode(SEQUENCES, { maxTokens: 1 });
  for (const maxTokens of [37, 200, 8192]) {
    const order = random.shuffle(SEQUENCES.map((_, i) => i));
    const found = await encoder.encode(
      order.map((i) => SEQUENCES[i]!),
      { maxTokens },
    );
    for (const [at, i] of order.entries()) {
      expect(relativeError(row(found, at), row(alone, i))).toBeLessThan(EMBEDDING_TOLERANCE);
    }
  }
});

test('tells how far it is, in runs of at most `maxTokens` padded tokens', async () => {
  const told: number[] = [];
  const maxTokens = 100;
  await encoder.encode(SEQUENCES, {
    maxTokens,
    onProgress: (done, total) => {
      expect(total).toBe(SEQUENCES.length);
      told.push(done);
    },
  });
  expect(told.at(-1)).toBe(SEQUENCES.length);
  const lengths = SEQUENCES.map(({ length }) => length).sort((a, b) => b - a);
  for (const [i, done] of told.entries()) {
    const from = told[i - 1] ?? 0;
    // Longest first: the first of a run is its width.
    expect((done - from) * lengths[from]!).toBeLessThanOrEqual(maxTokens);
  }
});

describe('refusals', () => {
  test('stopped by the signal between runs', async () => {
    const controller = new AbortController();
    const told: number[] = [];
    const encoding = encoder.encode(SEQUENCES, {
      maxTokens: 60,
      signal: controller.signal,
      onProgress: (done) => {
        told.push(done);
        if (told.length === 2) controller.abort();
      },
    });
    await expect(encoding).rejects.toThrow(InterruptedError);
    expect(told.length).toBe(2);
  });

  test('nothing gives nothing; an empty sequence has no last token', async () => {
    expect(await encoder.encode([])).toEqual(new Float32Array());
    await expect(encoder.encode([[1], [], [2, 3]])).rejects.toThrow(
      new RangeError('encode: expected tokens in sequence 1, found none'),
    );
  });
});

test('sees weights that are changed in place', async () => {
  const own = tinyModel(config);
  const training = await SequenceEncoder.create(own.config, inferenceOf(own));
  const before = await training.encode(SEQUENCES);
  for (const { data } of own.weights.values()) data.set(data.map((value, i) => value * (1 + (i % 3))));
  const after = await training.encode(SEQUENCES);
  const fresh = await SequenceEncoder.create(own.config, inferenceOf(own));
  expect(after).toEqual(await fresh.encode(SEQUENCES));
  expect(relativeError(after, before)).toBeGreaterThan(0.1);
  await training.dispose();
  await fresh.dispose();
});
