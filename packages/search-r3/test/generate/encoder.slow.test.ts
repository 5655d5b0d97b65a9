/** Encoding with the session of a generator: the vectors of a session of its own, beside generation and without it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  EMBEDDING_TOLERANCE,
  type Encoder,
  fileWeights,
  type InferenceWeights,
  SequenceEncoder,
  writeQuantized,
} from 'search-r3/decoder';
import { Generator } from 'search-r3/generate';
import { InterruptedError, randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { outlierModel, placesOf, QUANTIZED_CONFIGS, sourceOf } from '../decoder/quantized.js';
import { inferenceOf, tinyModel } from '../decoder/tiny.js';
import type { DecoderConfig } from '../reference/decoder.js';
import { relativeError } from '../reference/finite-differences.js';
import { MODELS, reference } from './models.js';

const random = randomStream(12, 'shared encoder');
const sequencesOf = (lengths: readonly number[]) =>
  lengths.map((length) => Array.from({ length }, () => random.integer(22)));
/** Longer together than a run takes, of lengths that no run divides; one of a single token. */
const SEQUENCES = sequencesOf([
  ...Array.from({ length: 60 }, () => 1 + random.integer(45)),
  ...[...[1, 300, 7], ...[219, 120]],
]);
const PROMPTS = sequencesOf([5, 1, 9, 3, 12]);

/** Two are longer than a run. */
const LONG = sequencesOf([1500, 3, 1025]);

/** By row. */
const rowErrors = (found: Float32Array, expected: Float32Array, width: number): number[] =>
  Array.from({ length: expected.length / width }, (_, i) =>
    relativeError(found.subarray(i * width, (i + 1) * width), expected.subarray(i * width, (i + 1) * width)),
  );

const matrixError = (...args: Parameters<typeof rowErrors>): number => Math.max(...rowErrors(...args));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shared-encoder-'));
});
afterAll(() => rm(folder, { recursive: true }));

type Case = [label: string, precision: 'f32' | 'int8', config: DecoderConfig];
const CASES: Case[] = [
  ...MODELS.map(([label, config]): Case => [label, 'f32', config]),
  ...QUANTIZED_CONFIGS.filter(({ headDim }) => headDim % 8 === 0).map(
    ({ label, ...config }): Case => [label, 'int8', config],
  ),
];

describe.each(CASES)('%s, %s', (label, precision, config) => {
  const model = precision === 'f32' ? tinyModel(config) : outlierModel(config);
  const width = config.hiddenSize;
  let generator: Generator;
  let shared: Encoder;
  let own: SequenceEncoder;
  beforeAll(async () => {
    let weights: InferenceWeights = inferenceOf(model);
    if (precision === 'int8') {
      const path = join(folder, `${label}.safetensors`);
      await writeQuantized(path, sourceOf(model), { precision, texts: PROMPTS });
      weights = fileWeights(precision, model.config, await placesOf(path));
    }
    generator = await Generator.create(model.config, weights);
    shared = generator.encoder;
    own = await SequenceEncoder.create(model.config, weights);
  });
  afterAll(async () => {
    await own.dispose();
    await generator.dispose();
  });

  test('gives the vectors of a session of its own', async () => {
    expect(shared.dimension).toBe(width);
    const found = await shared.encode(SEQUENCES);
    expect(found.length).toBe(SEQUENCES.length * width);
    const errors = rowErrors(found, await own.encode(SEQUENCES), width);
    // In int8, a value on the edge between two steps may fall to either side; in models as small as these few do.
    const near = errors.filter((error) => error < EMBEDDING_TOLERANCE).length;
    expect(near).toBeGreaterThanOrEqual(precision === 'f32' ? errors.length : 0.9 * errors.length);
    expect(Math.max(...errors)).toBeLessThan(0.02);
  });

  test('a sequence has the same vector in every batch', async () => {
    const together = await shared.encode(SEQUENCES);
    for (const maxTokens of [1, 333]) {
      const found = await shared.encode(SEQUENCES, { maxTokens });
      expect(matrixError(found, together, width)).toBeLessThan(EMBEDDING_TOLERANCE);
    }
  });

  test('beside generation, both give what they give alone', async () => {
    const options = { maxNewTokens: 24, stop: [], samples: 3, temperature: 0.8, seed: 4, slots: 4 };
    const vectors = await shared.encode(SEQUENCES);
    const completions = await generator.generate(PROMPTS, options);
    const encoded: Promise<Float32Array>[] = [];
    const together = generator.generate(PROMPTS, {
      ...options,
      // One starts in the middle of each of the first completions.
      onToken: ({ prompt, sample }) => {
        if (encoded.length < 3 && prompt === encoded.length && sample === 1)
          encoded.push(shared.encode(SEQUENCES));
      },
    });
    const first = shared.encode(SEQUENCES);
    expect(await together).toEqual(completions);
    expect(encoded).toHaveLength(3);
    for (const found of await Promise.all([first, ...encoded])) expect(found).toEqual(vectors);
  });
});

describe('one model', () => {
  const [, config] = MODELS[3]!;
  const model = tinyModel(config);
  const width = config.hiddenSize;
  let generator: Generator;
  beforeAll(async () => {
    generator = await Generator.create(model.config, inferenceOf(model));
  });
  afterAll(() => generator.dispose());

  test('the embedding is the unit hidden state at the last token', async () => {
    const without = reference(config);
    const found = await generator.encoder.encode(PROMPTS);
    for (const [i, prompt] of PROMPTS.entries()) {
      const hidden = without.forward(prompt).hidden.data.slice(-width);
      const norm = Math.hypot(...hidden);
      const unit = hidden.map((x) => x / norm);
      expect(relativeError(found.subarray(i * width, (i + 1) * width), unit)).toBeLessThan(1e-5);
    }
  });

  test('runs take 1,024 tokens at most, or a single sequence, or what is asked for', async () => {
    const told: number[] = [];
    const onProgress = (done: number) => told.push(done);
    // Four of 250 and padding, then what is left.
    const lengths = [250, 250, 240, 230, 250, 1];
    await generator.encoder.encode(sequencesOf(lengths), { onProgress });
    expect(told.splice(0)).toEqual([4, 6]);
    await generator.encoder.encode(sequencesOf(lengths), { maxTokens: 8192, onProgress });
    expect(told.splice(0)).toEqual([4, 6]);
    await generator.encoder.encode(sequencesOf(lengths), { maxTokens: 500, onProgress });
    expect(told.splice(0)).toEqual([2, 4, 6]);
    await generator.encoder.encode(LONG, { onProgress });
    expect(told).toEqual([1, 2, 3]);
  });

  test('sequences longer than a run', async () => {
    const own = await SequenceEncoder.create(model.config, inferenceOf(model));
    const expected = await own.encode(LONG);
    await own.dispose();
    expect(matrixError(await generator.encoder.encode(LONG), expected, width)).toBeLessThan(
      EMBEDDING_TOLERANCE,
    );
  });

  test('computes with weights that were changed in place', async () => {
    const before = await generator.encoder.encode(PROMPTS);
    const norm = model.weights.get('model.norm.weight')!.data;
    const values = norm.slice();
    for (const i of norm.keys()) norm[i] = norm[i]! * (1 + (i % 3));
    const after = await generator.encoder.encode(PROMPTS);
    norm.set(values);
    expect(matrixError(after, before, width)).toBeGreaterThan(0.1);
    expect(await generator.encoder.encode(PROMPTS)).toEqual(before);
  });

  test('stopped by the signal between runs, while generation goes on', async () => {
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    const encoding = generator.encoder.encode(SEQUENCES, { signal: controller.signal, onProgress });
    const generating = generator.generate(PROMPTS, { maxNewTokens: 6, stop: [], temperature: 0 });
    await expect(encoding).rejects.toThrow(InterruptedError);
    expect((await generating).flat()).toHaveLength(PROMPTS.length);
  });

  test('refuses an empty sequence', async () => {
    await expect(generator.encoder.encode([[1], []])).rejects.toThrow(
      'encode: expected tokens in sequence 1, found none',
    );
  });

  test('disposing of the encoder leaves the generator, which takes it along', async () => {
    const own = await Generator.create(model.config, inferenceOf(model));
    await own.encoder.dispose();
    expect(await own.encoder.encode([[1]])).toHaveLength(width);
    await own.dispose();
    await expect(own.encoder.encode([[1]])).rejects.toThrow('disposed');
  });
});
