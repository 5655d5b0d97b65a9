/** Weights that ONNX Runtime maps from safetensors files, without a copy in JavaScript. */
import { resolve } from 'node:path';
import type { ModelConfig } from '../checkpoint/index.js';
import { declared } from './lookup.js';
import type { Precision } from './precision-names.js';
import type { StoredTensor } from './stored-tensors.js';
import type { FrozenWeights } from './weights.js';

/** Where a tensor is in a file. */
export interface TensorPlace extends StoredTensor {
  path: string;
  /** Position of the first byte, and number of bytes. */
  offset: number;
  length: number;
}

export type TensorPlaces = ReadonlyMap<string, TensorPlace>;

/** Weights in files, under the names of `storedTensors` or, for `f32`, of `parameterShapes`. */
export const weightsInFiles = (
  precision: Precision,
  config: ModelConfig,
  places: TensorPlaces,
): FrozenWeights => ({
  ...{ config, precision },
  declare: (graph) =>
    declared(places, (name, { path, offset, length, type, shape }) => {
      // Relative to the root, the folder that sessions take external data from.
      const location = resolve(path).slice(1);
      return graph.external(name, shape, { location, offset, length, storage: type });
    }),
  has: (name) => places.has(name),
  feeds: {},
});
