/** One decoder layer: its outliers smoothed, its linear layers quantised. */
import type { HostTensor } from 'onnx-grad';
import { type ModelConfig, parameterShapes } from '../checkpoint/index.js';
import { BLOCK } from './block-weights.js';
import type { LinearInputs } from './calibration.js';
import { tensorOf } from './lookup.js';
import { BLOCK_BITS, type Precision } from './precision-names.js';
import { type ColumnQuantizer, quantizeBlocks, type Rows, rowsOf } from './quantize.js';
import { columnMagnitudes, divideRows, scaleColumns, smoothingFactors } from './smoothing.js';
import { factorsNames, linearNames, scalesName } from './stored-names.js';
import { type Linear, layerLinears, linearTensors, normNames } from './stored-tensors.js';

/** Parameters of a layer by Hugging Face name, which are changed in place. */
export type LayerParameters = Map<string, Float32Array>;

/**
 * Moves the size of channels from what the linear layers read into their weights: into the norm before q, k and v and
 * before gate and up, and into the rows of up for down. The layer computes the same.
 * @returns what was divided by, under `factorsNames`.
 */
export function smoothLayer(
  parameters: LayerParameters,
  layer: number,
  inputs: LinearInputs,
): Map<string, Float32Array> {
  const { q, k, v, gate, up, down } = linearNames(layer);
  const get = (name: string): Float32Array => tensorOf(parameters, name);
  const smooth = (
    read: Float32Array,
    width: number,
    linears: readonly string[],
    sources: readonly string[],
  ) => {
    const matrices = linears.map((name) => get(`${name}.weight`));
    const factors = smoothingFactors(
      columnMagnitudes(read, width),
      matrices.map((matrix) => columnMagnitudes(matrix, width)),
    );
    for (const matrix of matrices) scaleColumns(matrix, factors);
    for (const name of sources) divideRows(get(name), factors);
    return factors;
  };
  const norm = (name: string) => `model.layers.${layer}.${name}.weight`;
  const hidden = get(norm('input_layernorm')).length;
  const names = factorsNames(layer);
  const attention = smooth(inputs.attention, hidden, [q, k, v], [norm('input_layernorm')]);
  const gates = smooth(inputs.gates, hidden, [gate, up], [norm('post_attention_layernorm')]);
  const bias = `${up}.bias`;
  const sources = [`${up}.weight`, ...(parameters.has(bias) ? [bias] : [])];
  return new Map([
    [names.attention, attention],
    [names.gates, gates],
    [names.down, smooth(inputs.down, get(`${up}.weight`).length / hidden, [down], sources)],
  ]);
}

/** The tensors of a layer under the names of a quantised file: norms and linear layers. */
export async function quantizeLayer(
  config: ModelConfig,
  layer: number,
  parameters: LayerParameters,
  precision: Exclude<Precision, 'f32'>,
  columns: ColumnQuantizer,
): Promise<Map<string, HostTensor>> {
  const shapes = parameterShapes(config);
  const stored = new Map<string, HostTensor>();
  for (const name of normNames(config, layer)) {
    const data = tensorOf(parameters, name);
    stored.set(name, { dtype: 'float32', shape: [data.length], data });
  }
  for (const linear of layerLinears(config, layer)) {
    const [, inputs = 0] = tensorOf(shapes, `${linear.from[0]}.weight`);
    const tensors = await quantizeLinear(linear, parameters, inputs, precision, columns);
    for (const [name, tensor] of tensors) stored.set(name, tensor);
  }
  return stored;
}

/** The tensors of a linear layer with `inputs` inputs: weight, scales and bias. */
async function quantizeLinear(
  { name, from }: Linear,
  parameters: LayerParameters,
  inputs: number,
  precision: Exclude<Precision, 'f32'>,
  columns: ColumnQuantizer,
): Promise<Map<string, HostTensor>> {
  const parts = (kind: 'weight' | 'bias') => from.map((one) => `${one}.${kind}`);
  const whole = joined(parts('weight').map((part) => tensorOf(parameters, part)));
  const outputs = whole.length / inputs;
  const shape = [outputs, inputs] as const;
  const tensors = await quantizeWeight(name, rowsOf(whole, inputs), shape, precision, columns);
  const biases = parts('bias').filter((part) => parameters.has(part));
  if (biases.length > 0) {
    const bias = joined(biases.map((part) => tensorOf(parameters, part)));
    tensors.set(`${name}.bias`, { dtype: 'float32', shape: [outputs], data: bias });
  }
  return tensors;
}

/** The weight [outputs, inputs] of the linear layer `name`, and its scales. */
export async function quantizeWeight(
  name: string,
  rows: Rows,
  [outputs, inputs]: readonly [number, number],
  precision: Exclude<Precision, 'f32'>,
  columns: ColumnQuantizer,
): Promise<Map<string, HostTensor>> {
  const { weight, scales } = linearTensors(outputs, inputs, precision);
  const data = await quantized(rows, outputs, inputs, precision, columns);
  return new Map<string, HostTensor>([
    [`${name}.weight`, { dtype: weight.type, shape: weight.shape, data: data.values }],
    [scalesName(name), { dtype: scales.type, shape: scales.shape, data: data.scales }],
  ]);
}

async function quantized(
  rows: Rows,
  outputs: number,
  inputs: number,
  precision: Exclude<Precision, 'f32'>,
  columns: ColumnQuantizer,
): Promise<{ values: Int8Array | Uint8Array; scales: Float32Array }> {
  if (precision === 'int8') return columns.quantize(rows, outputs, inputs);
  const { packed, scales } = await quantizeBlocks(rows, outputs, inputs, BLOCK_BITS[precision], BLOCK);
  return { values: packed, scales };
}

/** Arrays one after the other; a single one is not copied. */
function joined(parts: readonly Float32Array[]): Float32Array {
  const [first] = parts;
  if (first !== undefined && parts.length === 1) return first;
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
