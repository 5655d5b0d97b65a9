/** Quantised files: their layout, their closeness to float32, and what models compute with them. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emit, type Feeds, floats, Graph, i64, Session } from 'onnx-grad';
import { openSafetensors, parameterShapes, writeSafetensors } from 'search-r3/checkpoint';
import {
  attendPrompts,
  type Closeness,
  decoder,
  fileWeights,
  int8IsExact,
  ropeInputs,
  ropeTables,
  SequenceEncoder,
  type TensorPlaces,
  writeQuantized,
} from 'search-r3/decoder';
import { InterruptedError, randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  asParameters,
  type DecoderConfig,
  type DecoderOptions,
  randomWeights,
  decoder as referenceDecoder,
  type Weight,
  weightShapes,
} from '../reference/decoder.js';
import { relativeError } from '../reference/finite-differences.js';
import { NO_PYTHON, pythonWith } from '../support/python.js';
import {
  dequantised,
  outlierModel,
  placesOf,
  QUANTIZED,
  QUANTIZED_CONFIGS,
  type Quantized,
  quantisedRows,
  sourceOf,
  ZERO_TOKEN,
} from './quantized.js';
import { tinyModel } from './tiny.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quantized-'));
});
afterAll(() => rm(folder, { recursive: true }));

const random = randomStream(34, 'quantized-file');
const TEXTS = [9, 4, 13, 1, 6].map((length) =>
  Array.from({ length }, (_, i) => (i === 3 ? ZERO_TOKEN : 6 + random.integer(41))),
);

/** Cosines between the rows of two matrices. */
const cosines = (a: readonly number[], b: readonly number[], width: number): number[] =>
  Array.from({ length: a.length / width }, (_, row) => {
    const [x, y] = [a, b].map((rows) => rows.slice(row * width, (row + 1) * width)) as [number[], number[]];
    const dot = x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);
    return dot / (Math.hypot(...x) * Math.hypot(...y));
  });

const closenessBetween = (a: readonly number[], b: readonly number[], width: number): Closeness => {
  const all = cosines(a, b, width);
  return { mean: all.reduce((sum, cosine) => sum + cosine, 0) / all.length, least: Math.min(...all) };
};

/** The distance from 1 within 5%: a value on the edge between two steps may fall to either side. */
const expectCloseness = (found: Closeness, expected: Closeness) => {
  expect((1 - found.mean) / (1 - expected.mean)).toBeCloseTo(1, 1);
  expect((1 - found.least) / (1 - expected.least)).toBeCloseTo(1, 1);
};

/** A value on the edge between two steps may fall to either side. */
const expectMostlyExact = (errors: readonly number[]) => {
  expect(errors.filter((error) => error < 5e-6).length).toBeGreaterThanOrEqual(3);
  expect(Math.max(...errors)).toBeLessThan(0.02);
};

/** Found on these models: at least 0.9966, 0.9969 and 0.866. */
const MEAN: Record<Quantized, number> = { int8: 0.995, 'int8-block': 0.995, int4: 0.84 };

/** Kernels that saturate give other results. */
const exact = await int8IsExact();

describe.each(QUANTIZED_CONFIGS)('$label', ({ label, ...config }) => {
  const model = outlierModel(config);
  const width = config.hiddenSize;
  /** Hidden states and logits of each text, in float64; with the head of `weights`, if there is one. */
  const outputs = (weights: ReadonlyMap<string, Weight>, options: DecoderOptions = {}) => {
    const parameters = asParameters(weights, () => false);
    const headed = { ...config, tieWordEmbeddings: !weights.has('lm_head.weight') };
    return TEXTS.map((ids) => referenceDecoder(headed, parameters, ids, options));
  };
  const reference = (weights: ReadonlyMap<string, Weight>, options: DecoderOptions = {}) =>
    outputs(weights, options).map(({ hidden }) => Array.from(hidden.data));
  const unquantised = reference(model.weights);
  const pathOf = (precision: Quantized) => join(folder, `${label} ${precision}.safetensors`);
  const encoderOf = async (precision: Quantized) =>
    SequenceEncoder.create(
      model.config,
      fileWeights(precision, model.config, await placesOf(pathOf(precision))),
    );

  describe.each(QUANTIZED)('%s', (precision) => {
    let closeness: Closeness;
    const done: string[] = [];
    /** What the file holds, in float64, with activations rounded as its products do. */
    let expected: number[][];
    let expectedLogits: number[][];
    beforeAll(async () => {
      closeness = await writeQuantized(pathOf(precision), sourceOf(model), {
        precision,
        texts: TEXTS,
        onProgress: (layer, total) => done.push(`${layer}/${total}`),
      });
      const weights = await dequantised(pathOf(precision), config, precision);
      const computed = outputs(weights, { activations: quantisedRows(precision) });
      expected = computed.map(({ hidden }) => Array.from(hidden.data));
      expectedLogits = computed.map(({ logits }) => Array.from(logits.data));
    });

    test('the file has all parameters, and every layer was reported', async () => {
      expect(done).toEqual(['1/4', '2/4', '3/4', '4/4']);
      const file = await openSafetensors(pathOf(precision));
      await file.close();
      const type = precision === 'int8' ? 'I8' : 'U8';
      const names = new Set([...file.entries.keys()].map((name) => name.replace(/\.scales$/, '.weight')));
      const joined = names.has('model.layers.0.self_attn.qkv_proj.weight');
      expect(joined).toBe(config.headDim % 16 === 0 && !config.qkNorm);
      const wanted = [...parameterShapes(model.config).keys(), 'lm_head.weight'].map((name) =>
        joined ? name.replace(/\.[qkv]_proj/, '.qkv_proj') : name,
      );
      const smoothed = ['input_layernorm', 'post_attention_layernorm', 'mlp.down_proj'];
      for (let layer = 0; layer < model.config.layers; layer++) {
        for (const name of smoothed) wanted.push(`model.layers.${layer}.${name}.smoothing`);
      }
      expect([...names].sort()).toEqual([...new Set(wanted)].sort());
      for (const [name, { dtype }] of file.entries) {
        expect(dtype, name).toBe(/(_proj|lm_head)\.weight$/.test(name) ? type : 'F32');
      }
    });

    test.skipIf(!exact)('the closeness is that of a float64 decoder with what the file holds', () => {
      expectCloseness(closeness, closenessBetween(expected.flat(), unquantised.flat(), width));
      expect(closeness.mean).toBeGreaterThan(MEAN[precision]);
    });

    test.skipIf(!exact)('embeddings are those of a float64 decoder with what the file holds', async () => {
      const encoder = await encoderOf(precision);
      const found = await encoder.encode(TEXTS);
      await encoder.dispose();
      const errors = expected.map((hidden, i) => {
        const last = hidden.slice(-width);
        const length = Math.hypot(...last);
        return relativeError(
          found.subarray(i * width, (i + 1) * width),
          last.map((value) => value / length),
        );
      });
      expectMostlyExact(errors);
    });

    test.skipIf(!exact)('logits are those of a float64 decoder with what the file holds', async () => {
      const graph = new Graph();
      const ids = graph.input('ids', 'int64', ['batch', 'length']);
      const { weightsIn } = fileWeights(precision, model.config, await placesOf(pathOf(precision)));
      const weights = weightsIn(graph);
      const attend = attendPrompts(model.config, ids, ropeInputs(graph, model.config));
      graph.output('logits', weights.logits(decoder({ config: model.config, weights, ids, attend })));
      const session = await Session.create(emit(graph));
      const errors: number[] = [];
      for (const [i, text] of TEXTS.entries()) {
        const { length } = text;
        const feeds: Feeds = {
          ids: i64(text, [1, length]),
          last_index: { dtype: 'int32', shape: [1], data: Int32Array.of(length - 1) },
          total: { dtype: 'int32', shape: [], data: Int32Array.of(length) },
          ...ropeTables(model.config, length),
        };
        const { inputs } = session.program;
        const used = Object.entries(feeds).filter(([name]) => inputs.has(name));
        const { logits } = await session.run(Object.fromEntries(used));
        errors.push(relativeError(floats(logits), expectedLogits[i]!));
      }
      await session.dispose();
      expectMostlyExact(errors);
    });
  });

  test('int8: a text alone and among others has the same bits', async () => {
    const encoder = await encoderOf('int8');
    const texts = [7, 3, 1, 7, 11, 2].map((length) =>
      Array.from({ length }, () => random.integer(config.vocabSize)),
    );
    const together = await encoder.encode(texts);
    const separate = await Promise.all(texts.map((text) => encoder.encode([text])));
    await encoder.dispose();
    expect(separate.flatMap((embedding) => Array.from(embedding))).toEqual(Array.from(together));
  });

  test.skipIf(!exact)('int8: smoothing brings models with outliers nearer to float32', async () => {
    const rounded = new Map(
      Array.from(model.weights, ([name, { shape, data }]): [string, Weight] => [
        name,
        { shape, data: name.endsWith('_proj.weight') ? roundedRows(data, shape.at(-1) as number) : data },
      ]),
    );
    const plain = reference(rounded, { activations: quantisedRows('int8') });
    const without = closenessBetween(plain.flat(), unquantised.flat(), width);
    const path = join(folder, 'smoothed');
    const found = await writeQuantized(path, sourceOf(model), { precision: 'int8', texts: TEXTS });
    // Found: 0.26 to 0.67 of the distance.
    expect(1 - found.mean).toBeLessThan(0.8 * (1 - without.mean));
  });
});

/** Rows as multiples of their largest magnitude / 127. */
function roundedRows(matrix: Float32Array, width: number): Float64Array {
  const rounded = new Float64Array(matrix.length);
  for (let at = 0; at < matrix.length; at += width) {
    const row = matrix.subarray(at, at + width);
    const step = Math.max(...row.map(Math.abs)) / 127;
    for (const [i, value] of row.entries()) rounded[at + i] = Math.round(value / step) * step;
  }
  return rounded;
}

/** Weights whose tables differ by row, in few bits. */
function largeTables(config: DecoderConfig): Map<string, Weight> {
  const drawn = randomStream(35, 'large tables');
  const weights = randomWeights({ ...config, vocabSize: 1 }, () => drawn.normal());
  for (const [name, shape] of weightShapes(config)) {
    if (shape[0] !== config.vocabSize) continue;
    const seed = name.length;
    const size = config.vocabSize * config.hiddenSize;
    const data = Float64Array.from({ length: size }, (_, i) => (((i + seed) * 7919) % 61) / 8 - 3.75);
    weights.set(name, { shape, data });
  }
  return weights;
}

const [{ label: _, ...plainConfig }] = QUANTIZED_CONFIGS as [(typeof QUANTIZED_CONFIGS)[number]];

describe('a file', () => {
  const model = outlierModel(plainConfig);
  const { hiddenSize, vocabSize } = plainConfig;

  test.each([
    ['float16', 'F16', 2 ** -11],
    ['bfloat16', 'BF16', 2 ** -8],
  ] as const)('keeps an embedding in %s', async (embedding, dtype, rounding) => {
    const path = join(folder, embedding);
    await writeQuantized(path, sourceOf(model, embedding), { precision: 'int8', texts: TEXTS });
    const file = await openSafetensors(path);
    const name = 'model.embed_tokens.weight';
    expect(file.entries.get(name)).toMatchObject({ dtype, shape: [vocabSize, hiddenSize] });
    const { data } = await file.read(name);
    await file.close();
    for (const [i, value] of (model.weights.get(name)?.data ?? []).entries()) {
      expect(Math.abs((data[i] as number) - value)).toBeLessThanOrEqual(rounding * Math.abs(value) + 1e-7);
    }
    const encoder = await SequenceEncoder.create(
      model.config,
      fileWeights('int8', model.config, await placesOf(path)),
    );
    const embeddings = await encoder.encode(TEXTS);
    await encoder.dispose();
    const reference = asParameters(model.weights, () => false);
    const last = TEXTS.map((ids) =>
      Array.from(referenceDecoder(plainConfig, reference, ids).hidden.data).slice(-hiddenSize),
    );
    expect(closenessBetween(Array.from(embeddings), last.flat(), hiddenSize).mean).toBeGreaterThan(0.995);
  });

  test('without an embedding computes with one from elsewhere', async () => {
    const [inside, without, table] = [join(folder, 'inside'), join(folder, 'without'), join(folder, 'table')];
    const options = { precision: 'int8', texts: TEXTS } as const;
    const closeness = await writeQuantized(inside, sourceOf(model), options);
    const elsewhere = { ...sourceOf(model), embedding: undefined };
    expect(await writeQuantized(without, elsewhere, options)).toEqual(closeness);
    await writeSafetensors(table, model.weights);
    const name = 'model.embed_tokens.weight';
    const places = new Map(await placesOf(without));
    expect(places.has(name)).toBe(false);
    for (const [found, place] of await placesOf(table)) if (found === name) places.set(name, place);
    const embeddings = async (of: TensorPlaces) => {
      const encoder = await SequenceEncoder.create(model.config, fileWeights('int8', model.config, of));
      const found = await encoder.encode(TEXTS);
      await encoder.dispose();
      return found;
    };
    expect(await embeddings(places)).toEqual(await embeddings(await placesOf(inside)));
  });

  test.each([
    ['tied', true],
    ['untied', false],
  ] as const)('tables too large for one piece: %s', async (label, tieWordEmbeddings) => {
    // 116,508 rows of 72 go at once.
    const border = 116_508;
    const config = { ...plainConfig, layers: 1, vocabSize: border + 100, tieWordEmbeddings };
    const large = tinyModel(config, largeTables(config));
    const [plain, stored] = [join(folder, `large ${label}`), join(folder, `large ${label} bf16`)];
    const texts = [[0, border - 1, border, border + 99], [7]];
    const closeness = await writeQuantized(plain, sourceOf(large), { precision: 'int8-block', texts });
    expect(closeness.least).toBeGreaterThan(0.99);
    await writeQuantized(stored, sourceOf(large, 'bfloat16'), { precision: 'int8', texts });
    const tableOf = (name: string) => large.weights.get(name)?.data ?? new Float32Array();
    const table = tableOf('model.embed_tokens.weight');
    const file = await openSafetensors(stored);
    const { data } = await file.read('model.embed_tokens.weight');
    await file.close();
    expect(data.every((value, i) => value === table[i])).toBe(true);
    const head = tieWordEmbeddings ? table : tableOf('lm_head.weight');
    for (const [path, precision] of [
      [plain, 'int8-block'],
      [stored, 'int8'],
    ] as const) {
      const found = (await dequantised(path, config, precision)).get('lm_head.weight')?.data ?? [];
      expect(found.length).toBe(head.length);
      // Elements are at most 4, in 127 steps.
      expect(head.every((value, i) => Math.abs((found[i] as number) - value) < 0.017)).toBe(true);
    }
  });

  const python = pythonWith('safetensors', 'numpy');
  test.skipIf(python === undefined).each(QUANTIZED)(
    `%s is read by safetensors in Python (${NO_PYTHON})`,
    async (precision) => {
      const path = join(folder, `python ${precision}`);
      await writeQuantized(path, sourceOf(model), { precision, texts: TEXTS });
      const program = [
        'import hashlib, json, sys',
        'from safetensors.numpy import load_file',
        'entry = lambda t: [str(t.dtype), list(t.shape), hashlib.sha256(t.tobytes()).hexdigest()]',
        'print(json.dumps({name: entry(t) for name, t in load_file(sys.argv[1]).items()}))',
      ].join('\n');
      const { stdout, stderr } = spawnSync(python!, ['-c', program, path], { encoding: 'utf8' });
      expect(stderr).toBe('');
      const content = await readFile(path);
      const expected = Array.from(await placesOf(path), ([name, { type, shape, offset, length }]) => {
        const bytes = content.subarray(offset, offset + length);
        return [name, [type, shape, createHash('sha256').update(bytes).digest('hex')]];
      });
      expect(JSON.parse(stdout)).toEqual(Object.fromEntries(expected));
    },
  );

  test('is left out, with all it began, when a signal stops it', async () => {
    const inner = join(folder, 'stopped');
    await mkdir(inner);
    const stop = new AbortController();
    const done: number[] = [];
    const writing = writeQuantized(join(inner, 'x.safetensors'), sourceOf(model), {
      precision: 'int8',
      texts: TEXTS,
      signal: stop.signal,
      onProgress: (layer) => {
        done.push(layer);
        if (layer === 2) stop.abort();
      },
    });
    await expect(writing).rejects.toThrow(InterruptedError);
    expect(done).toEqual([1, 2]);
    expect(await readdir(inner)).toEqual([]);
  });

  test('replaces another only when it is complete', async () => {
    const path = join(folder, 'replaced');
    await writeFile(path, 'old');
    const source = sourceOf(model);
    const failing = {
      ...source,
      read: (name: string, start: number, out: Float32Array) =>
        name === 'model.norm.weight'
          ? Promise.reject(new Error('unreadable'))
          : source.read(name, start, out),
    };
    const options = { precision: 'int4', texts: TEXTS } as const;
    await expect(writeQuantized(path, failing, options)).rejects.toThrow('unreadable');
    expect(await readFile(path, 'utf8')).toBe('old');
    await writeQuantized(path, source, options);
    expect((await placesOf(path)).has('lm_head.weight')).toBe(true);
  });
});
