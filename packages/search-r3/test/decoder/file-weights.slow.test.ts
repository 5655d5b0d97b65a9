/** Float32 weights that ONNX Runtime maps from files: the same as fed ones, without their memory. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import {
  newConfig,
  openSafetensors,
  parameterShapes,
  type Weights,
  writeSafetensors,
} from 'search-r3/checkpoint';
import { fileWeights, type InferenceWeights, SequenceEncoder } from 'search-r3/decoder';
import { randomStream } from 'search-r3/run';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TINY_CONFIGS } from '../reference/fixtures.js';
import { placesOf, QUANTIZED_CONFIGS } from './quantized.js';
import { feedsOf, inferenceOf, type TinyModel, tinyModel } from './tiny.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'file-weights-'));
});
afterAll(() => rm(folder, { recursive: true }));

const random = randomStream(35, 'file-weights');
const TEXTS = [9, 3, 14, 1].map((length) => Array.from({ length }, () => random.integer(23)));

async function embeddings({ config }: TinyModel, weights: InferenceWeights): Promise<number[]> {
  const encoder = await SequenceEncoder.create(config, weights);
  const found = await encoder.encode(TEXTS);
  await encoder.dispose();
  return Array.from(found);
}

test.each(
  [...TINY_CONFIGS, ...QUANTIZED_CONFIGS].flatMap((config) =>
    (['f32', 'f16', 'bf16'] as const).map(
      (dtype) => [config.architecture, config.hiddenSize, config.headDim, dtype, config] as const,
    ),
  ),
)('%s of width %d, heads of %d, from %s: embeddings are those of fed weights', async (...given) => {
  const [architecture, width, headDim, dtype, config] = given;
  const model = tinyModel(config);
  const path = join(folder, `${architecture}-${width}-${headDim}-${dtype}`);
  await writeSafetensors(path, model.weights, dtype);
  // What the file holds, as float32.
  const file = await openSafetensors(path);
  const weights: Weights = new Map();
  for (const name of model.weights.keys()) weights.set(name, await file.read(name));
  await file.close();
  const fed = await embeddings(model, inferenceOf({ config: model.config, feeds: feedsOf(weights) }));
  const found = await embeddings(model, fileWeights('f32', model.config, await placesOf(path)));
  expect(found).toEqual(fed);
});

test.skipIf(process.platform !== 'linux')('no weights are copied to JavaScript (reads /proc)', async () => {
  const config = newConfig({
    vocabSize: 40_000,
    hiddenSize: 512,
    intermediateSize: 2048,
    layers: 3,
    heads: 8,
    maxPositions: 64,
  });
  const weights: Weights = new Map(
    Array.from(parameterShapes(config), ([name, shape]) => [
      name,
      { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.01) },
    ]),
  );
  const megabytes = (names: readonly string[]) =>
    names.reduce((sum, name) => sum + (weights.get(name)?.data.length ?? 0), 0) / 2 ** 18;
  const layers = megabytes([...weights.keys()].filter((name) => name.endsWith('_proj.weight')));
  expect(megabytes([...weights.keys()])).toBeGreaterThan(2.5 * layers);
  const below = (share: number) => expect.toSatisfy((value: number) => value < share * layers);
  for (const dtype of ['f32', 'f16', 'bf16'] as const) {
    const path = join(folder, `large-${dtype}`);
    await writeSafetensors(path, weights, dtype);
    const program = `
      import { readFileSync } from 'node:fs';
      import { fileWeights, SequenceEncoder } from 'search-r3/decoder';
      const [config, places] = ${JSON.stringify([config, [...(await placesOf(path))]])};
      const memory = () => {
        const { heapUsed, arrayBuffers } = process.memoryUsage();
        const anonymous = /RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1];
        return { script: (heapUsed + arrayBuffers) / 2 ** 20, anonymous: anonymous / 2 ** 10 };
      };
      const before = memory();
      const encoder = await SequenceEncoder.create(config, fileWeights('f32', config, new Map(places)));
      await encoder.encode([[1, 2, 3]]);
      const after = memory();
      console.log(JSON.stringify({ script: after.script - before.script, anonymous: after.anonymous - before.anonymous }));
      await encoder.dispose();
    `;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '--eval', program],
      { cwd: resolve(import.meta.dirname, '../..') },
    );
    // ONNX Runtime packs the linear layers once, in float32; the table of the embedding stays in the file.
    expect(JSON.parse(stdout), dtype).toEqual({ script: below(0.2), anonymous: below(1.6) });
  }
});
