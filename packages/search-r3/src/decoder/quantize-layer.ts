/** One decoder layer: its outliers smoothed, its linear layers quantised. */
import type { HostTensor } from 'onnx-grad';
import { BLOCK } from './block-weights.js';
import type { LinearInputs } from './calibration.js';
import { BLOCK_BITS, type Precision } from './precision-names.js';
import { type ColumnQuantizer, quantizeBlocks } from './quantize.js';
import { columnMagnitudes, divideRows, scaleColumns, smoothingFactors } from './smoothing.js';
import { linearNames, scalesName } from './stored-names.js';
import type { Linear } from './stored-tensors.js';

/** Parameters of a layer by Hugging Face name, which are changed in place. */
export type LayerParameters = Map<string, Float32Array>;

/**
 * Moves the size of channels from what the linear layers read into their weights: into the norm before q, k and v and
 * before gate and up, and into the rows of up for down. The layer computes the same.
 */
export function smoothLayer(parameters: LayerParameters, layer: number, inputs: LinearInputs): void {
  const { q, k, v, gate, up, down } = linearNames(layer);
  const get = (name: string): Float32Array => {
    const data = parameters.get(name);
    if (data === undefined) throw new Error(`internal: no parameter ${name}`);
    return data;
  };
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
  };
  const [before, after] = ['input_layernorm', 'post_attention_layernorm'].map(
    (name) => `model.layers.${layer}.${name}.weight`,
  ) as [string, string];
  const hidden = get(before).length;
  smooth(inputs.attention, hidden, [q, k, v], [before]);
  smooth(inputs.gates, hidden, [gate, up], [after]);
  const bias = `${up}.bias`;
  const sources = [`${up}.weight`, ...(parameters.has(bias) ? [bias] : [])];
  smooth(inputs.down, get(`${up}.weight`).length / hidden, [down], sources);
}

/** The tensors of a linear layer with `inputs` inputs: weight, scales and bias. */
export async function quantizeLinear(
  { name, from }: Linear,
  parameters: ReadonlyMap<string, Float32Array>,
  inputs: number,
  precision: Exclude<Precision, 'f32'>,
  columns: ColumnQuantizer,
): Promise<Map<string, HostTensor>> {
  const weight = joined(
    from.map((one) => `${one}.weight`),
    parameters,
  );
  if (weight === undefined) throw new Error(`internal: no parameter ${name}`);
  const outputs = weight.length / inputs;
  const tensors = new Map<string, HostTensor>();
  if (precision === 'int8') {
    const { values, scales } = await columns.quantize(weight, outputs, inputs);
    tensors.set(`${name}.weight`, { dtype: 'int8', shape: [inputs, outputs], data: values });
    tensors.set(scalesName(name), { dtype: 'float32', shape: [outputs], data: scales });
  } else {
    const bits = BLOCK_BITS[precision];
    const { packed, scales } = quantizeBlocks(weight, outputs, inputs, bits, BLOCK);
    const blocks = scales.length / outputs;
    const shape = [outputs, blocks, packed.length / scales.length];
    tensors.set(`${name}.weight`, { dtype: 'uint8', shape, data: packed });
    tensors.set(scalesName(name), { dtype: 'float32', shape: [scales.length], data: scales });
  }
  const bias = joined(
    from.map((one) => `${one}.bias`),
    parameters,
  );
  if (bias !== undefined) tensors.set(`${name}.bias`, { dtype: 'float32', shape: [outputs], data: bias });
  return tensors;
}

/** Parameters one after the other; undefined if there are none of these names. */
function joined(
  names: readonly string[],
  parameters: ReadonlyMap<string, Float32Array>,
): Float32Array | undefined {
  const parts = names.map((name) => parameters.get(name)).filter((part) => part !== undefined);
  if (parts.length < names.length) return undefined;
  if (parts.length === 1) return parts[0];
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
