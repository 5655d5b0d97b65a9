/**
 * Writes the quantised weights of a model to a safetensors file, layer by layer, in the memory of one layer: each layer
 * is run in float32 on a few texts, its outliers are smoothed, its weights are quantised, and it is run again.
 */
import type { FileHandle } from 'node:fs/promises';
import type { HostTensor } from 'onnx-grad';
import {
  EMBEDDING_NAME,
  elementCount,
  HEAD_NAME,
  type ModelConfig,
  parameterShapes,
} from '../checkpoint/index.js';
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
import { ColumnQuantizer, pieces, type Rows } from './quantize.js';
import { type LayerParameters, quantizeLayer, quantizeWeight, smoothLayer } from './quantize-layer.js';
import { type FloatType, headLinear, storedTensors } from './stored-tensors.js';
import { layOut, narrowed, writeAt } from './tensor-file.js';

const NORM_NAME = 'model.norm.weight';

/** Where the float32 parameters come from. */
export interface ParameterSource {
  config: ModelConfig;
  /** How the file stores the embedding; undefined: not at all, because it can be mapped from where it is. */
  embedding: FloatType | undefined;
  /** Fills all of `out` with elements of a parameter, by Hugging Face name, from `start` on. */
  read(name: string, start: number, out: Float32Array): Promise<void>;
}

export interface QuantizeOptions {
  precision: Exclude<Precision, 'f32'>;
  /** Token ids of the texts to calibrate on. */
  texts: readonly (readonly number[])[];
  threads?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Called after the tables of tokens, and after each layer. */
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
  const putHead = async (rows: Rows) => {
    const shape = [config.vocabSize, config.hiddenSize] as const;
    const stored = await quantizeWeight(headLinear(config).name, rows, shape, precision, columns);
    await put([...stored].map(([name, { data }]) => [name, data]));
  };
  const batch = emptyBatch(texts, config.hiddenSize);
  const embedding = tableRows(source, EMBEDDING_NAME, async (piece, first) => {
    embed(batch, texts, piece, first);
    if (source.embedding === undefined) return;
    const stored = narrowed(piece, source.embedding);
    const at = first * config.hiddenSize * stored.BYTES_PER_ELEMENT;
    await writeAt(file, stored, tensorOf(starts, EMBEDDING_NAME) + at);
  });
  if (config.tieWordEmbeddings) await putHead(embedding);
  else {
    for (const { first, count } of pieces(config.vocabSize, config.hiddenSize)) await embedding(first, count);
    await putHead(tableRows(source, HEAD_NAME));
  }
  onProgress?.(1, config.layers + 1);
  const exact = new Passage(config, 'f32', batch, threads);
  const quantized = new Passage(config, precision, batch, threads);
  const room = new Map<string, Float32Array>();
  try {
    for (let layer = 0; layer < config.layers; layer++) {
      if (signal?.aborted) throw new InterruptedError('quantize: stopped by the caller');
      const parameters = await readLayer(source, layer, room);
      const inputs = await exact.through(asTensors(config, parameters, layer));
      if (inputs === undefined) throw new Error('internal: expected what the linear layers read');
      await put(smoothLayer(parameters, layer, realInputs(inputs, batch)));
      const stored = await quantizeLayer(config, layer, parameters, precision, columns);
      await put([...stored].map(([name, { data }]) => [name, data]));
      await quantized.through(asFirstLayer(stored, layer));
      onProgress?.(layer + 2, config.layers + 1);
    }
  } finally {
    await exact.dispose();
    await quantized.dispose();
  }
  const norm = new Float32Array(config.hiddenSize);
  await read(NORM_NAME, 0, norm);
  await put([[NORM_NAME, norm]]);
  const hidden = ({ batch: { rows } }: Passage) =>
    rmsNormRows(realRows(rows, batch), norm, config.rmsNormEps);
  return closenessOf(hidden(exact), hidden(quantized), config.hiddenSize);
}

/** Rows for texts padded on the right. */
function emptyBatch(texts: readonly (readonly number[])[], width: number): Batch {
  const lengths = texts.map((ids) => ids.length);
  const length = Math.max(...lengths);
  return { rows: new Float32Array(texts.length * length * width), lengths, length };
}

/** Sets the rows of tokens that a piece of the embedding has. */
function embed(
  { rows, lengths, length }: Batch,
  texts: readonly (readonly number[])[],
  piece: Float32Array,
  first: number,
): void {
  const width = rows.length / (lengths.length * length);
  for (const [text, ids] of texts.entries()) {
    for (const [i, id] of ids.entries()) {
      const at = (id - first) * width;
      if (at < 0 || at >= piece.length) continue;
      rows.set(piece.subarray(at, at + width), (text * length + i) * width);
    }
  }
}

/** Rows of a table of tokens, read when they are asked for, into the same memory; `seen` is told of each piece. */
function tableRows(
  { config, read }: ParameterSource,
  name: string,
  seen?: (piece: Float32Array, first: number) => Promise<void>,
): Rows {
  const width = config.hiddenSize;
  let room = new Float32Array(0);
  return async (first, count) => {
    if (room.length < count * width) room = new Float32Array(count * width);
    const piece = room.subarray(0, count * width);
    await read(name, first * width, piece);
    await seen?.(piece, first);
    return piece;
  };
}

/** @param room memory for the parameters by their names in layer 0, which the layer before had too. */
async function readLayer(
  { config, read }: ParameterSource,
  layer: number,
  room: Map<string, Float32Array>,
): Promise<LayerParameters> {
  const prefix = `model.layers.${layer}.`;
  const parameters: LayerParameters = new Map();
  for (const [name, shape] of parameterShapes(config)) {
    if (!name.startsWith(prefix)) continue;
    const key = name.slice(prefix.length);
    const data = room.get(key) ?? new Float32Array(elementCount(shape));
    room.set(key, data);
    await read(name, 0, data);
    parameters.set(name, data);
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
