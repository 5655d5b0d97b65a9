/** Quantised files of small models, and what they must compute: read, dequantised and run in float64. */
import { readFile } from 'node:fs/promises';
import { EMBEDDING_NAME, openSafetensors } from 'search-r3/checkpoint';
import type { ParameterSource, Precision, TensorPlaces } from 'search-r3/decoder';
import { randomStream } from 'search-r3/run';
import { type DecoderConfig, randomWeights, type Weight, weightShapes } from '../reference/decoder.js';
import { constant, type Tensor } from '../reference/tensor.js';
import { type TinyModel, tinyModel } from './tiny.js';

export type Quantized = Exclude<Precision, 'f32'>;
export const QUANTIZED = ['int8', 'int8-block', 'int4'] as const satisfies readonly Quantized[];

const SHARED = {
  vocabSize: 47,
  hiddenSize: 72,
  intermediateSize: 100,
  layers: 3,
  heads: 4,
  kvHeads: 2,
  rmsNormEps: 1e-5,
  ropeTheta: 1000,
  ropeScaling: null,
  attentionBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: false,
} as const;

/**
 * No width is a multiple of 32. Between them: q, k and v as one matrix (heads of a multiple of 16 without norms) and
 * apart, every bias with and without, tied and untied.
 */
export const QUANTIZED_CONFIGS: readonly (DecoderConfig & { label: string })[] = [
  {
    ...SHARED,
    label: 'llama, heads of 16, tied, no biases',
    architecture: 'llama',
    headDim: 16,
    tieWordEmbeddings: true,
  },
  {
    ...SHARED,
    label: 'llama, heads of 8, untied, all biases',
    architecture: 'llama',
    headDim: 8,
    tieWordEmbeddings: false,
    attentionBias: true,
    outputBias: true,
    mlpBias: true,
  },
  {
    ...SHARED,
    label: 'qwen2, heads of 16, tied, biases on q, k, v',
    architecture: 'qwen2',
    headDim: 16,
    tieWordEmbeddings: true,
    attentionBias: true,
  },
  {
    ...SHARED,
    label: 'qwen2, heads of 24, untied, biases on q, k, v',
    architecture: 'qwen2',
    headDim: 24,
    kvHeads: 4,
    tieWordEmbeddings: false,
    attentionBias: true,
  },
  {
    ...SHARED,
    label: 'qwen2, heads of 12, which the fused kernel does not take',
    architecture: 'qwen2',
    headDim: 12,
    tieWordEmbeddings: true,
    attentionBias: true,
  },
  {
    ...SHARED,
    label: 'qwen3, heads of 24, tied',
    architecture: 'qwen3',
    headDim: 24,
    tieWordEmbeddings: true,
    qkNorm: true,
  },
  {
    ...SHARED,
    label: 'qwen3, heads of 16, untied, all biases of attention',
    architecture: 'qwen3',
    headDim: 16,
    tieWordEmbeddings: false,
    attentionBias: true,
    outputBias: true,
    qkNorm: true,
  },
];

/** A token whose embedding is zero. */
export const ZERO_TOKEN = 5;

/** Weights with a few channels much larger than the others, as real models have, and one row of zeros. */
export function outlierModel(config: DecoderConfig): TinyModel {
  const random = randomStream(33, config.architecture, config.headDim);
  const model = tinyModel(
    config,
    randomWeights(config, () => random.normal()),
  );
  for (const [name, { data }] of model.weights) {
    if (name.endsWith('layernorm.weight')) for (const channel of [3, 40]) data[channel] = 12;
    if (name === EMBEDDING_NAME) {
      data.fill(0, ZERO_TOKEN * config.hiddenSize, (ZERO_TOKEN + 1) * config.hiddenSize);
    }
  }
  return model;
}

/** The weights of a model as the writer reads them. */
export const sourceOf = (
  { config, weights }: TinyModel,
  embedding: ParameterSource['embedding'] = 'float32',
): ParameterSource => ({
  config,
  embedding,
  read: async (name, start, out) => {
    const data = weights.get(name)?.data;
    if (data === undefined) throw new Error(`no weight ${name}`);
    out.set(data.subarray(start, start + out.length));
  },
});

const TYPES = { F32: 'float32', F16: 'float16', BF16: 'bfloat16', I8: 'int8', U8: 'uint8' } as const;

/** Where the tensors of a safetensors file are. */
export async function placesOf(path: string): Promise<TensorPlaces> {
  const file = await openSafetensors(path);
  await file.close();
  return new Map(
    Array.from(file.entries, ([name, { dtype, shape, begin, end }]) => [
      name,
      { path, offset: begin, length: end - begin, type: TYPES[dtype as keyof typeof TYPES], shape },
    ]),
  );
}

/** The weights of a quantised file under their Hugging Face names, in float64; it has a head even if they are tied. */
export async function dequantised(
  path: string,
  config: DecoderConfig,
  precision: Quantized,
): Promise<ReadonlyMap<string, Weight>> {
  const places = await placesOf(path);
  const content = await readFile(path);
  const file = await openSafetensors(path);
  const floats = async (name: string) => (await file.read(name)).data;
  const rows = precision === 'int8' ? rowsOfColumns : rowsOfBlocks[precision];
  /** [outputs, inputs] of a linear layer. */
  const matrix = async (name: string, inputs: number): Promise<Float64Array> => {
    const { offset = 0, length = 0 } = places.get(`${name}.weight`) ?? {};
    return rows(content.subarray(offset, offset + length), await floats(`${name}.scales`), inputs);
  };
  // q comes first, then k, then v.
  const queries = config.heads * config.headDim;
  const starts = new Map([
    ['q', 0],
    ['k', queries],
    ['v', queries + config.kvHeads * config.headDim],
  ]);
  const weights = new Map<string, Weight>();
  for (const [name, shape] of weightShapes({ ...config, tieWordEmbeddings: false })) {
    const [, layer, kind] = /^(.*_proj|lm_head)\.(weight|bias)$/.exec(name) ?? [];
    if (layer === undefined) {
      weights.set(name, { shape, data: await floats(name) });
      continue;
    }
    const [outputs = 0, inputs = 1] = shape;
    const joined = layer.replace(/\.[qkv]_proj$/, '.qkv_proj');
    const from = places.has(`${joined}.weight`) ? joined : layer;
    const whole = kind === 'weight' ? await matrix(from, inputs) : await floats(`${from}.bias`);
    const first = from === layer ? 0 : (starts.get(/([qkv])_proj$/.exec(layer)?.[1] ?? '') ?? 0);
    weights.set(name, { shape, data: whole.slice(first * inputs, (first + outputs) * inputs) });
  }
  await file.close();
  return weights;
}

/** [outputs, inputs] from int8 [inputs, outputs] with a scale for each output. */
const rowsOfColumns = (bytes: Uint8Array, scales: Float32Array, inputs: number): Float64Array =>
  Float64Array.from({ length: bytes.length }, (_, i) => {
    const [output, input] = [Math.floor(i / inputs), i % inputs];
    const byte = bytes[input * scales.length + output] as number;
    return (byte - (byte < 128 ? 0 : 256)) * (scales[output] as number);
  });

/** [outputs, inputs] from blocks of 32 along the inputs, the last one partly unused. */
const rowsOf =
  (stepAt: (bytes: Uint8Array, at: number) => number) =>
  (bytes: Uint8Array, scales: Float32Array, inputs: number): Float64Array => {
    const blocks = Math.ceil(inputs / 32);
    return Float64Array.from({ length: (scales.length / blocks) * inputs }, (_, i) => {
      const at = Math.floor(i / inputs) * blocks * 32 + (i % inputs);
      return stepAt(bytes, at) * (scales[Math.floor(at / 32)] as number);
    });
  };

const rowsOfBlocks = {
  'int8-block': rowsOf((bytes, at) => (bytes[at] as number) - 128),
  int4: rowsOf((bytes, at) => (((bytes[at >> 1] as number) >> (4 * (at & 1))) & 15) - 8),
};

/** Rows [rows, width] as products take them: 127 steps of the largest magnitude of a row, or of a block of 32. */
export function quantisedRows(precision: Quantized): (x: Tensor) => Tensor {
  return ({ shape, data }) => {
    const width = shape.at(-1) as number;
    const block = precision === 'int8' ? width : 32;
    const result = Float64Array.from(data);
    for (let row = 0; row < data.length; row += width) {
      for (let start = row; start < row + width; start += block) {
        const part = result.subarray(start, Math.min(start + block, row + width));
        const step = Math.max(...part.map(Math.abs)) / 127;
        if (step > 0) for (const [i, value] of part.entries()) part[i] = Math.round(value / step) * step;
      }
    }
    return constant(result, shape);
  };
}
