/** Weights that ONNX Runtime maps from safetensors files, without a copy in JavaScript. */
import { resolve } from 'node:path';
import type { Graph, Value } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { weightsOf } from './precision.js';
import type { Precision } from './precision-names.js';
import type { StoredTensor } from './stored-tensors.js';
import type { InferenceWeights } from './weights.js';

/** Where a tensor is in a file. */
export interface TensorPlace extends StoredTensor {
  path: string;
  /** Position of the first byte, and number of bytes. */
  offset: number;
  length: number;
}

export type TensorPlaces = ReadonlyMap<string, TensorPlace>;

/** Weights in files, under the names of `storedTensors` or, for `f32`, of `parameterShapes`. */
export function fileWeights(
  precision: Precision,
  config: ModelConfig,
  places: TensorPlaces,
): InferenceWeights {
  return {
    weightsIn: (graph) => weightsOf(precision, config, mapped(graph, places), (name) => places.has(name)),
    feeds: {},
  };
}

function mapped(graph: Graph, places: TensorPlaces): (name: string) => Value {
  const values = new Map<string, Value>();
  return (name) => {
    const known = values.get(name);
    if (known !== undefined) return known;
    const place = places.get(name);
    if (place === undefined) throw new Error(`internal: no stored tensor ${name}`);
    const { path, offset, length, type, shape } = place;
    // Relative to the root, the folder that sessions take external data from.
    const location = resolve(path).slice(1);
    const value = graph.external(name, shape, { location, offset, length, storage: type });
    values.set(name, value);
    return value;
  };
}
