/**
 * Writes the quantised weights of a model to a safetensors file, layer by layer, in the memory of one layer: each layer
 * is run in float32 on a few texts, its outliers are smoothed, its weights are quantised, and it is run again.
 */
import type { FileHandle } from 'node:fs/promises';
import type { HostTensor } from 'onnx-grad';
import { EMBEDDING_NAME, type ModelConfig, parameterShapes } from '../checkpoint/index.js';
import { InterruptedError, writeFileAtomic } from '../run/index.js';
import {
  type Batch,
  type Closeness,
  closenessOf,
  type LayerTensors,
  type LinearInputs,
  Passage,
  realRows,
  rmsNormRows,
} from './calibration.js';
import { tensorOf } from './lookup.js';
import type { Precision } from './precision-names.js';
import { ColumnQuantizer } from './quantize.js';
import { type LayerParameters, quantizeLayer, quantizeLinear, smoothLayer } from './quantize-layer.js';
import { type FloatType, headLinear, storedTensors } from './stored-tensors.js';
import { layOut, narrowed, writeAt } from './tensor-file.js';

/** Where the float32 parameters come from. */
export interface ParameterSource {
  config: ModelConfig;
  /** How the file stores the embedding; undefined: not at all, because it can be mapped from where it is. */
  embedding: FloatType | undefined;
  /** A new array each time, by Hugging Face name. */
  read(name: string): Promise<Float32Array>;
}

export interface QuantizeOptions {
  precision: Exclude<Precision, 'f32'>;
  /** Token ids of the texts to calibrate on. */
  texts: readonly (readonly number[])[];
  threads?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Called after each layer. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Writes the file atomically.
 * @returns how near the hidden states are to those of float32, at all positions of the texts.
 * @throws InterruptedError if aborted.
 */
export async function writeQuantized(
  path: string,
  source: ParameterSource,
  options: QuantizeOptions,
): Promise<Closeness> {
  let closeness: Closeness | undefined;
  const columns = await ColumnQuantizer.create();
  try {
    await writeFileAtomic(path, async (file) => {
      closeness = await quantizeInto(file, source, options, columns);
    });
  } finally {
    await columns.dispose();
  }
  if (closeness === undefined) throw new Error('internal: nothing was written');
  return closeness;
}

async function quantizeInto(
  file: FileHandle,
  source: ParameterSource,
  { precision, texts, threads, signal, onProgress }: QuantizeOptions,
  columns: ColumnQuantizer,
): Promise<Closeness> {
  const { config, read } = source;
  const { header, starts } = layOut(storedTensors(config, precision, source.embedding));
  await writeAt(file, header, 0);
  const put = async (tensors: Iterable<readonly [string, ArrayBufferView]>) => {
    for (const [name, data] of tensors) {
      await writeAt(file, data, tensorOf(starts, name));
    }
  };
  const table = await read(EMBEDDING_NAME);
  if (source.embedding !== undefined) await put([[EMBEDDING_NAME, narrowed(table, source.embedding)]]);
  const batch = embedded(table, texts, config.hiddenSize);
  const exact = new Passage(config, 'f32', batch, threads);
  const quantized = new Passage(config, precision, batch, threads);
  try {
    for (let layer = 0; layer < config.layers; layer++) {
      if (signal?.aborted) throw new InterruptedError('quantize: stopped by the caller');
      const parameters = await readLayer(config, layer, read);
      const inputs = await exact.through(asTensors(config, parameters, layer));
      if (inputs === undefined) throw new Error('internal: expected what the linear layers read');
      await put(smoothLayer(parameters, layer, realInputs(inputs, batch)));
      const stored = await quantizeLayer(config, layer, parameters, precision, columns);
      await put([...stored].map(([name, { data }]) => [name, data]));
      await quantized.through(asFirstLayer(stored, layer));
      onProgress?.(layer + 1, config.layers + 1);
    }
  } finally {
    await exact.dispose();
    await quantized.dispose();
  }
  const norm = await read('model.norm.weight');
  const linear = headLinear(config);
  const head = config.tieWordEmbeddings ? table : await read(`${linear.from[0]}.weight`);
  const parameters = new Map([[`${linear.from[0]}.weight`, head]]);
  const stored = await quantizeLinear(linear, parameters, config.hiddenSize, precision, columns);
  await put([['model.norm.weight', norm], ...[...stored].map(([name, { data }]) => [name, data] as const)]);
  onProgress?.(config.layers + 1, config.layers + 1);
  const hidden = ({ batch: { rows } }: Passage) =>
    rmsNormRows(realRows(rows, batch), norm, config.rmsNormEps);
  return closenessOf(hidden(exact), hidden(quantized), config.hiddenSize);
}

/** The rows of the embedding for texts padded on the right. */
function embedded(table: Float32Array, texts: readonly (readonly number[])[], width: number): Batch {
  const lengths = texts.map((ids) => ids.length);
  const length = Math.max(...lengths);
  const rows = new Float32Array(texts.length * length * width);
  for (const [text, ids] of texts.entries()) {
    for (const [i, id] of ids.entries()) {
      rows.set(table.subarray(id * width, (id + 1) * width), (text * length + i) * width);
    }
  }
  return { rows, lengths, length };
}

async function readLayer(
  config: ModelConfig,
  layer: number,
  read: ParameterSource['read'],
): Promise<LayerParameters> {
  const prefix = `model.layers.${layer}.`;
  const parameters: LayerParameters = new Map();
  for (const name of parameterShapes(config).keys()) {
    if (name.startsWith(prefix)) parameters.set(name, await read(name));
  }
  return parameters;
}

function asTensors(config: ModelConfig, parameters: LayerParameters, layer: number): LayerTensors {
  const shapes = parameterShapes(config);
  const tensors = new Map<string, HostTensor>();
  for (const [name, data] of parameters)
    tensors.set(name, { dtype: 'float32', shape: tensorOf(shapes, name), data });
  return asFirstLayer(tensors, layer);
}

/** A layer's tensors by the names of layer 0. */
const asFirstLayer = (tensors: LayerTensors, layer: number): LayerTensors =>
  new Map(
    [...tensors].map(([name, tensor]) => [name.replace(`model.layers.${layer}.`, 'model.layers.0.'), tensor]),
  );

/** Without the rows of padding. */
const realInputs = (inputs: LinearInputs, batch: Batch): LinearInputs => ({
  attention: realRows(inputs.attention, batch),
  gates: realRows(inputs.gates, batch),
  down: realRows(inputs.down, batch),
});
